"""Installs Easel into .venv beside this file and starts it; standard library only.

python3 launch.py [flags]            start (installs first when needed)
python3 launch.py --exit             install only
python3 launch.py --test             ruff, mypy and the test suite;  --test [pytest arguments]: pytest alone
python3 launch.py --doctor [flags]   what is wrong with this installation, and the fix
"""

import sys

OLDEST, NEWEST = (3, 10), (3, 13)
if not OLDEST <= sys.version_info[:2] <= NEWEST:  # before anything an old Python could stumble over
    sys.exit(
        "launch.py: Easel needs Python 3.10 to 3.13; this is Python %d.%d. Start it with another one, for example:\n"  # noqa: UP031
        "  python3.12 launch.py        (Windows: py -3.12 launch.py)" % sys.version_info[:2]
    )

import contextlib
import hashlib
import importlib.metadata
import importlib.util
import io
import json
import os
import platform
import re
import shlex
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from webui import config, doctor

ROOT = Path(__file__).resolve().parent
NEEDED_BYTES = 3 * 1024**3
LAST_LINES = 12
WINDOWS = os.name == "nt"
CUDA_INDEX = "https://download.pytorch.org/whl/cu130"  # PyPI's torch for Windows computes on the CPU only
IMPORTED_IN_CHECK = ("torch", "numpy", "PIL", "safetensors", "pydantic", "sqlalchemy", "fastapi", "transformers")

# What a line in pip's log means, and what the user can do about it; the first that fits is shown.
DIAGNOSES = (
    (
        r"No space left on device|not enough space on the disk|Disk quota exceeded",
        "The disk is full. Free some space; the start goes on from this stage.",
    ),
    (
        r"CERTIFICATE_VERIFY_FAILED",
        "The connection's certificate is not trusted. Behind a company proxy, set PIP_CERT to its certificate file.",
    ),
    (
        r"name resolution|Name or service not known|getaddrinfo failed|NewConnectionError|Connection refused"
        r"|Network is unreachable|ProxyError|ReadTimeout|Read timed out|ConnectTimeout|Connection reset",
        "The package index cannot be reached. Connect to the internet (HTTPS_PROXY names a proxy), or set "
        "PIP_INDEX_URL or PIP_FIND_LINKS to a mirror or a folder of wheels.",
    ),
    (
        r"No matching distribution found",
        "The package index has no build for this Python and system. Try another Python (3.10 to 3.13), or choose "
        'another torch: TORCH_COMMAND="pip install torch".',
    ),
    (r"Permission denied|Access is denied", "A file cannot be written. Give your account the right to write here."),
)


class InstallError(Exception):
    """A stage failed; the text says which, why, and what to do."""


class BrokenEnvironment(InstallError):
    """Everything is installed and yet it does not work; only a new environment can help."""


@dataclass(frozen=True)
class Installation:
    """The environment in `root`/.venv: what it should be, what it is, and how to get from one to the other."""

    root: Path
    environment: Mapping[str, str]
    modules: tuple[str, ...] = field(default=IMPORTED_IN_CHECK)

    @property
    def folder(self) -> Path:
        return self.root / ".venv"

    @property
    def python(self) -> Path:
        return self.folder / ("Scripts/python.exe" if WINDOWS else "bin/python")

    @property
    def packages(self) -> Path:
        return self.folder / (
            "Lib/site-packages" if WINDOWS else f"lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"
        )

    @property
    def log(self) -> Path:
        return self.folder / "install.log"

    @property
    def unfinished(self) -> Path:
        """This file is there while an installation runs; found at the start, it means that one was cut off."""
        return self.folder / "unfinished"

    def stamp(self, name: str) -> Path:
        return self.folder / f"stamp-{name}.json"

    def wanted(self, name: str) -> dict[str, str]:
        """Return the stamp that a finished installation of requirements-`name` has on this machine."""
        digest = hashlib.sha256()
        for part in (
            (self.root / requirements_name("app")).read_bytes(),
            (self.root / requirements_name(name)).read_bytes(),
            self.environment.get("TORCH_COMMAND", "").encode(),
            self.environment.get("TORCH_INDEX_URL", "").encode(),
        ):
            digest.update(hashlib.sha256(part).digest())
        return {"requirements": digest.hexdigest(), "python": python_tag(), "location": str(self.folder)}

    def found(self, name: str) -> dict[str, str]:
        """Return the stamp that is there; empty when there is none or it cannot be read."""
        try:
            content = json.loads(self.stamp(name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}

    def installed(self, package: str) -> str | None:
        """Return the version of `package` in the environment."""
        for distribution in importlib.metadata.distributions(name=package, path=[str(self.packages)]):
            return distribution.version
        return None


def main(arguments: Sequence[str]) -> int:
    """Do what the command line asks; return the exit code."""
    words = list(arguments)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a console without ✓ shows ? instead of failing
    installation = Installation(ROOT, os.environ)
    try:
        if words[:1] == ["--test"]:
            return run_checks(installation, words[1:])
        if "-h" in words or "--help" in words:
            print(__doc__)
            config.build_parser().print_help()
            return 0
        if "--doctor" in words:
            words.remove("--doctor")
            return examine(installation, words)
        only_install = "--exit" in words
        words = [word for word in words if word != "--exit"]
        config.read(words, os.environ)  # a wrong flag is refused now, not after minutes of installing
        install(installation)
        return 0 if only_install else start(installation, words)
    except InstallError as problem:
        print(f"\n{problem}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped.", file=sys.stderr)
        return 130


# ---------------------------------------------------------------------------------------------------------- installing


def install(installation: Installation) -> None:
    """Bring the environment to what requirements.txt says; returns at once when its stamp is the wanted one."""
    if is_current(installation, "app"):
        return
    wanted, found = installation.wanted("app"), installation.found("app")
    if found and found.get("location") != wanted["location"] and runs(installation):
        repair_moved(installation, str(found.get("location")))
        if {**found, "location": ""} == {**wanted, "location": ""} and not installation.unfinished.exists():
            write_stamp(installation, "app")
            return
    refuse_impossible(installation)
    print(f"Setting up Easel in {installation.folder} (the first time this takes some minutes).", flush=True)
    remove_broken(installation)
    requirements = read_requirements(installation.root / requirements_name("app"))
    is_new = not installation.folder.exists()
    with installing(installation, "app", stages=4 if is_new else 3) as stages:
        if is_new:
            stages.run("environment", [sys.executable, "-m", "venv", str(installation.folder)])
        run_stages(installation, stages, requirements)


def install_test_tools(installation: Installation) -> None:
    """Add requirements-test.txt to a current environment."""
    if is_current(installation, "test"):
        return
    with installing(installation, "test", stages=1) as stages:
        path = installation.root / requirements_name("test")
        stages.run("test tools", pip_install(installation, "--requirement", str(path)))


def is_current(installation: Installation, name: str) -> bool:
    return (
        installation.found(name) == installation.wanted(name)
        and installation.python.exists()
        and not installation.unfinished.exists()
    )


@contextlib.contextmanager
def installing(installation: Installation, name: str, stages: int) -> Iterator["Stages"]:
    """Mark the environment as unfinished, then, if nothing was raised, as what requirements-`name` wants.

    Where pip fails by itself it leaves the environment whole, and the next start goes on in it. Where the installation
    is killed or does not work, the mark stays, and the next start makes the environment anew.
    """
    installation.folder.mkdir(exist_ok=True)
    installation.unfinished.touch()
    try:
        yield Stages(installation, stages)
    except BrokenEnvironment:
        raise
    except InstallError:
        if runs(installation):
            installation.unfinished.unlink()
        raise
    installation.unfinished.unlink()
    write_stamp(installation, name)


def run_stages(installation: Installation, stages: "Stages", requirements: Sequence[str]) -> None:
    """Install torch, then the rest without touching torch, and prove that it works."""
    torch = next(line for line in requirements if is_torch(line))
    rest = installation.folder / "requirements.txt"
    stages.run("torch", torch_command(installation, torch), shown=torch)
    write_constraint(installation)
    rest.write_text("\n".join(line for line in requirements if not is_torch(line)) + "\n", encoding="utf-8")
    stages.run("requirements", pip_install(installation, "--requirement", str(rest)))
    try:
        stages.run("check", check_command(installation))
    except InstallError as problem:
        raise BrokenEnvironment(f"{problem}\nThe next start makes the environment anew.") from problem


def refuse_impossible(installation: Installation) -> None:
    """Raise InstallError for what can be known to fail before anything is downloaded."""
    if sys.prefix == str(installation.folder):
        raise InstallError(
            "Easel has to be set up anew, which the Python inside .venv cannot do. Run it with the system's Python: "
            "python3 launch.py"
        )
    if importlib.util.find_spec("ensurepip") is None or importlib.util.find_spec("venv") is None:
        version = f"{sys.version_info[0]}.{sys.version_info[1]}"
        how = (
            f"sudo apt install python{version}-venv"
            if Path("/etc/debian_version").exists()
            else "install your system's packages for them, or Python from python.org"
        )
        raise InstallError(f"This Python {version} comes without its modules venv and ensurepip. Fix: {how}")
    free = shutil.disk_usage(installation.root).free
    if free < NEEDED_BYTES and installation.installed("torch") is None:
        raise InstallError(
            f"Only {free / 1024**3:.1f} GB are free in {installation.root}; the installation needs "
            f"{NEEDED_BYTES / 1024**3:.0f} GB (the CUDA build of torch about 8 GB). Free some space and start again."
        )


def remove_broken(installation: Installation) -> None:
    """Remove an environment that was cut off, runs no more, or belongs to another Python."""
    if not installation.folder.exists():
        return
    if installation.unfinished.exists():
        reason = "the last installation was cut off"
    elif not runs(installation):
        reason = f"its Python does not run as {python_tag()}"
    else:
        return
    print(f"Removing the old environment: {reason}.", flush=True)
    try:
        shutil.rmtree(installation.folder)
    except OSError as problem:
        raise InstallError(
            f"{installation.folder} cannot be removed: {problem}. Close every program that uses it, or delete it."
        ) from problem


def runs(installation: Installation) -> bool:
    """Return whether the environment's Python starts and is the version that runs this file."""
    code = "import sys; print('.'.join(map(str, sys.version_info[:2])))"
    try:
        answer = subprocess.run(
            [str(installation.python), "-I", "-c", code], capture_output=True, text=True, timeout=60, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return answer.stdout.strip() == f"{sys.version_info[0]}.{sys.version_info[1]}"


def repair_moved(installation: Installation, old: str) -> None:
    """Put the new path into the scripts of an environment that was moved from `old`; pip writes absolute paths."""
    print(f"The folder was moved from {old}: repairing the environment.", flush=True)
    before, after = f"#!{old}".encode(), f"#!{installation.folder}".encode()
    for script in (installation.folder / "bin").glob("*"):
        with contextlib.suppress(OSError):  # Easel never runs these scripts, so one that resists is no failure
            if script.is_file() and not script.is_symlink() and script.read_bytes().startswith(before):
                script.write_bytes(after + script.read_bytes()[len(before) :])
    command = [sys.executable, "-m", "venv", "--without-pip", str(installation.folder)]
    subprocess.run(command, check=False, capture_output=True)  # rewrites bin/activate and pyvenv.cfg


class Stages:
    """Runs one command after the other: a line for each with its seconds, everything else into the log."""

    def __init__(self, installation: Installation, total: int) -> None:
        self._installation = installation
        self._total = total
        self._number = 0
        self._live = sys.stdout.isatty()

    def run(self, stage: str, command: Sequence[str], shown: str = "") -> None:
        """Run `command`; InstallError with its last lines and a diagnosis when it fails."""
        self._number += 1
        label = f"[{self._number}/{self._total}] {shown or stage}"
        began = time.monotonic()
        print(f"{label} … ", end="", flush=True)
        with self._installation.log.open("ab") as log:
            log.write(f"\n== {shlex.join(command)}\n".encode())
            log.flush()
            start = log.tell()
            code = self._wait(command, log.fileno(), label, began)
        seconds = time.monotonic() - began
        if code == 0:
            print(f"\r\033[K{label} … {seconds:.0f} s" if self._live else f"{seconds:.0f} s", flush=True)
            return
        print("failed", flush=True)
        raise InstallError(describe_failure(stage, self._installation.log, start))

    def _wait(self, command: Sequence[str], log: int, label: str, began: float) -> int:
        environment = {
            **self._installation.environment,
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "PIP_NO_INPUT": "1",
            "HF_HUB_OFFLINE": "1",
        }
        with subprocess.Popen(
            list(command), stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, env=environment
        ) as process:
            try:
                while True:
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        return process.wait(timeout=1)
                    if self._live:
                        now = last_activity(self._installation.log)
                        print(f"\r\033[K{label} … {time.monotonic() - began:.0f} s {now}", end="", flush=True)
            except KeyboardInterrupt:
                process.terminate()
                raise


def last_activity(log: Path) -> str:
    """Return what pip does now, short enough for one line."""
    for line in reversed(tail(log).splitlines()):
        if line.lstrip().startswith(("Collecting", "Downloading", "Installing", "Building", "Using cached")):
            return line.strip()[:60]
    return ""


def tail(log: Path, size: int = 8192) -> str:
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - size))
        return file.read().decode(errors="replace")


def describe_failure(stage: str, log: Path, start: int) -> str:
    """Return the last lines of the log from byte `start` on, and what they mean."""
    text = log.read_bytes()[start:].decode(errors="replace")
    lines = [line for line in text.splitlines() if line.strip()][-LAST_LINES:]
    advice = next((advice for pattern, advice in DIAGNOSES if re.search(pattern, text)), "")
    return "\n".join(
        [
            f"The stage '{stage}' failed. The last lines of {log}:",
            *(f"  | {line}" for line in lines),
            advice or "The log says more; `python3 launch.py --doctor` checks the rest of the installation.",
        ]
    )


def requirements_name(name: str) -> str:
    return "requirements.txt" if name == "app" else f"requirements-{name}.txt"


def read_requirements(path: Path) -> list[str]:
    """Return the requirement lines without comments."""
    lines = (line.partition("#")[0].strip() for line in path.read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line]


def is_torch(line: str) -> bool:
    return re.match(r"torch\s*==", line) is not None


def torch_command(installation: Installation, pin: str) -> list[str]:
    """Return the command that installs torch: A1111's TORCH_COMMAND, else the pin (from TORCH_INDEX_URL if set)."""
    python = [str(installation.python), "-m"]
    custom = installation.environment.get("TORCH_COMMAND", "")
    if custom:
        try:
            return [*python, *config.split(custom, windows=WINDOWS)]
        except ValueError as problem:
            raise InstallError(f"TORCH_COMMAND cannot be read: {problem}.") from problem
    index = installation.environment.get("TORCH_INDEX_URL", "")
    if not index and WINDOWS and shutil.which("nvidia-smi"):
        index = CUDA_INDEX
    return [*python, "pip", "install", pin, *(["--index-url", index] if index else [])]


def pip_install(installation: Installation, *arguments: str) -> list[str]:
    """Return the command that installs without replacing the installed torch."""
    constraint = str(installation.folder / "constraints.txt")
    return [str(installation.python), "-m", "pip", "install", "--constraint", constraint, *arguments]


def write_constraint(installation: Installation) -> None:
    version = installation.installed("torch")
    if version is None:
        raise InstallError("The stage 'torch' installed no torch. Correct TORCH_COMMAND, or unset it.")
    (installation.folder / "constraints.txt").write_text(f"torch=={version}\n", encoding="utf-8")


def check_command(installation: Installation) -> list[str]:
    """Return the command that proves the parts work together: they import, and torch computes."""
    code = "".join(f"import {module}\n" for module in installation.modules)
    if "torch" in installation.modules:
        code += "assert torch.ones(2, 2).sum().item() == 4.0\n"
    return [str(installation.python), "-I", "-c", code]


def write_stamp(installation: Installation, name: str) -> None:
    content = json.dumps(installation.wanted(name), indent=1)
    temporary = installation.stamp(name).with_suffix(".tmp")
    temporary.write_text(content, encoding="utf-8")
    os.replace(temporary, installation.stamp(name))


def python_tag() -> str:
    """Return what an environment depends on: Python's kind and version, and the processor's kind."""
    return f"{sys.implementation.name} {sys.version_info[0]}.{sys.version_info[1]} {platform.machine()}"


# ------------------------------------------------------------------------------------------------- starting, checking


def start(installation: Installation, arguments: Sequence[str]) -> int:
    """Become the app (POSIX), or run it as a child and wait (Windows); paths in flags count from the current folder."""
    here = Path.cwd()
    shadowed = here != installation.root and any((here / name).exists() for name in ("webui", "webui.py"))
    if shadowed and sys.version_info < (3, 11):  # only 3.11 can keep the current folder out of the search for modules
        raise InstallError(f"In {here} lies another 'webui', which Python 3.10 would start. Change to another folder.")
    command = [str(installation.python), "-m", "webui", *arguments]
    environment = app_environment(installation)
    if not WINDOWS:
        os.execve(command[0], command, environment)
    with subprocess.Popen(command, env=environment) as process:
        while True:
            with contextlib.suppress(KeyboardInterrupt):  # the console sends Ctrl-C to the child as well
                return process.wait()


def app_environment(installation: Installation) -> dict[str, str]:
    """Return the environment in which `-m webui` is this folder's, wherever the user stands."""
    paths = [str(installation.root), *installation.environment.get("PYTHONPATH", "").split(os.pathsep)]
    return {
        **installation.environment,
        "PYTHONPATH": os.pathsep.join(path for path in paths if path),
        "PYTHONSAFEPATH": "1",
    }


PARALLEL = ("-n", "2", "--dist", "loadfile")  # two files of tests at a time; what a file shares is made once


def run_checks(installation: Installation, arguments: Sequence[str]) -> int:
    """Run lint, types and tests, or pytest alone with `arguments`; return 0 only if all of it passes."""
    install(installation)
    install_test_tools(installation)
    checks = {
        "ruff check": ["ruff", "check", "."],
        "ruff format": ["ruff", "format", "--check", "."],
        "mypy": ["mypy"],
        "pytest": ["pytest", *(arguments or PARALLEL)],
    }
    results: dict[str, bool] = {}
    for name, command in checks.items():
        if arguments and name != "pytest":
            continue
        print(f"== {name}", flush=True)
        python = [str(installation.python), "-m"]
        # Processes side by side: more threads in each would only get in each other's way.
        environment = {**os.environ, "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}
        done = subprocess.run([*python, *command], cwd=installation.root, env=environment, check=False)
        results[name] = done.returncode == 0
    print("== " + ", ".join(f"{name}: {'passed' if passed else 'FAILED'}" for name, passed in results.items()))
    return 0 if all(results.values()) else 1


def examine(installation: Installation, arguments: Sequence[str]) -> int:
    """Print the doctor's findings; return 1 if something must be repaired."""
    facts = doctor.Environment(
        root=installation.root,
        python=installation.python,
        packages=installation.packages,
        state=describe_state(installation),
        requirements=tuple(read_requirements(installation.root / requirements_name("app"))),
        torch_is_chosen=bool({"TORCH_COMMAND", "TORCH_INDEX_URL"} & set(installation.environment)),
    )
    return doctor.report(facts, config.read(arguments, installation.environment)[0])


def describe_state(installation: Installation) -> str:
    """Return what is wrong with the environment as a whole; empty when it is ready."""
    if not installation.folder.exists():
        return "not installed yet"
    if installation.unfinished.exists():
        return "an installation was cut off"
    if not runs(installation):
        return f"its Python does not run as {python_tag()}"
    wanted, found = installation.wanted("app"), installation.found("app")
    if not found:
        return "it was never finished by launch.py"
    for name, text in (
        ("location", f"it was moved here from {found.get('location')}"),
        ("python", f"it was made for {found.get('python')}"),
        ("requirements", "requirements.txt, TORCH_COMMAND or TORCH_INDEX_URL changed since"),
    ):
        if wanted[name] != found.get(name):
            return text
    return ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
