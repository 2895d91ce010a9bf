"""The rules of ARCHITECTURE.md, enforced from the syntax tree; planted violations prove that each can fail."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "webui"

# From the ground up. A package imports itself, its neighbours in the same line, and the lines above it.
LAYERS = (
    ("errors", "domain", "config", "settings", "storage"),
    ("prompt", "images"),
    ("weights",),
    ("engine",),
    ("jobs", "library"),
    ("extending",),
    ("planner",),
    ("shelf", "workshop"),
    ("studio",),
    ("api", "ui"),
    ("app", "doctor", "__main__"),
)
LEVEL = {name: level for level, layer in enumerate(LAYERS) for name in layer}
DOORS = ("api", "ui")  # they call the studio and speak in the ground's types; nothing else
OPEN_TO_DOORS = ("studio", *LAYERS[0])

TORCH_FAMILY = ("torch", "diffusers", "transformers", "accelerate", "peft", "safetensors.torch")
TORCH_FILES = re.compile(r"engine/.*|weights/((loading|memory|convert)/.*|formats/tensors\.py)")
CHILD_SIDE = "jobs/worker.py"  # runs in both processes: the family may be imported inside functions only

NETWORK = ("requests", "httpx", "urllib.request", "urllib3", "aiohttp", "http.client", "ftplib", "smtplib")
CALLERS = (
    "doctor.py",  # asks this machine alone whether Easel already answers
    "extending/installing/downloads.py",  # fetches what the user asks for on the Extensions page
)
PIPE = ("jobs/worker.py", "jobs/child.py")  # the server pickles for its own child, which reads nothing else
SERIALIZERS = ("pickle", "cPickle", "dill", "marshal", "shelve", "jsonpickle", "cloudpickle")
NOT_FOR_ENGINE = ("os", "pathlib", "time", "datetime", "tempfile", "shutil", "webui.settings", "webui.config")
WRITERS = ("storage.py",)
BANNED_WORDS = {"util", "utils", "helper", "helpers", "common", "shared", "manager", "misc"}
CONSTANT = re.compile(r"_?[A-Z][A-Z0-9_]*")
CONTAINERS = {"list", "dict", "set", "bytearray", "defaultdict", "deque", "OrderedDict", "Counter", "WeakKeyDictionary"}
MUTATORS = {"append", "extend", "insert", "remove", "pop", "popitem", "clear", "update", "setdefault", "add", "discard"}


@dataclass(frozen=True)
class Source:
    """One module: its path below webui/ and its syntax tree."""

    path: str
    tree: ast.Module

    @property
    def layer(self) -> str:
        return PurePosixPath(self.path).parts[0].removesuffix(".py")


Rule = Callable[[Source], Iterator[tuple[ast.AST, str]]]


def imports(source: Source) -> Iterator[tuple[ast.stmt, str]]:
    """Yield every import, wherever it stands, as the dotted name it reaches: `from a import b` reaches a.b."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Import):
            yield from ((node, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield from ((node, f"{node.module}.{alias.name}") for alias in node.names)


def within(name: str, packages: tuple[str, ...]) -> bool:
    return any(name == package or name.startswith(package + ".") for package in packages)


def dotted(node: ast.expr) -> str:
    """Return `a.b.c` for such an expression, else an empty string."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        inner = dotted(node.value)
        return f"{inner}.{node.attr}" if inner else ""
    return ""


def calls(source: Source) -> Iterator[tuple[ast.Call, str]]:
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Call):
            yield node, dotted(node.func)


# ------------------------------------------------------------------------------------------------------------- rules


def imports_run_one_way(source: Source) -> Iterator[tuple[ast.AST, str]]:
    for node, name in imports(source):
        parts = name.split(".")
        if parts[0] != "webui" or len(parts) < 2 or parts[1] not in LEVEL or parts[1] == source.layer:
            continue
        if LEVEL[parts[1]] > LEVEL[source.layer]:
            yield node, f"{source.layer} lies below {parts[1]}"


def doors_call_the_studio_only(source: Source) -> Iterator[tuple[ast.AST, str]]:
    if source.layer in DOORS:
        for node, name in imports(source):
            parts = name.split(".")
            if parts[0] == "webui" and len(parts) > 1 and parts[1] in LEVEL:
                allowed = parts[1] in (*OPEN_TO_DOORS, source.layer)
                if not allowed:
                    yield node, f"{source.layer} reaches past the studio to {parts[1]}"


def every_module_has_a_layer(source: Source) -> Iterator[tuple[ast.AST, str]]:
    if source.layer not in LEVEL and source.path != "__init__.py":
        yield source.tree, f"{source.layer} is in no layer: add it to LAYERS and to ARCHITECTURE.md"


def imports_are_absolute(source: Source) -> Iterator[tuple[ast.AST, str]]:
    for node in ast.walk(source.tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            yield node, "relative import"


def frameworks_stay_at_home(source: Source) -> Iterator[tuple[ast.AST, str]]:
    for node, name in imports(source):
        if within(name, ("gradio", "gradio_client")) and source.layer != "ui":
            yield node, "gradio outside ui"
        if within(name, ("fastapi",)) and source.layer not in ("api", "app"):
            yield node, "fastapi outside api and app"


def torch_stays_in_the_worker(source: Source) -> Iterator[tuple[ast.AST, str]]:
    in_functions = {
        inner
        for node in ast.walk(source.tree)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        for inner in ast.walk(node)
    }
    for node, name in imports(source):
        if not within(name, TORCH_FAMILY) or TORCH_FILES.fullmatch(source.path):
            continue
        if not (source.path == CHILD_SIDE and node in in_functions):
            yield node, f"{name} outside the worker's modules"


def engine_is_pure(source: Source) -> Iterator[tuple[ast.AST, str]]:
    if source.layer == "engine":
        for node, name in imports(source):
            if within(name, NOT_FOR_ENGINE):
                yield node, f"the engine reads {name}"
        yield from ((node, "the engine opens files") for node, name in calls(source) if name == "open")


def weights_move_in_memory_only(source: Source) -> Iterator[tuple[ast.AST, str]]:
    if source.path.startswith("weights/memory/"):
        return
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            if node.func.attr == "to" and any(names_a_device(argument) for argument in arguments(node)):
                yield node, ".to(device) outside weights/memory/"
            if node.func.attr in ("cuda", "xpu", "mps") and not node.args:
                yield node, f".{node.func.attr}() outside weights/memory/"


def arguments(node: ast.Call) -> Iterator[ast.expr]:
    yield from node.args
    for keyword in node.keywords:
        yield ast.Name("device") if keyword.arg == "device" else keyword.value


def names_a_device(node: ast.expr) -> bool:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return re.match(r"(cpu|cuda|mps|xpu|meta)\b", node.value) is not None
    name = dotted(node.func if isinstance(node, ast.Call) else node)
    return name.rpartition(".")[2].endswith("device")


def dangerous_calls_are_banned(source: Source) -> Iterator[tuple[ast.AST, str]]:
    for statement, name in imports(source):
        if within(name, SERIALIZERS) and source.path not in PIPE:
            yield statement, f"{name} can run code from data"
        if name in ("torch.load", "yaml.load", "os.system", "os.popen"):
            yield statement, name
    for node, name in calls(source):
        if name in ("eval", "exec", "compile", "__import__", "os.system", "os.popen", "torch.load", "yaml.load"):
            yield node, f"{name}()"
        for keyword in node.keywords:
            if keyword.arg in ("shell", "trust_remote_code") and not is_false(keyword.value):
                yield node, f"{keyword.arg}="


def is_false(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is False


def images_are_opened_in_one_place(source: Source) -> Iterator[tuple[ast.AST, str]]:
    if source.path != "images/open.py":
        for node, name in calls(source):
            if name in ("Image.open", "PIL.Image.open"):
                yield node, "Image.open outside images/open.py"
        for statement, name in imports(source):
            if name == "PIL.Image.open":
                yield statement, "Image.open outside images/open.py"


def nobody_else_is_patched(source: Source) -> Iterator[tuple[ast.AST, str]]:
    """What an import binds is other people's: nothing is assigned into it, except environment variables."""
    imported = {
        alias.asname or alias.name.partition(".")[0]
        for node in ast.walk(source.tree)
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for alias in node.names
    }
    for node in ast.walk(source.tree):
        if isinstance(node, (ast.Attribute, ast.Subscript)) and isinstance(node.ctx, (ast.Store, ast.Del)):
            is_environment = isinstance(node, ast.Subscript) and dotted(node.value) == "os.environ"
            if base_of(node) in imported and not (is_environment and source.layer in ("app", "ui", "jobs")):
                yield node, f"assigns into {base_of(node)}, which was imported"
        if isinstance(node, ast.Call) and dotted(node.func) in ("setattr", "delattr"):
            yield from (
                (node, "setattr on what was imported") for target in node.args[:1] if base_of(target) in imported
            )


def base_of(node: ast.expr) -> str:
    while isinstance(node, (ast.Attribute, ast.Subscript)):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""


def files_are_written_in_one_place(source: Source) -> Iterator[tuple[ast.AST, str]]:
    if source.path in WRITERS:
        return
    for node, name in calls(source):
        method = node.func.attr if isinstance(node.func, ast.Attribute) else name
        if method in ("write_text", "write_bytes"):
            yield node, f"{method} outside storage.py"
        if method in ("open", "fdopen") and name not in ("Image.open", "os.open"):
            position = 1 if name in ("open", "os.fdopen", "io.open") else 0
            given = [keyword.value for keyword in node.keywords if keyword.arg == "mode"] + node.args[position:][:1]
            if any(is_writing_mode(mode) for mode in given):
                yield node, "a file opened for writing outside storage.py"


def is_writing_mode(node: ast.expr) -> bool:
    if not isinstance(node, ast.Constant):
        return False
    return isinstance(node.value, str) and re.fullmatch(r"[rbt]*[wax+][wax+bt]*", node.value) is not None


def network_is_not_called(source: Source) -> Iterator[tuple[ast.AST, str]]:
    if source.path not in CALLERS:
        yield from ((node, f"{name} could call out") for node, name in imports(source) if within(name, NETWORK))


def names_say_something(source: Source) -> Iterator[tuple[ast.AST, str]]:
    for part in PurePosixPath(source.path).with_suffix("").parts:
        yield from ((source.tree, f"file name with {word!r}") for word in words(part) & BANNED_WORDS)
    for node in ast.walk(source.tree):
        if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            yield from ((node, f"{node.name} with {word!r}") for word in words(node.name) & BANNED_WORDS)


def words(name: str) -> set[str]:
    return {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)}


def modules_hold_no_state(source: Source) -> Iterator[tuple[ast.AST, str]]:
    """A list, dict or set at module level is a constant: named like one, filled where it stands, changed by nobody."""
    constants = {name.rpartition(".")[2] for _, name in imports(source) if CONSTANT.fullmatch(name.rpartition(".")[2])}
    for node in source.tree.body:
        if isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value is not None and is_container(node.value):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = {target.id for target in targets if isinstance(target, ast.Name)} - {"__all__"}
            constants |= names
            for name in names:
                if not CONSTANT.fullmatch(name):
                    yield node, f"{name} is not named like a constant"
                elif is_empty(node.value):
                    yield node, f"{name} is empty, so it waits to be filled"
    for inner in ast.walk(source.tree):
        if isinstance(inner, ast.Global):
            yield inner, f"global {', '.join(inner.names)}"
        elif isinstance(inner, (ast.Subscript, ast.Attribute)) and isinstance(inner.ctx, (ast.Store, ast.Del)):
            if base_of(inner) in constants:
                yield inner, f"{base_of(inner)} is changed"
        elif isinstance(inner, ast.Call):
            changed, _, method = dotted(inner.func).rpartition(".")
            if changed in constants and method in MUTATORS:
                yield inner, f"{changed} is changed"


def is_empty(node: ast.expr) -> bool:
    if isinstance(node, ast.Call):
        return not node.args and not node.keywords
    return isinstance(node, (ast.List, ast.Dict, ast.Set)) and not list(ast.iter_child_nodes(node))[:1]


def is_container(node: ast.expr) -> bool:
    if isinstance(node, (ast.List, ast.Dict, ast.Set, ast.ListComp, ast.DictComp, ast.SetComp)):
        return True
    return isinstance(node, ast.Call) and dotted(node.func).rpartition(".")[2] in CONTAINERS


def imports_do_no_work(source: Source) -> Iterator[tuple[ast.AST, str]]:
    """Only SQLAlchemy's Index may stand alone: it is declared by being made, and nothing uses its name."""
    for node in source.tree.body:
        is_docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if isinstance(node, (ast.For, ast.While, ast.With, ast.Delete, ast.AugAssign)):
            yield node, "work at import"
        is_index = (
            isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) and dotted(node.value.func) == "Index"
        )
        if isinstance(node, ast.Expr) and not is_docstring and not is_index:
            yield node, "work at import"


def modules_say_what_they_are_for(source: Source) -> Iterator[tuple[ast.AST, str]]:
    if source.tree.body and not ast.get_docstring(source.tree):
        yield source.tree, "no docstring"


RULES: tuple[Rule, ...] = (
    imports_run_one_way,
    doors_call_the_studio_only,
    every_module_has_a_layer,
    imports_are_absolute,
    frameworks_stay_at_home,
    torch_stays_in_the_worker,
    engine_is_pure,
    weights_move_in_memory_only,
    dangerous_calls_are_banned,
    images_are_opened_in_one_place,
    nobody_else_is_patched,
    files_are_written_in_one_place,
    network_is_not_called,
    names_say_something,
    modules_hold_no_state,
    imports_do_no_work,
    modules_say_what_they_are_for,
)
FILES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_module_keeps_the_rules(path: Path) -> None:
    source = Source(path.relative_to(PACKAGE).as_posix(), ast.parse(path.read_text(encoding="utf-8")))
    found = [
        f"{source.path}:{getattr(node, 'lineno', 1)}: {text} ({rule.__name__})"
        for rule in RULES
        for node, text in rule(source)
    ]
    assert not found, "\n".join(found)


# Each snippet breaks exactly the rule named beside it, in a module of that path.
VIOLATIONS = [
    (imports_run_one_way, "domain/plan.py", "from webui.prompt import attention"),
    (imports_run_one_way, "prompt/attention.py", "import webui.weights.catalog.catalog"),
    (imports_run_one_way, "weights/catalog/catalog.py", "def f():\n    from webui.engine import generate"),
    (imports_run_one_way, "engine/generate.py", "from webui import jobs"),
    (imports_run_one_way, "planner.py", "from webui.studio import Studio"),
    (imports_run_one_way, "studio.py", "from webui.api.gate import Gate"),
    (imports_run_one_way, "ui/app.py", "from webui.app import main"),
    (doors_call_the_studio_only, "api/gate.py", "from webui.jobs.queue import JobQueue"),
    (doors_call_the_studio_only, "ui/app.py", "from webui.api.gate import Gate"),
    (doors_call_the_studio_only, "api/gate.py", "from webui.ui.form import Form"),
    (every_module_has_a_layer, "plugins/loader.py", "import os"),
    (imports_are_absolute, "jobs/queue.py", "from .store import JobStore"),
    (imports_are_absolute, "jobs/queue.py", "from .. import errors"),
    (frameworks_stay_at_home, "api/gate.py", "import gradio as gr"),
    (frameworks_stay_at_home, "app.py", "from gradio.routes import App"),
    (frameworks_stay_at_home, "ui/app.py", "from fastapi import FastAPI"),
    (frameworks_stay_at_home, "studio.py", "import fastapi.routing"),
    (torch_stays_in_the_worker, "weights/catalog/catalog.py", "import torch"),
    (torch_stays_in_the_worker, "planner.py", "def f():\n    import torch.nn"),
    (torch_stays_in_the_worker, "weights/recognition/identify.py", "from safetensors.torch import load_file"),
    (torch_stays_in_the_worker, "jobs/worker.py", "from diffusers import UNet2DConditionModel"),
    (torch_stays_in_the_worker, "prompt/chunks.py", "import transformers"),
    (engine_is_pure, "engine/generate.py", "from webui.settings import Settings"),
    (engine_is_pure, "engine/noise.py", "import os"),
    (engine_is_pure, "engine/noise.py", "from time import monotonic"),
    (engine_is_pure, "engine/noise.py", "def f(x):\n    return open(x)"),
    (weights_move_in_memory_only, "engine/vae.py", "def f(x, device):\n    return x.to(device)"),
    (weights_move_in_memory_only, "engine/vae.py", "def f(x):\n    return x.to('cuda:0')"),
    (weights_move_in_memory_only, "weights/loading/load.py", "def f(x, torch):\n    return x.to(torch.device('cpu'))"),
    (weights_move_in_memory_only, "engine/vae.py", "def f(x, y):\n    return x.to(dtype=None, device=y)"),
    (weights_move_in_memory_only, "engine/vae.py", "def f(self, x):\n    return x.to(self.device)"),
    (weights_move_in_memory_only, "engine/vae.py", "def f(x):\n    return x.cuda()"),
    (dangerous_calls_are_banned, "images/infotext.py", "def f(x):\n    return eval(x)"),
    (dangerous_calls_are_banned, "images/infotext.py", "def f(x):\n    exec(x)"),
    (dangerous_calls_are_banned, "weights/loading/load.py", "import pickle"),
    (dangerous_calls_are_banned, "weights/loading/load.py", "from pickle import loads"),
    (
        dangerous_calls_are_banned,
        "weights/loading/load.py",
        "def f(torch, x):\n    return torch.load(x, weights_only=True)",
    ),
    (dangerous_calls_are_banned, "weights/loading/load.py", "from torch import load"),
    (dangerous_calls_are_banned, "settings.py", "def f(yaml, x):\n    return yaml.load(x)"),
    (dangerous_calls_are_banned, "jobs/worker.py", "def f(subprocess, x):\n    subprocess.run(x, shell=True)"),
    (dangerous_calls_are_banned, "jobs/worker.py", "def f(subprocess, x, y):\n    subprocess.run(x, shell=y)"),
    (
        dangerous_calls_are_banned,
        "weights/loading/load.py",
        "def f(cls, x):\n    cls.from_pretrained(x, trust_remote_code=True)",
    ),
    (dangerous_calls_are_banned, "app.py", "def f(os):\n    os.system('ls')"),
    (images_are_opened_in_one_place, "api/v2/routes.py", "from PIL import Image\ndef f(x):\n    return Image.open(x)"),
    (images_are_opened_in_one_place, "ui/app.py", "from PIL.Image import open"),
    (nobody_else_is_patched, "images/open.py", "from PIL import Image\nImage.MAX_IMAGE_PIXELS = None"),
    (nobody_else_is_patched, "engine/vae.py", "import torch\ndef f():\n    torch.backends.cudnn.benchmark = True"),
    (nobody_else_is_patched, "ui/app.py", "import gradio as gr\ndef f(x):\n    setattr(gr.Blocks, 'load', x)"),
    (nobody_else_is_patched, "studio.py", "import os\ndef f():\n    os.environ['A'] = 'b'"),
    (nobody_else_is_patched, "jobs/worker.py", "import sys\ndef f():\n    del sys.modules['torch']"),
    (files_are_written_in_one_place, "settings.py", "def f(x):\n    return open(x, 'w')"),
    (files_are_written_in_one_place, "settings.py", "def f(x):\n    return open(x, mode='ab')"),
    (files_are_written_in_one_place, "settings.py", "def f(x):\n    return x.open('r+b')"),
    (files_are_written_in_one_place, "images/save.py", "def f(x):\n    x.write_bytes(b'')"),
    (files_are_written_in_one_place, "jobs/store.py", "import os\ndef f(x):\n    return os.fdopen(x, 'wb')"),
    (network_is_not_called, "weights/catalog/catalog.py", "import requests"),
    (network_is_not_called, "images/open.py", "from urllib.request import urlopen"),
    (network_is_not_called, "weights/loading/load.py", "from http import client"),
    (names_say_something, "images/utils.py", "x = 1"),
    (names_say_something, "jobs/queue_helpers.py", "x = 1"),
    (names_say_something, "jobs/queue.py", "class QueueManager:\n    pass"),
    (names_say_something, "jobs/queue.py", "def common_path():\n    pass"),
    (modules_hold_no_state, "jobs/queue.py", "CACHE = {}"),
    (modules_hold_no_state, "jobs/queue.py", "CACHE: dict[str, int] = dict()"),
    (modules_hold_no_state, "jobs/queue.py", "running = [1]"),
    (modules_hold_no_state, "jobs/queue.py", "from collections import deque\nWAITING = deque()"),
    (modules_hold_no_state, "jobs/queue.py", "NAMES = {'a': 1}\ndef f():\n    NAMES['b'] = 2"),
    (modules_hold_no_state, "jobs/queue.py", "NAMES = [1]\ndef f():\n    NAMES.append(2)"),
    (modules_hold_no_state, "jobs/queue.py", "from webui.domain.x import NAMES\ndef f():\n    NAMES.clear()"),
    (modules_hold_no_state, "jobs/queue.py", "count = 0\ndef f():\n    global count"),
    (imports_do_no_work, "app.py", "import logging\nlogging.basicConfig()"),
    (imports_do_no_work, "app.py", "for x in (1, 2):\n    pass"),
    (modules_say_what_they_are_for, "app.py", "import os"),
]

# What looks similar and is right; no rule may object.
ALLOWED = [
    ("jobs/queue.py", "from webui.jobs.store import JobStore\nfrom webui.errors import Busy"),
    ("api/gate.py", "from fastapi import Request\nfrom webui.studio import Studio\nfrom webui.domain.plan import Plan"),
    ("ui/app.py", "import os\nimport gradio as gr\ndef f():\n    os.environ['A'] = 'b'"),
    ("engine/vae.py", "import torch\ndef f(x):\n    return x.to(torch.float32).cpu()"),
    ("weights/memory/resident.py", "def f(x, device):\n    return x.to(device)"),
    ("jobs/worker.py", "def child():\n    import torch\n    return torch"),
    ("images/open.py", "from PIL import Image\ndef f(x):\n    return Image.open(x, formats=('PNG',))"),
    ("storage.py", "def f(x):\n    return open(x, 'wb')"),
    ("settings.py", "def f(x):\n    return open(x, 'rb'), x.open(), open(x, encoding='utf-8')"),
    ("jobs/queue.py", "from contextlib import contextmanager\n@contextmanager\ndef held():\n    yield"),
    (
        "jobs/queue.py",
        "NAMES = {'a': 1}\n_ORDER = ['a']\ndef f():\n    names = {}\n    names['b'] = NAMES['a']",
    ),
    ("jobs/worker.py", "def f(subprocess, x):\n    subprocess.run(x, shell=False)"),
]


@pytest.mark.parametrize(("rule", "path", "code"), VIOLATIONS)
def test_rule_finds_planted_violation(rule: Rule, path: str, code: str) -> None:
    assert list(rule(Source(path, ast.parse(code))))


@pytest.mark.parametrize(("path", "code"), ALLOWED)
def test_rules_leave_what_is_right_alone(path: str, code: str) -> None:
    source = Source(path, ast.parse(f'"""A module."""\n{code}'))
    assert [(rule.__name__, text) for rule in RULES for _, text in rule(source)] == []


def test_every_rule_has_a_planted_violation() -> None:
    assert {rule for rule, _, _ in VIOLATIONS} == set(RULES)


@pytest.mark.parametrize("module", ["webui.app", "webui.api.app", "webui.ui.app", "webui.studio", "webui.jobs.worker"])
def test_server_never_imports_torch(module: str) -> None:
    code = f"import sys, {module}\nprint(sorted(sys.modules.keys() & {{'torch', 'diffusers', 'transformers'}}))"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert answer.stdout.strip() == "[]"


@pytest.mark.parametrize("module", ["webui.config", "webui.doctor", "webui.errors", "launch"])
def test_start_needs_the_standard_library_only(module: str) -> None:
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import {module}"
    subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True)
