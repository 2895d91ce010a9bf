"""How loading extensions goes in the worker, in a file: a worker that one of them ends is started again without it, and
the server can say why."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import ValidationError

from webui.domain.frozen import Data
from webui.errors import StorageError
from webui.extending.api import ExtensionApi
from webui.extending.loader import load_places
from webui.extending.places import Place
from webui.storage import replace_file

NAME = "worker.json"
ENDED = "The worker process ended while it was loading this extension."

log = logging.getLogger(__name__)


class Marks(Data):
    """`loading`: the extension that is being loaded, empty if none is. `ended`: those a worker ended at; `failed`:
    those that raised in the last one, with the reason."""

    loading: str = ""
    ended: tuple[str, ...] = ()
    failed: Mapping[str, str] = {}

    @property
    def problems(self) -> Mapping[str, str]:
        return {**self.failed, **dict.fromkeys(self.ended, ENDED)}


def read_marks(path: Path) -> Marks:
    """Return the marks, empty ones where there are none."""
    try:
        return Marks.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return Marks()


def clear_marks(path: Path) -> None:
    """Give every extension a new chance, at the start of the program."""
    with contextlib.suppress(OSError):
        path.unlink()


def load_in_worker(places: Sequence[Place], path: Path) -> tuple[ExtensionApi, ...]:
    """Return what the extensions registered, without those of strangers that a worker before this one ended at."""
    before = read_marks(path)
    ended = tuple(dict.fromkeys((*before.ended, *([before.loading] if before.loading else []))))
    for name in ended:
        log.warning("Extension %s is left out: %s", name, ENDED)

    def begin(place: Place) -> None:
        if not place.is_bundled:
            _write(path, Marks(loading=place.name, ended=ended))

    loaded = load_places([place for place in places if place.name not in ended], begin)
    failed = {failure.name: f"In the worker: {failure.problem}" for failure in loaded.failures}
    if ended or failed or read_marks(path).loading:
        _write(path, Marks(ended=ended, failed=failed))
    return loaded.apis


def _write(path: Path, marks: Marks) -> None:
    try:
        replace_file(path, marks.model_dump_json().encode())
    except StorageError as error:
        log.warning("How loading extensions goes cannot be noted: %s", error)
