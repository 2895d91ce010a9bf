"""What is remembered of extensions in one file: where each came from, whether it is on, how its trial ended, and the
states that were saved."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from webui.domain.extensions import SavedState, Source, Verdict
from webui.domain.frozen import Data
from webui.errors import StorageError
from webui.storage import replace_file

log = logging.getLogger(__name__)


class Record(Data):
    """What is known of the extension in a folder. `previous`: what was there before its last update."""

    source: Source = Source()
    is_enabled: bool = True
    previous: Source | None = None


class Content(Data):
    """`starting` is the folder of the extension that was being loaded into the server; found at a start, it means that
    the last one ended there."""

    records: Mapping[str, Record] = {}
    verdicts: Mapping[str, Verdict] = {}
    saved: Mapping[str, SavedState] = {}
    starting: str = ""


class Ledger:
    """The file, thread-safe. One that cannot be read is set aside, and `problem` says so."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self.problem = ""
        self._content = self._read()

    @property
    def content(self) -> Content:
        return self._content

    def record(self, folder: str) -> Record:
        return self._content.records.get(folder, Record())

    def change(self, **fields: Any) -> None:
        """Replace whole fields of the content. Raises `StorageError`, and then nothing is changed."""
        with self._lock:
            self._write(self._content.replace(**fields))

    def change_record(self, folder: str, **fields: Any) -> Record:
        with self._lock:
            record = self._content.records.get(folder, Record()).replace(**fields)
            self._write(self._content.replace(records={**self._content.records, folder: record}))
            return record

    def forget(self, folder: str) -> None:
        """Drop what is known of a folder that is no longer there."""
        with self._lock:
            records = {name: each for name, each in self._content.records.items() if name != folder}
            verdicts = {name: each for name, each in self._content.verdicts.items() if name != folder}
            self._write(self._content.replace(records=records, verdicts=verdicts))

    def note_verdicts(self, verdicts: Mapping[str, Verdict]) -> None:
        """Remember verdicts; on a disk that is full at least until the end."""
        self._note(verdicts={**self._content.verdicts, **verdicts})

    def note_starting(self, key: str) -> None:
        """Remember which extension is being loaded (empty: none)."""
        self._note(starting=key)

    def _note(self, **fields: Any) -> None:
        with self._lock:
            content = self._content.replace(**fields)
            try:
                self._write(content)
            except StorageError as error:
                log.warning("What came of loading extensions cannot be remembered: %s", error)
                self._content = content

    def _read(self) -> Content:
        try:
            return Content.model_validate_json(self._path.read_bytes())
        except FileNotFoundError:
            return Content()
        except (OSError, ValidationError, RecursionError) as error:
            aside = self._path.with_suffix(".broken.json")
            with contextlib.suppress(OSError):
                os.replace(self._path, aside)
            log.warning("%s cannot be read and was set aside", self._path, exc_info=error)
            self.problem = (
                f"{self._path.name} could not be read: which extensions were off is forgotten ({aside.name})."
            )
            return Content()

    def _write(self, content: Content) -> None:
        if content != self._content:
            replace_file(self._path, content.model_dump_json(indent=1).encode())
            self._content = content
