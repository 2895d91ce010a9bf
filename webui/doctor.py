"""`launch.py --doctor`: looks at an installation from outside and says what is wrong and how to repair it.

Standard library only, because it runs where nothing is installed yet; what needs packages is asked of the environment's
own Python in a child process.
"""

from __future__ import annotations

import errno
import http.client
import importlib.metadata
import json
import os
import platform
import re
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from webui.config import Config

Mark = Literal["✓", "!", "✗"]
SETUP: Final = "run: python3 launch.py --exit"
LITTLE_DISK, TIGHT_DISK = 1.0, 5.0  # GB
LITTLE_MEMORY: Final = 4.0  # GB
PROBE_SECONDS: Final = 120

PROBE_TORCH: Final = """
import json, platform, psutil, torch
cards = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
memory = [torch.cuda.mem_get_info(i) for i in range(len(cards))]
apple = torch.backends.mps.is_available()
assert torch.ones(2, 2).sum().item() == 4.0
print(json.dumps({"version": torch.__version__, "cards": cards, "memory": memory, "apple": apple,
                  "threads": torch.get_num_threads(), "available": psutil.virtual_memory().available}))
"""
PROBE_MODELS: Final = """
import json, sys, tempfile
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from webui.weights.catalog.catalog import Catalog
from webui.weights.catalog.files import CHECKPOINTS
from webui.weights.catalog.index import ModelIndex
with tempfile.TemporaryDirectory() as folder:
    catalog = Catalog([Path(name) for name in sys.argv[2:]], ModelIndex(Path(folder) / "models.db"), CHECKPOINTS)
    print(json.dumps([[model.name, model.problem] for model in catalog.models()]))
"""


@dataclass(frozen=True)
class Environment:
    """What launch.py knows about the installation: its paths, what is wrong with it as a whole, and the pins."""

    root: Path
    python: Path
    packages: Path
    state: str  # empty: ready
    requirements: tuple[str, ...]
    torch_is_chosen: bool  # TORCH_COMMAND or TORCH_INDEX_URL: another version than the pin is then no fault


@dataclass(frozen=True)
class Finding:
    mark: Mark
    text: str
    fix: str = ""

    def __str__(self) -> str:
        return f"{self.mark} {self.text}" + (f"\n    fix: {self.fix}" if self.fix else "")


def report(environment: Environment, config: Config) -> int:
    """Print every finding as it is made; return 1 if one of them is ✗, else 0."""
    broken = 0
    for finding in examine(environment, config):
        print(finding, flush=True)
        broken += finding.mark == "✗"
    print(f"{broken} to repair." if broken else "Nothing to repair.")
    return 1 if broken else 0


def examine(environment: Environment, config: Config) -> Iterator[Finding]:
    """Yield the findings, cheap ones first."""
    version = platform.python_version()
    yield Finding("✓", f"Python {version} ({sys.executable}) on {platform.system()} {platform.machine()}")
    yield from examine_disk(environment.root, config)
    yield from examine_state(config.state_dir)
    yield examine_port(config.host, config.port)
    if not environment.python.exists():
        yield Finding("✗", f"Environment {environment.python.parent.parent}: {environment.state}", SETUP)
        return
    yield (
        Finding("✗", f"Environment: {environment.state}", SETUP)
        if environment.state
        else Finding("✓", f"Environment {environment.python.parent.parent}: ready")
    )
    yield from examine_packages(environment)
    yield from examine_torch(environment)
    yield from examine_models(environment, config.checkpoint_dirs)


def examine_disk(root: Path, config: Config) -> Iterator[Finding]:
    folders = [nearest(path) for path in (config.models_dir, config.outputs_dir, root)]
    for folder in {folder.stat().st_dev: folder for folder in folders}.values():
        free = shutil.disk_usage(folder).free / 1024**3
        text = f"Disk: {free:.1f} GB free at {folder}"
        if free < LITTLE_DISK:
            yield Finding("✗", text, "free some space; images and installations fail without it")
        else:
            yield Finding("!" if free < TIGHT_DISK else "✓", text)
    folder = nearest(config.outputs_dir)
    try:
        with tempfile.TemporaryFile(dir=folder):
            yield Finding("✓", f"Images can be written to {config.outputs_dir}")
    except OSError as problem:
        yield Finding(
            "✗",
            f"Images cannot be written to {config.outputs_dir}: {problem.strerror}",
            f"allow your account to write to {folder}, or choose another place with --data-dir",
        )


def nearest(path: Path) -> Path:
    """Return `path`, or the first folder above it that exists."""
    return next(folder for folder in (path, *path.parents) if folder.is_dir())


def examine_state(state_dir: Path) -> Iterator[Finding]:
    settings = state_dir / "settings.json"
    if settings.exists():
        try:
            readable = isinstance(json.loads(settings.read_text(encoding="utf-8")), dict)
        except (OSError, ValueError):
            readable = False
        yield (
            Finding("✓", f"Settings can be read: {settings}")
            if readable
            else Finding(
                "!", f"Settings cannot be read: {settings}", "none needed: the next start uses the last backup"
            )
        )
    database = state_dir / "easel.db"
    if database.exists():
        yield examine_database(database)


def examine_database(database: Path) -> Finding:
    try:
        with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True, timeout=5)) as connection:
            answer = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    except sqlite3.Error as problem:
        answer = str(problem)
    if answer == "ok":
        return Finding("✓", f"Job database is sound: {database}")
    return Finding(
        "✗",
        f"Job database {database} is damaged: {answer}",
        f"stop Easel and rename {database.name}; the images stay, the list of jobs starts anew",
    )


def examine_port(host: str, port: int) -> Finding:
    """Say whether the port is free, and else whether it is Easel that answers there."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        if os.name != "nt":
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as problem:
            if problem.errno != errno.EADDRINUSE:
                return Finding("✗", f"Port {port} on {host}: {problem.strerror}", "choose another --port or address")
        else:
            return Finding("✓", f"Port {port} is free")
    who = "Easel answers there already" if is_easel(port) else "another program uses it"
    return Finding("!", f"Port {port} is taken: {who}", "none needed: the next free port is taken; --port chooses one")


def is_easel(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=3)
    try:
        connection.request("GET", "/healthz")
        answer = json.loads(connection.getresponse().read(65536))
        return isinstance(answer, dict) and answer.get("status") == "ok"
    except (OSError, ValueError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def examine_packages(environment: Environment) -> Iterator[Finding]:
    """Compare what is installed with the pins that hold for this Python."""
    found = {
        normal(distribution.metadata["Name"]): distribution.version
        for distribution in importlib.metadata.distributions(path=[str(environment.packages)])
    }
    as_pinned = 0
    for name, pinned in pins(environment.requirements, sys.version_info[:2]):
        version = found.get(normal(name))
        if version is not None and version.partition("+")[0] == pinned:
            as_pinned += 1
        elif version is None:
            yield Finding("✗", f"{name} is not installed", SETUP)
        elif name == "torch" and environment.torch_is_chosen:
            yield Finding("!", f"torch {version} was chosen instead of {pinned}, with which Easel is tested")
        else:
            yield Finding("✗", f"{name} is {version}, Easel needs {pinned}", "delete .venv, then " + SETUP)
    yield Finding("✓", f"{as_pinned} packages as pinned")


def pins(requirements: Iterable[str], python: tuple[int, int]) -> Iterator[tuple[str, str]]:
    """Yield (name, version) of the lines `name==version[; python_version < "3.11"]` that hold for `python`."""
    for line in requirements:
        requirement, _, marker = line.partition(";")
        name, _, version = requirement.strip().partition("==")
        bound = re.fullmatch(r'\s*python_version\s*(<|>=)\s*"(\d+)\.(\d+)"\s*', marker)
        if bound is not None:
            is_older = python < (int(bound[2]), int(bound[3]))
            if is_older != (bound[1] == "<"):
                continue
        yield name, version


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def examine_torch(environment: Environment) -> Iterator[Finding]:
    facts, problem = ask(environment, PROBE_TORCH)
    if not isinstance(facts, dict):
        yield Finding("✗", f"torch does not work: {problem}", "delete .venv, then " + SETUP)
        return
    for card, (free, total) in zip(facts["cards"], facts["memory"], strict=True):
        yield Finding("✓", f"torch {facts['version']} on {card}: {free / 1024**3:.1f} of {total / 1024**3:.1f} GB free")
    if facts["apple"]:
        yield Finding("✓", f"torch {facts['version']} on Apple's GPU")
    if not facts["cards"] and not facts["apple"]:
        bf16 = "bfloat16 in hardware" if has_bfloat16() else "no bfloat16 in hardware, float32 is used"
        yield Finding("✓", f"torch {facts['version']} on the CPU with {facts['threads']} threads, {bf16}")
        if shutil.which("nvidia-smi"):
            yield Finding(
                "!",
                "There is an NVIDIA card, but torch does not see it",
                "update its driver, or set TORCH_INDEX_URL to the build for your CUDA (see README.md)",
            )
    available = facts["available"] / 1024**3
    text = f"Memory: {available:.1f} GB available"
    yield (
        Finding("!", text, "close other programs, or use --medvram or --lowvram")
        if available < LITTLE_MEMORY
        else Finding("✓", text)
    )


def has_bfloat16() -> bool:
    """Return whether Linux names bfloat16 arithmetic among the processor's features."""
    try:
        content = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return re.search(r"\b(avx512_bf16|amx_bf16|bf16)\b", content) is not None


def examine_models(environment: Environment, folders: Iterable[Path]) -> Iterator[Finding]:
    names = [str(folder) for folder in folders]
    models, problem = ask(environment, PROBE_MODELS, str(environment.root), *names)
    if not isinstance(models, list):
        yield Finding("✗", f"The models cannot be listed: {problem}", SETUP)
        return
    good = [name for name, fault in models if fault is None]
    for name, fault in models:
        if fault is not None:
            yield Finding("!", f"Model {name} cannot be used: {fault}", "download it again, or remove it")
    if good:
        yield Finding("✓", f"{len(good)} checkpoints: {', '.join(good[:5])}{' …' if len(good) > 5 else ''}")
    else:
        yield Finding("!", "No checkpoint found", f"put a .safetensors file into {names[0]}")


def ask(environment: Environment, code: str, *arguments: str) -> tuple[object, str]:
    """Run `code` in the environment's Python; return the JSON it prints, or None and the last line it said."""
    try:
        child = subprocess.run(
            [str(environment.python), "-I", "-W", "ignore", "-c", code, *arguments],
            capture_output=True,
            text=True,
            encoding="utf-8",
            errors="replace",
            timeout=PROBE_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as problem:
        return None, str(problem)
    try:
        return json.loads(child.stdout), ""
    except ValueError:
        return None, (child.stderr.strip().splitlines() or ["it said nothing"])[-1]
