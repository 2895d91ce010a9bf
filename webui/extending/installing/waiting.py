"""What was fetched and waits for a yes, each in a folder of its own that nothing is ever run from."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Callable
from pathlib import Path

from webui.domain.extensions import Inspection, Source
from webui.errors import BadRequest, NotFound
from webui.extending.installing.inspecting import inspect
from webui.extending.installing.limits import Limits

MOST = 20

Fetch = Callable[[Path], tuple[Source, tuple[str, ...]]]
"""(a folder that does not exist yet) → where the files now in it came from, and notes."""


class Waiting:
    """Fetched extensions by the id of their inspection, until the program ends."""

    def __init__(self, home: Path, limits: Limits) -> None:
        """What an earlier start left in `home` is removed: nobody has said yes to it."""
        self._home = home
        self._limits = limits
        self._found: dict[str, tuple[Inspection, Path]] = {}
        shutil.rmtree(home, ignore_errors=True)

    def inspections(self) -> tuple[Inspection, ...]:
        return tuple(inspection for inspection, _ in self._found.values())

    def add(self, name: str, fetch: Fetch, installed: Path | None) -> Inspection:
        """Have `fetch` fill a new folder called `name`, and return what is in it; nothing stays of what is refused."""
        if len(self._found) >= MOST:
            raise BadRequest(f"{MOST} extensions wait to be accepted.", hint="Accept or reject some of them.")
        number = secrets.token_hex(8)
        target = self._home / number / name
        target.parent.mkdir(parents=True)
        try:
            source, notes = fetch(target)
            inspection = inspect(target, number, source, self._limits, installed)
        except BaseException:
            shutil.rmtree(target.parent, ignore_errors=True)
            raise
        inspection = inspection.replace(notes=(*inspection.notes, *notes))
        self._found[number] = (inspection, target)
        return inspection

    def change(self, inspection: Inspection) -> Inspection:
        """Say other things of what waits."""
        self._found[inspection.id] = (inspection, self._found[inspection.id][1])
        return inspection

    def get(self, number: str) -> tuple[Inspection, Path]:
        """Return what waits under an id, and its folder; `NotFound` otherwise."""
        if number not in self._found:
            raise NotFound("Nothing of this id waits to be accepted.", hint="Fetch it again.")
        return self._found[number]

    def discard(self, number: str) -> None:
        """Forget what waits; nothing is left of it."""
        self._found.pop(number, None)
        shutil.rmtree(self._home / number, ignore_errors=True)
