"""Setting up with real environments and a real pip, from a folder of tiny wheels instead of the internet."""

from __future__ import annotations

import ast
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

import launch
from launch import Installation, InstallError

ROOT = Path(launch.__file__).resolve().parent
TORCH = """
class ones:
    def __init__(self, *shape): pass
    def sum(self): return self
    def item(self): return 4.0
"""
INSTALL = (
    "import launch, sys; launch.install(launch.Installation(launch.Path(sys.argv[1]), launch.os.environ, ('torch',)))"
)


def make_wheel(folder: Path, name: str, version: str, code: str = "", requires: str = "") -> None:
    """Write a pure wheel with one module into `folder`."""
    info = f"{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n" + (
        f"Requires-Dist: {requires}\n" if requires else ""
    )
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{name}.py", code)
        wheel.writestr(f"{info}/METADATA", metadata)
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/entry_points.txt", f"[console_scripts]\n{name}-run = {name}:run\n")
        wheel.writestr(f"{info}/RECORD", f"{name}.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n")


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheels")
    make_wheel(folder, "torch", "2.13.0", TORCH)
    make_wheel(folder, "torch", "9.9.9", TORCH)
    make_wheel(folder, "part", "1.0", "def run(): print('part runs')")
    make_wheel(folder, "greedy", "1.0", requires="torch==9.9.9")
    make_wheel(folder, "tool", "3.0")
    return folder


def write_requirements(root: Path, *extra: str) -> None:
    (root / "requirements.txt").write_text("\n".join(["# pins", "torch==2.13.0", *extra]) + "\n", encoding="utf-8")
    (root / "requirements-test.txt").write_text("tool==3.0\n", encoding="utf-8")


def offline(wheels: Path, **more: str) -> Mapping[str, str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "TORCH_"))}
    return {**environment, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels), "PIP_CONFIG_FILE": os.devnull, **more}


@pytest.fixture
def fresh(tmp_path: Path, wheels: Path) -> Installation:
    """A folder in which nothing is installed yet."""
    write_requirements(tmp_path, "part==1.0")
    return Installation(tmp_path, offline(wheels), modules=("torch", "part"))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, wheels: Path) -> tuple[Installation, str]:
    """A finished installation, and what was printed while it was made; tests work on copies."""
    root = tmp_path_factory.mktemp("finished")
    write_requirements(root, "part==1.0")
    installation = Installation(root, offline(wheels), modules=("torch", "part"))
    child = subprocess.run(
        [sys.executable, "-c", INSTALL, str(root)],
        capture_output=True, text=True, check=True, cwd=ROOT, env=dict(installation.environment),
    )  # fmt: skip
    return installation, child.stdout


@pytest.fixture
def ready(finished: tuple[Installation, str], tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Installation:
    """A finished installation of the test's own."""
    root = tmp_path / "easel"
    shutil.copytree(finished[0].root, root, symlinks=True)
    installation = replace(finished[0], root=root)
    launch.install(installation)
    capfd.readouterr()
    return installation


def run_python(installation: Installation, code: str) -> str:
    answer = subprocess.run([str(installation.python), "-c", code], capture_output=True, text=True, check=True)
    return answer.stdout.strip()


def test_first_installation_reports_each_stage(finished: tuple[Installation, str]) -> None:
    installation, printed = finished
    lines = printed.splitlines()
    assert [line.split(" … ")[0] for line in lines[1:]] == [
        "[1/4] environment",
        "[2/4] torch==2.13.0",
        "[3/4] requirements",
        "[4/4] check",
    ]
    assert all(line.endswith(" s") for line in lines[1:])
    assert (installation.installed("torch"), installation.installed("part")) == ("2.13.0", "1.0")
    assert launch.describe_state(installation) == ""
    assert "Successfully installed torch-2.13.0" in installation.log.read_text(encoding="utf-8")


def test_second_start_does_nothing(ready: Installation, capfd: pytest.CaptureFixture[str]) -> None:
    before = {path: path.stat().st_mtime_ns for path in ready.folder.iterdir()}
    launch.install(ready)
    assert {path: path.stat().st_mtime_ns for path in ready.folder.iterdir()} == before
    assert capfd.readouterr() == ("", "")


def test_changed_requirements_are_installed_into_the_same_environment(ready: Installation) -> None:
    (ready.packages / "mine.txt").touch()
    write_requirements(ready.root, "part==1.0", "tool==3.0")
    assert "changed" in launch.describe_state(ready)
    launch.install(ready)
    assert ready.installed("tool") == "3.0"
    assert (ready.packages / "mine.txt").exists()
    assert launch.describe_state(ready) == ""


def test_moved_folder_is_repaired_without_installing(
    ready: Installation, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    installed = ready.log.read_bytes()
    moved = replace(ready, root=ready.root.rename(tmp_path / "elsewhere"))
    assert f"moved here from {ready.folder}" in launch.describe_state(moved)
    launch.install(moved)
    assert str(ready.folder) in capfd.readouterr().out
    assert moved.log.read_bytes() == installed
    assert launch.describe_state(moved) == ""
    script = [str(moved.folder / "bin" / "part-run")]
    assert subprocess.run(script, capture_output=True, text=True, check=True).stdout == "part runs\n"
    assert str(ready.folder) not in (moved.folder / "bin" / "activate").read_text(encoding="utf-8")


def test_installation_that_was_killed_is_redone(ready: Installation, wheels: Path) -> None:
    endless = offline(wheels, TORCH_COMMAND="http.server --bind 127.0.0.1 0")
    with subprocess.Popen(
        [sys.executable, "-c", INSTALL, str(ready.root)], env=dict(endless), cwd=ROOT, start_new_session=True
    ) as child:
        deadline = time.monotonic() + 60
        while "http.server" not in read(ready.log):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        os.killpg(child.pid, signal.SIGKILL)
    assert launch.describe_state(ready) == "an installation was cut off"
    (ready.packages / "half_written.py").touch()
    launch.install(ready)
    assert launch.describe_state(ready) == ""
    assert not (ready.packages / "half_written.py").exists()


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""


def test_environment_whose_python_is_gone_is_made_anew(ready: Installation, capfd: pytest.CaptureFixture[str]) -> None:
    ready.python.unlink()
    ready.python.symlink_to(ready.root / "gone")
    launch.install(ready)
    assert "Removing the old environment" in capfd.readouterr().out
    assert run_python(ready, "import part; part.run()") == "part runs"


def test_environment_of_another_hand_is_completed(ready: Installation) -> None:
    ready.stamp("app").unlink()
    (ready.packages / "mine.txt").touch()
    assert launch.describe_state(ready) == "it was never finished by launch.py"
    launch.install(ready)
    assert (ready.packages / "mine.txt").exists()
    assert launch.describe_state(ready) == ""


def test_no_later_stage_replaces_torch(ready: Installation) -> None:
    write_requirements(ready.root, "greedy==1.0")
    with pytest.raises(InstallError, match="stage 'requirements' failed"):
        launch.install(ready)
    assert ready.installed("torch") == "2.13.0"


def test_chosen_torch_stays(ready: Installation, wheels: Path) -> None:
    chosen = replace(ready, environment=offline(wheels, TORCH_COMMAND="pip install torch==9.9.9"))
    assert "TORCH_COMMAND" in launch.describe_state(chosen)
    launch.install(chosen)
    assert chosen.installed("torch") == "9.9.9"


def test_torch_command_that_installs_none(ready: Installation, wheels: Path) -> None:
    with pytest.raises(InstallError, match="Correct TORCH_COMMAND"):
        launch.install(replace(ready, environment=offline(wheels, TORCH_COMMAND="pip uninstall --yes torch")))


def test_torch_command_that_cannot_be_read(ready: Installation, wheels: Path) -> None:
    with pytest.raises(InstallError, match="TORCH_COMMAND cannot be read"):
        launch.install(replace(ready, environment=offline(wheels, TORCH_COMMAND='pip install "torch')))


def test_torch_comes_from_the_chosen_index(fresh: Installation) -> None:
    index = replace(fresh, environment={"TORCH_INDEX_URL": "https://example.org/cpu"})
    assert launch.torch_command(index, "torch==2.13.0")[1:] == [
        "-m", "pip", "install", "torch==2.13.0", "--index-url", "https://example.org/cpu",
    ]  # fmt: skip


def test_windows_with_a_card_gets_the_cuda_build(fresh: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "WINDOWS", True)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert "--index-url" not in launch.torch_command(replace(fresh, environment={}), "torch==2.13.0")
    monkeypatch.setattr(shutil, "which", lambda name: name)
    assert launch.torch_command(replace(fresh, environment={}), "torch==2.13.0")[-1] == launch.CUDA_INDEX


def test_unreachable_index_names_the_stage_and_the_way_out(ready: Installation, wheels: Path) -> None:
    another = offline(wheels, TORCH_COMMAND="pip install torch==9.9.9", PIP_RETRIES="1")
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # bound but not listening: connections are refused
        cut_off = {**another, "PIP_INDEX_URL": f"http://127.0.0.1:{closed.getsockname()[1]}/simple"}
        del cut_off["PIP_NO_INDEX"], cut_off["PIP_FIND_LINKS"]
        with pytest.raises(InstallError) as caught:
            launch.install(replace(ready, environment=cut_off))
    text = str(caught.value)
    assert "The stage 'torch' failed" in text
    assert str(ready.log) in text
    assert "  | ERROR: No matching distribution found for torch==9.9.9" in text
    assert text.splitlines()[-1].startswith("The package index cannot be reached.")
    (ready.packages / "mine.txt").touch()
    connected = replace(ready, environment=another)
    launch.install(connected)  # with the network back the same command goes on in the same environment
    assert launch.describe_state(connected) == ""
    assert (ready.packages / "mine.txt").exists()


def test_missing_build_is_explained(ready: Installation) -> None:
    write_requirements(ready.root, "part==7.7")
    with pytest.raises(InstallError, match="The package index has no build for this Python"):
        launch.install(ready)


@pytest.mark.parametrize(
    ("line", "advice"),
    [
        ("OSError: [Errno 28] No space left on device", "The disk is full"),
        ("SSLError(SSLCertVerificationError(1, '[SSL: CERTIFICATE_VERIFY_FAILED]", "PIP_CERT"),
        ("NewConnectionError: [Errno -3] Temporary failure in name resolution", "cannot be reached"),
        ("ERROR: Could not install packages due to an OSError: [Errno 13] Permission denied", "cannot be written"),
        ("something never seen", "--doctor"),
    ],
)
def test_failures_are_explained(tmp_path: Path, line: str, advice: str) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"No space left on device, of an earlier stage\n")
    start = log.stat().st_size
    log.write_bytes(log.read_bytes() + f"fine\n{line}\n".encode())
    text = launch.describe_failure("torch", log, start)
    assert advice in text.splitlines()[-1]
    assert f"  | {line}" in text
    assert "earlier stage" not in text


def test_broken_package_is_found_by_the_check(ready: Installation) -> None:
    ready.stamp("app").unlink()
    with pytest.raises(InstallError, match=r"stage 'check' failed[\s\S]*No module named 'absent'"):
        launch.install(replace(ready, modules=("torch", "absent")))
    assert launch.describe_state(ready) == "an installation was cut off"  # so that the next start makes it anew


def test_test_tools_have_their_own_stamp(ready: Installation, capfd: pytest.CaptureFixture[str]) -> None:
    assert ready.installed("tool") is None
    launch.install_test_tools(ready)
    assert "[1/1] test tools" in capfd.readouterr().out
    assert ready.installed("tool") == "3.0"
    launch.install_test_tools(ready)
    assert capfd.readouterr().out == ""


def test_full_disk_is_noticed_before_anything_is_made(fresh: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "NEEDED_BYTES", 2**70)
    with pytest.raises(InstallError, match=r"GB are free[\s\S]*Free some space"):
        launch.install(fresh)
    assert not fresh.folder.exists()


@pytest.mark.parametrize("missing", ["venv", "ensurepip"])
def test_python_without_venv_is_told_what_to_install(
    fresh: Installation, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == missing else find(name))
    with pytest.raises(InstallError, match="Fix: "):
        launch.install(fresh)
    assert not fresh.folder.exists()


def test_python_inside_the_environment_does_not_remove_itself(ready: Installation) -> None:
    ready.unfinished.touch()
    command = [str(ready.python), "-c", INSTALL, str(ready.root)]
    child = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert "Run it with the system's Python" in child.stderr
    assert ready.python.exists()


# ------------------------------------------------------------------------------------------------------ command line


def launched(*arguments: str, root: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(root / "launch.py"), *arguments],
        capture_output=True, text=True, check=False, env={**os.environ, **environment},
    )  # fmt: skip


@pytest.fixture
def product(tmp_path: Path, ready: Installation) -> Path:
    """launch.py and what it needs of webui/, beside a finished environment, with an app that says how it is run."""
    shutil.copy(ROOT / "launch.py", ready.root)
    (ready.root / "webui").mkdir()
    for name in ("__init__", "config", "doctor", "errors"):
        shutil.copy(ROOT / "webui" / f"{name}.py", ready.root / "webui")
    app = "import os, sys\nprint(sys.argv[1:], os.getcwd(), __file__, sys.prefix, sep='\\n')\nsys.exit(7)\n"
    (ready.root / "webui" / "__main__.py").write_text(app, encoding="utf-8")
    own = Installation(ready.root, os.environ)
    launch.write_stamp(own, "app")
    return ready.root


def test_app_is_started_with_the_flags_where_the_user_stands(product: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "stable-diffusion-webui"
    elsewhere.mkdir()
    if sys.version_info >= (3, 11):
        (elsewhere / "webui.py").write_text("raise SystemExit('the wrong webui')", encoding="utf-8")
    child = subprocess.run(
        [sys.executable, str(product / "launch.py"), "--port", "7999", "--ckpt", "a b"],
        capture_output=True, text=True, check=False, cwd=elsewhere,
    )  # fmt: skip
    assert child.stderr == ""
    assert child.stdout.splitlines() == [
        "['--port', '7999', '--ckpt', 'a b']",
        str(elsewhere),
        str(product / "webui" / "__main__.py"),
        str(product / ".venv"),
    ]
    assert child.returncode == 7


def test_exit_only_sets_up(product: Path) -> None:
    child = launched("--exit", root=product)
    assert (child.returncode, child.stdout, child.stderr) == (0, "", "")


def test_wrong_flag_is_refused_before_anything_is_installed(product: Path) -> None:
    shutil.rmtree(product / ".venv")
    child = launched("--lisen", root=product)
    assert (child.returncode, child.stdout) == (2, "")
    assert child.stderr == "launch.py: unknown flag --lisen: did you mean --listen?\n"
    assert not (product / ".venv").exists()


def test_failed_installation_ends_with_an_explanation_not_a_traceback(product: Path) -> None:
    write_requirements(product, "part==7.7")
    child = launched(root=product, PIP_NO_INDEX="1", PIP_CONFIG_FILE=os.devnull)
    assert child.returncode == 1
    assert "The stage 'requirements' failed" in child.stderr
    assert "Traceback" not in child.stderr


def test_help_shows_both_kinds_of_flags() -> None:
    child = launched("--help")
    assert child.returncode == 0
    assert "--doctor" in child.stdout
    assert "--listen" in child.stdout


@pytest.mark.parametrize("version", [(2, 7), (3, 9), (3, 14), (4, 0)])
def test_other_pythons_are_refused_clearly(version: tuple[int, int]) -> None:
    code = f"import runpy, sys; sys.version_info = {(*version, 0)}; runpy.run_path({str(ROOT / 'launch.py')!r})"
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert child.returncode == 1
    assert f"Easel needs Python 3.10 to 3.13; this is Python {version[0]}.{version[1]}." in child.stderr
    assert "Traceback" not in child.stderr


def test_old_pythons_can_read_the_file_far_enough_to_say_so() -> None:
    ast.parse((ROOT / "launch.py").read_text(encoding="utf-8"), feature_version=(3, 7))


def test_doctor_on_a_bare_copy(product: Path) -> None:
    shutil.rmtree(product / ".venv")
    child = launched("--doctor", root=product)
    assert child.returncode == 1
    assert "✗ Environment" in child.stdout
    assert "fix: run: python3 launch.py --exit" in child.stdout
    assert child.stderr == ""


def test_doctor_sees_what_is_missing(product: Path) -> None:
    (product / "requirements.txt").write_text("torch==2.13.0\npart==1.0\ngreedy==1.0\n", encoding="utf-8")
    child = launched("--doctor", root=product)
    assert child.returncode == 1
    assert "✗ Environment: requirements.txt, TORCH_COMMAND or TORCH_INDEX_URL changed since" in child.stdout
    assert "✗ greedy is not installed" in child.stdout
    assert "✓ 2 packages as pinned" in child.stdout
    assert "✗ torch does not work: ModuleNotFoundError: No module named 'psutil'" in child.stdout


def test_pytest_alone_runs_with_arguments(product: Path) -> None:
    """Without arguments everything runs; here no tool is installed, so each is reported as failed."""
    own = Installation(product, os.environ)
    launch.write_stamp(own, "test")
    child = launched("--test", "-k", "x", root=product)
    assert child.returncode == 1
    assert child.stdout.splitlines() == ["== pytest", "== pytest: FAILED"]
    child = launched("--test", root=product)
    assert child.stdout.splitlines()[-1] == "== ruff check: FAILED, ruff format: FAILED, mypy: FAILED, pytest: FAILED"
    assert child.returncode == 1
