"""Finds the extensions in a folder and lets each register what it offers; one that fails does not stop the others."""

from __future__ import annotations

import importlib
import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from webui.errors import BadRequest, EaselError
from webui.extending.api import ExtensionApi
from webui.extending.scripts import AnyScript

ENTRY = "extension.py"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Extensions:
    """What all extensions offer, and what the user should know about those that offer nothing."""

    scripts: tuple[AnyScript, ...] = ()
    problems: tuple[str, ...] = ()


def load_extensions(folder: Path) -> Extensions:
    """Import every `<folder>/<name>/extension.py`, in the order of their names, and call its `register`.

    They become modules below a package of the folder's own name. An extension that raises is named in the log and in
    `problems`, and nothing it added counts.
    """
    if not folder.is_dir():
        return Extensions()
    if str(folder.parent) not in sys.path:
        sys.path.append(str(folder.parent))  # last: nothing there may hide a module of somebody else
    scripts: list[AnyScript] = []
    problems = []
    for entry in sorted(folder.glob(f"*/{ENTRY}")):
        try:
            scripts += _load(folder.name, entry, scripts)
        except (Exception, SystemExit) as error:
            log.warning("Extension %s failed and is left out", entry.parent.name, exc_info=True)
            reason = str(error) if isinstance(error, EaselError) else f"{type(error).__name__}: {error}"
            problems.append(f"Extension {entry.parent.name} is left out: {reason}")
    return Extensions(tuple(scripts), tuple(problems))


def _load(package: str, entry: Path, others: Sequence[AnyScript]) -> tuple[AnyScript, ...]:
    name = entry.parent.name
    if not name.isidentifier():
        raise BadRequest(
            f"{name!r} cannot be the name of a module.", hint="Use letters, digits and _ in the folder's name."
        )
    importlib.invalidate_caches()
    module = importlib.import_module(f"{package}.{name}.extension")
    if Path(str(module.__file__)) != entry:
        raise BadRequest(f"There is already an extension {name} in {module.__file__}.", hint="Rename the folder.")
    api = ExtensionApi(name)
    module.register(api)
    _check_names([*others, *api.scripts])
    return api.scripts


def _check_names(scripts: Sequence[AnyScript]) -> None:
    taken: set[str] = set()
    for script in scripts:
        names = {script.name.lower(), *script.aliases}
        if names & taken:
            raise BadRequest(f"There is already a script called {min(names & taken)!r}.")
        taken |= names
