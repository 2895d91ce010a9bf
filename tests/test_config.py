"""Flags, the environment and what is refused."""

from __future__ import annotations

import os
import pickle
import stat
from collections.abc import Sequence
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest

from webui.config import (
    MODEL_FOLDERS,
    REDACTED,
    REFUSED,
    REPOSITORY,
    UNNEEDED,
    Config,
    build_parser,
    is_loopback,
    parse,
    prepare,
    read,
    split,
)
from webui.errors import StorageError


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str, environment: dict[str, str] | None = None) -> str:
    """Return the one line with which `arguments` are refused."""
    with pytest.raises(SystemExit) as caught:
        parse(arguments, environment or {})
    assert caught.value.code == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    return lines[0]


def test_defaults() -> None:
    config = parse([], {})
    assert (config.host, config.port, config.port_is_fixed) == ("127.0.0.1", 7860, False)
    assert config.data_dir == REPOSITORY
    assert config.checkpoint_dirs == (REPOSITORY / "models" / "Stable-diffusion",)
    assert config.state_dir == REPOSITORY / "outputs" / ".easel"
    assert (config.webui, config.half, config.half_vae, config.precision) == (True, True, True, "auto")
    assert (config.memory_mode, config.use_cpu, config.runner) == ("auto", frozenset(), "process")
    assert (config.gradio_auth, config.api_auth, config.cors_origins, config.allowed_hosts) == ((), (), (), ())


def test_flags_of_a1111(tmp_path: Path) -> None:
    more = tmp_path / "more"
    more.mkdir()
    line = f"--port 7000 --use-cpu all --no-half --no-half-vae --precision full --ckpt v1.safetensors --ckpt-dir {more}"
    line += f" --data-dir {tmp_path} --api --nowebui --theme dark --autolaunch --loglevel debug --lowvram"
    config = parse(line.split(), {})
    assert (config.port, config.port_is_fixed, config.webui, config.theme) == (7000, True, False, "dark")
    assert config.use_cpu == frozenset({"all"})
    assert (config.half, config.half_vae, config.precision) == (False, False, "full")
    assert config.checkpoint == "v1.safetensors"
    assert config.checkpoint_dirs == (tmp_path / "models" / "Stable-diffusion", more)
    assert (config.memory_mode, config.log_level, config.autolaunch) == ("lowvram", "DEBUG", True)
    assert config.outputs_dir == tmp_path / "outputs"


def test_models_can_lie_elsewhere(tmp_path: Path) -> None:
    config = parse(["--models-dir", str(tmp_path)], {})
    assert config.models_dir == tmp_path
    assert config.checkpoint_dirs == (tmp_path / "Stable-diffusion",)
    assert config.outputs_dir == REPOSITORY / "outputs"


def test_relative_folders_count_from_where_the_user_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert parse(["--data-dir", "mine"], {}).data_dir == tmp_path / "mine"


@pytest.mark.parametrize(
    ("flags", "mode"),
    [([], "auto"), (["--medvram"], "medvram"), (["--lowvram"], "lowvram"), (["--normalvram"], "normal")],
)
def test_memory_modes(flags: Sequence[str], mode: str) -> None:
    assert parse(flags, {}).memory_mode == mode


def test_memory_modes_exclude_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    assert "--lowvram" in refusal(capsys, "--medvram", "--lowvram")


def test_flags_for_extensions(tmp_path: Path) -> None:
    usual = parse(["--data-dir", str(tmp_path)], {})
    assert (usual.extensions_dir, usual.extensions) == (tmp_path / "extensions", "all")
    assert not usual.insecure_extension_access
    assert parse(["--disable-extra-extensions"], {}).extensions == "bundled"
    assert parse(["--disable-extra-extensions", "--disable-all-extensions"], {}).extensions == "none"
    other = parse(["--extensions-dir", str(tmp_path / "x"), "--enable-insecure-extension-access"], {})
    assert other.extensions_dir == tmp_path / "x" and other.insecure_extension_access


def test_environment_comes_first_so_that_the_command_line_wins() -> None:
    environment = {"COMMANDLINE_ARGS": '--port 7001 --ckpt "my model.safetensors"'}
    config = parse(["--port", "7002"], environment)
    assert (config.port, config.checkpoint) == (7002, "my model.safetensors")


def test_environment_that_cannot_be_read(capsys: pytest.CaptureFixture[str]) -> None:
    assert "COMMANDLINE_ARGS" in refusal(capsys, environment={"COMMANDLINE_ARGS": '--ckpt "open'})


def test_backslashes_are_plain_on_windows() -> None:
    assert split(r'--ckpt-dir C:\models --ckpt "a b"', windows=True) == ["--ckpt-dir", r"C:\models", "--ckpt", "a b"]
    assert split(r"--ckpt a\ b", windows=False) == ["--ckpt", "a b"]


@pytest.mark.parametrize(
    ("given", "nearest"),
    [
        ("--lisen", "--listen"),
        ("--ckpt_dir", "--ckpt-dir"),
        ("--gradio-aut=a:b", "--gradio-auth"),
        ("--medvran", "--medvram"),
    ],
)
def test_unknown_flag_names_the_nearest(capsys: pytest.CaptureFixture[str], given: str, nearest: str) -> None:
    line = refusal(capsys, given)
    assert f"did you mean {nearest}?" in line
    assert "a:b" not in line  # a mistyped flag may carry a password


def test_unknown_flag_without_a_neighbour(capsys: pytest.CaptureFixture[str]) -> None:
    assert "--help" in refusal(capsys, "--quux")


def test_flags_are_not_abbreviated(capsys: pytest.CaptureFixture[str]) -> None:
    assert "unknown flag --list:" in refusal(capsys, "--list")


def test_stray_word(capsys: pytest.CaptureFixture[str]) -> None:
    assert "'models' belongs to no flag" in refusal(capsys, "--ckpt", "my", "models")


@pytest.mark.parametrize("port", ["0", "65536", "-1", "x", "7860.0", "٧٨٦٠", ""])
def test_port_is_a_port(capsys: pytest.CaptureFixture[str], port: str) -> None:
    assert "--port" in refusal(capsys, f"--port={port}")


@pytest.mark.parametrize("name", [name for refused in REFUSED for name in refused.names.split()])
def test_flag_that_promises_what_easel_does_not_do(capsys: pytest.CaptureFixture[str], name: str) -> None:
    assert f"{name} is not available: " in refusal(capsys, name)
    assert f"{name} is not available: " in refusal(capsys, f"{name}=x")
    assert f"{name} is not available: " in refusal(capsys, name, "x")


@pytest.mark.parametrize("unneeded", UNNEEDED, ids=lambda unneeded: unneeded.names)
def test_flag_that_is_not_needed(capsys: pytest.CaptureFixture[str], unneeded: tuple[str, str, bool]) -> None:
    names, reason, takes_value = unneeded
    for name in names.split():
        config = parse([name, *(["1"] if takes_value else [])], {})
        assert capsys.readouterr().err == f"{name} is not needed: {reason}.\n"
        assert config.flags[name.removeprefix("--").replace("-", "_")] is True


def test_read_leaves_the_notes_to_the_caller(capsys: pytest.CaptureFixture[str]) -> None:
    _, notes = read(["--xformers"], {})
    assert notes == ("--xformers is not needed: PyTorch's own attention is always used.",)
    assert capsys.readouterr().err == ""


def test_no_flag_is_defined_twice() -> None:
    names = [name for table in (UNNEEDED, REFUSED) for entry in table for name in entry.names.split()]
    assert len(names) == len(set(names))
    build_parser()  # argparse refuses a name that a real flag has as well


@pytest.mark.parametrize("flags", [["--listen"], ["--server-name", "192.168.1.2"], ["--server-name", "::"]])
def test_other_machines_need_a_password(capsys: pytest.CaptureFixture[str], flags: Sequence[str]) -> None:
    assert "--gradio-auth" in refusal(capsys, *flags)
    for auth in (["--gradio-auth", "a:b"], ["--api-auth", "a:b"], ["--i-know-no-auth"]):
        assert parse([*flags, *auth], {}).host == {"--listen": "0.0.0.0"}.get(flags[0], flags[-1])


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "localhost", "::1", "[::1]"])
def test_loopback_needs_no_password(host: str) -> None:
    assert is_loopback(host)
    assert parse(["--server-name", host], {}).host == host


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "::", "10.0.0.1", "example.org", "localhost.example.org", "127.0.0.1.a.org"]
)
def test_everything_else_is_reachable(host: str) -> None:
    assert not is_loopback(host)


def test_passwords_may_hold_colons() -> None:
    assert parse(["--api-auth", "ann:a:b, bob:c"], {}).api_auth == (("ann", "a:b"), ("bob", "c"))


@pytest.mark.parametrize("text", ["ann", "ann:", ":secret", "ann:a,secret", "", ","])
@pytest.mark.parametrize("flag", ["--gradio-auth", "--api-auth"])
def test_malformed_passwords_are_refused_without_repeating_them(
    capsys: pytest.CaptureFixture[str], flag: str, text: str
) -> None:
    line = refusal(capsys, f"{flag}={text}")
    assert flag in line
    assert "secret" not in line


def test_passwords_from_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "passwords"
    path.write_text("ann:a\n\nbob:b,cid:c\n", encoding="utf-8")
    config = parse(["--gradio-auth", "eve:e", "--gradio-auth-path", str(path)], {})
    assert config.gradio_auth == (("eve", "e"), ("ann", "a"), ("bob", "b"), ("cid", "c"))
    assert "cannot be read" in refusal(capsys, "--gradio-auth-path", str(tmp_path / "missing"))
    path.write_text("", encoding="utf-8")
    assert "is empty" in refusal(capsys, "--gradio-auth-path", str(path))


def test_passwords_are_never_shown() -> None:
    config = parse(["--gradio-auth", "ann:hunter2", "--api-auth", "bob:swordfish"], {})
    shown = f"{config!r} {config} {config.flags}"
    assert "hunter2" not in shown
    assert "swordfish" not in shown
    assert config.flags["gradio_auth"] == config.flags["api_auth"] == REDACTED


def test_missing_folder_of_checkpoints_is_named(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert str(tmp_path / "gone") in refusal(capsys, "--ckpt-dir", str(tmp_path / "gone"))


def test_origins_and_hosts_are_lists() -> None:
    config = parse(["--cors-allow-origins", "https://a.example, https://b.example", "--allowed-hosts=me.example"], {})
    assert config.cors_origins == ("https://a.example", "https://b.example")
    assert config.allowed_hosts == ("me.example",)


def test_flags_speak_a1111s_names() -> None:
    flags = parse(["--medvram", "--xformers", "--ckpt-dir", "/"], {}).flags
    assert (flags["medvram"], flags["xformers"], flags["lowvram"], flags["nowebui"]) == (True, True, False, False)
    assert flags["ckpt_dir"] == [os.path.abspath("/")]
    assert flags["data_dir"] == str(REPOSITORY)
    assert "stub_runner" not in flags


def test_config_is_frozen_and_reaches_the_worker() -> None:
    config = parse(["--stub-runner"], {})
    assert config.runner == "stub"
    with pytest.raises(FrozenInstanceError):
        config.port = 1  # type: ignore[misc]
    assert pickle.loads(pickle.dumps(config)) == config


def test_parsing_makes_no_folder_and_preparing_makes_all(tmp_path: Path) -> None:
    config = parse(["--data-dir", str(tmp_path / "new")], {})
    assert not (tmp_path / "new").exists()
    prepare(config)
    prepare(config)
    assert sorted(path.name for path in config.models_dir.iterdir()) == sorted(MODEL_FOLDERS)
    assert (config.state_dir / "temporary").is_dir()
    if os.name == "posix":
        assert stat.S_IMODE(config.state_dir.stat().st_mode) == 0o700


def test_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "outputs").write_text("a file", encoding="utf-8")
    with pytest.raises(StorageError, match="outputs") as caught:
        prepare(parse(["--data-dir", str(tmp_path)], {}))
    assert "--data-dir" in caught.value.hint


def test_folder_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != "outputs")  # root may write everywhere
    with pytest.raises(StorageError, match="outputs cannot be written"):
        prepare(parse(["--data-dir", str(tmp_path)], {}))


def test_help_lists_what_exists_only(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parse(["--help"], {})
    assert caught.value.code == 0
    text = capsys.readouterr().out
    assert "--listen" in text
    assert "--share" not in text
    assert "--xformers" not in text
    assert isinstance(parse([], {}), Config)


@pytest.mark.parametrize(
    ("flags", "parts"),
    [
        ("vae text", {"vae", "text"}),
        ("ALL", {"all"}),
        ("interrogate gfpgan bsrgan esrgan", {"interrogate", "gfpgan", "upscaler"}),
    ],
)
def test_parts_on_the_cpu(flags: str, parts: set[str]) -> None:
    assert parse(["--use-cpu", *flags.split()], {}).use_cpu == parts


def test_how_much_memory_models_may_take() -> None:
    config = parse(["--cache-budget", "12.5", "--most-models", "3", "--medvram-sdxl"], {})
    assert (config.cache_budget, config.most_models, config.medvram_sdxl) == (12_500_000_000, 3, True)
    assert (parse([], {}).cache_budget, parse([], {}).most_models) == (None, None)
    assert parse(["--always-gpu"], {}).memory_mode == "normal"


@pytest.mark.parametrize(
    "flags", [("--cache-budget", "much"), ("--cache-budget", "-1"), ("--most-models", "0"), ("--use-cpu", "hands")]
)
def test_memory_that_cannot_be(flags: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert flags[1] in refusal(capsys, *flags)
