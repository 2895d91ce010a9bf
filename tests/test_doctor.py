"""The doctor's findings, one by one."""

from __future__ import annotations

import json
import socket
import sqlite3
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from webui import doctor
from webui.config import Config, parse
from webui.doctor import Environment, Finding


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return parse(["--data-dir", str(tmp_path)], {})


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    """This test run's own environment, with nothing in its packages folder."""
    packages = tmp_path / "packages"
    packages.mkdir()
    return Environment(tmp_path, Path(sys.executable), packages, "", ("torch==2.13.0", "part-a==1.0"), False)


def marks(findings: Iterator[Finding]) -> str:
    return "".join(finding.mark for finding in findings)


def add_package(environment: Environment, name: str, version: str) -> None:
    info = environment.packages / f"{name}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n", encoding="utf-8")


def test_missing_environment_is_one_finding_with_a_fix(
    config: Config, environment: Environment, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = replace(environment, python=environment.root / ".venv" / "bin" / "python", state="not installed yet")
    assert doctor.report(missing, config) == 1
    printed = capsys.readouterr().out
    assert "not installed yet\n    fix: run: python3 launch.py --exit" in printed
    assert printed.endswith("1 to repair.\n")


def test_packages_as_pinned(environment: Environment) -> None:
    add_package(environment, "torch", "2.13.0+cpu")
    add_package(environment, "Part_A", "1.0")
    assert list(doctor.examine_packages(environment)) == [Finding("✓", "2 packages as pinned")]


def test_packages_missing_or_of_another_version(environment: Environment) -> None:
    add_package(environment, "torch", "2.12.0")
    wrong, missing, _ = doctor.examine_packages(environment)
    assert (wrong.mark, wrong.text) == ("✗", "torch is 2.12.0, Easel needs 2.13.0")
    assert (missing.mark, missing.text) == ("✗", "part-a is not installed")
    assert wrong.fix
    assert missing.fix


def test_torch_of_the_users_choice_is_no_fault(environment: Environment) -> None:
    add_package(environment, "torch", "2.12.0")
    add_package(environment, "part-a", "1.0")
    assert marks(doctor.examine_packages(replace(environment, torch_is_chosen=True))) == "!✓"


def test_pins_follow_the_python() -> None:
    lines = ('a==2; python_version >= "3.11"', 'a==1; python_version < "3.11"', "b==3")
    assert list(doctor.pins(lines, (3, 10))) == [("a", "1"), ("b", "3")]
    assert list(doctor.pins(lines, (3, 11))) == [("a", "2"), ("b", "3")]


def test_every_line_of_the_real_requirements_is_a_pin() -> None:
    root = Path(doctor.__file__).parent.parent
    lines = [line for line in (root / "requirements.txt").read_text(encoding="utf-8").splitlines() if "==" in line]
    for python in ((3, 10), (3, 11), (3, 12), (3, 13)):
        found = list(doctor.pins(lines, python))
        assert all(version[:1].isdigit() for _, version in found)
        assert len({name for name, _ in found}) == len(found)
    assert dict(doctor.pins(lines, (3, 10))).keys() == dict(doctor.pins(lines, (3, 13))).keys()


def test_free_port(config: Config) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    assert doctor.examine_port("127.0.0.1", port) == Finding("✓", f"Port {port} is free")


class Healthy(BaseHTTPRequestHandler):
    answer = b'{"status": "ok"}'

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.answer if self.path == "/healthz" else b"")

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


class Stranger(Healthy):
    answer = b"<html>"


@pytest.mark.parametrize(("handler", "who"), [(Healthy, "Easel answers"), (Stranger, "another program")])
def test_taken_port_says_who_answers(handler: type[BaseHTTPRequestHandler], who: str) -> None:
    with HTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        finding = doctor.examine_port("127.0.0.1", server.server_port)
        server.shutdown()
        thread.join()
    assert finding.mark == "!"
    assert who in finding.text


def test_address_that_is_not_ours() -> None:
    assert doctor.examine_port("203.0.113.1", 7860).mark == "✗"


def test_settings(config: Config) -> None:
    config.state_dir.mkdir(parents=True)
    assert marks(doctor.examine_state(config.state_dir)) == ""
    settings = config.state_dir / "settings.json"
    settings.write_text(json.dumps({"clip_skip": 2}), encoding="utf-8")
    assert marks(doctor.examine_state(config.state_dir)) == "✓"
    for broken in (b"{", b"[]", b"\xff\xfe", b""):
        settings.write_bytes(broken)
        assert marks(doctor.examine_state(config.state_dir)) == "!"


def test_database(config: Config) -> None:
    config.state_dir.mkdir(parents=True)
    database = config.state_dir / "easel.db"
    connection = sqlite3.connect(database)
    connection.execute("CREATE TABLE jobs (id)")
    connection.executemany("INSERT INTO jobs VALUES (?)", [("x" * 100,)] * 1000)
    connection.commit()
    connection.close()
    assert marks(doctor.examine_state(config.state_dir)) == "✓"
    content = bytearray(database.read_bytes())
    content[4096:12288] = b"\xaa" * 8192
    database.write_bytes(content)
    (finding,) = doctor.examine_state(config.state_dir)
    assert finding.mark == "✗"
    assert "damaged" in finding.text
    assert database.read_bytes() == content  # looked at, not touched


def test_full_disk(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 2**20}))
    assert marks(doctor.examine_disk(config.data_dir, config)) == "✗✓"


def test_outputs_that_cannot_be_written(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(dir: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(doctor.tempfile, "TemporaryFile", refuse)
    finding = list(doctor.examine_disk(config.data_dir, config))[-1]
    assert finding.mark == "✗"
    assert "--data-dir" in finding.fix


def test_torch_that_does_not_import(environment: Environment) -> None:
    broken = environment.root / "python"
    broken.write_text("#!/bin/sh\necho 'ImportError: libcudart.so.13' >&2\nexit 1\n", encoding="utf-8")
    broken.chmod(0o755)
    (finding,) = doctor.examine_torch(replace(environment, python=broken))
    assert finding.mark == "✗"
    assert "libcudart.so.13" in finding.text


def test_models_broken_ones_included(environment: Environment, tmp_path: Path) -> None:
    root = Path(doctor.__file__).parent.parent
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    here = replace(environment, root=root)
    (nothing,) = doctor.examine_models(here, [folder])
    assert nothing.mark == "!"
    assert str(folder) in nothing.fix
    (folder / "cut.safetensors").write_bytes(b"\x10\x00")
    broken, _ = doctor.examine_models(here, [folder])
    assert broken.mark == "!"
    assert "cut" in broken.text


def test_torch_of_this_environment(environment: Environment) -> None:
    findings = list(doctor.examine_torch(environment))
    assert any("torch 2" in finding.text for finding in findings)
    assert "✗" not in {finding.mark for finding in findings}
