"""Extensions of strangers as the tests write them: one good, and one for each way to be hostile."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

SCRIPT = """
from webui.extending.api import Data, Expansion, Script
{imports}

class Options(Data):
    pass

def register(api):
    api.add_script(Script({name!r}, Options, lambda request, options, tools: Expansion(requests=(request,))))
"""

HOSTILE = {
    "syntax_error": ("def register(api)", "SyntaxError"),
    "missing_dependency": ("import no_such_package_anywhere", "no_such_package_anywhere"),
    "infinite_loop": ("while True: pass", "had not registered"),
    "loops_in_register": ("import time\ndef register(api):\n    while True: time.sleep(1)", "had not registered"),
    "sys_exit": ("import sys\nsys.exit(3)", "SystemExit"),
    "os_exit": ("import os\nos._exit(0)", "ended by itself with exit code 0"),
    "segfault": ("import ctypes\nctypes.string_at(0)", "SIGSEGV"),
    "shadows_sdapi": (
        "from webui.extending.api import Route\n"
        "def register(api):\n    api.add_route(Route('POST', '/sdapi/v1/txt2img', lambda call: {}))",
        "/sdapi/v1/txt2img",
    ),
    "no_register": ("", "register"),
    "no_such_method": ("def register(api):\n    api.add_nonsense()", "add_nonsense"),
}
"""Name → its code, and words of the reason that the user must see."""


def put(home: Path, folder: str, code: str | None = None, **files: str) -> Path:
    """Write an extension; without code it is a good one that offers a script of its folder's name."""
    place = home / folder
    place.mkdir(parents=True)
    (place / "extension.py").write_text(SCRIPT.format(name=folder, imports="") if code is None else code)
    for name, content in files.items():
        (place / name.replace("__", ".")).write_text(content)
    return place


def put_hostile(home: Path) -> None:
    for name, (code, _) in HOSTILE.items():
        put(home, name, code)


@contextmanager
def clean_modules() -> Iterator[None]:
    """Let nothing be imported as a part of `extensions` yet inside, and put everything back afterwards."""
    path, finders, before = list(sys.path), list(sys.meta_path), _forget()
    try:
        yield
    finally:
        sys.path[:], sys.meta_path[:] = path, finders
        _forget()
        sys.modules.update(before)


def _forget() -> dict[str, ModuleType]:
    """Take all parts of `extensions` out of the modules and return them."""
    names = [name for name in sys.modules if name.partition(".")[0] == "extensions"]
    return {name: sys.modules.pop(name) for name in names}
