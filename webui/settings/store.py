"""Keeps the preferences on the disk, through crashes and damage."""

from __future__ import annotations

import contextlib
import difflib
import json
import os
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from webui.errors import BadFile, BadRequest, StorageError
from webui.settings.preferences import NAMES, Settings
from webui.storage import explained, replace_file

MAX_FILE_BYTES = 4 * 1024 * 1024


class SettingsStore:
    """Keeps the preferences in one JSON file under A1111's names. All methods may be called from any thread.

    Every save leaves the file before it as `<name>.backup`. A file that cannot be used is moved aside, never
    overwritten; `problem` then tells the user what happened and where it is. Keys we do not know are kept.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._unknown: dict[str, Any] = {}
        self._settings = Settings()
        self._good: bytes | None = None  # what the file held when it was last read or written without fault
        self.problem: str | None = None
        self._load()

    def snapshot(self) -> Settings:
        """Return the preferences as they are now."""
        with self._lock:
            return self._settings

    def change(
        self,
        changes: Mapping[str, object] | None = None,
        /,
        *,
        ignore_unknown: bool = False,
        **by_name_or_alias: object,
    ) -> Settings:
        """Save changed preferences, all or none, and return the new ones.

        What comes from outside belongs into the mapping, where any key is harmless. Raises `BadRequest` naming the
        option at fault, `StorageError` when the disk refuses; nothing changes then.
        """
        wanted = {**(changes or {}), **by_name_or_alias}
        if not ignore_unknown:
            _refuse_unknown(wanted)
        with self._lock:
            changed = self._settings.overridden(wanted)
            if changed != self._settings:
                self._save(changed)
                self._settings = changed
            return changed

    def _save(self, settings: Settings) -> None:
        content = json.dumps({**self._unknown, **settings.by_alias()}, indent=4).encode()
        if self._good is not None:
            replace_file(self._backup, self._good)
        replace_file(self._path, content)
        self._good = content

    @property
    def _backup(self) -> Path:
        return self._path.with_name(self._path.name + ".backup")

    def _load(self) -> None:
        try:
            content = _read(self._path)
            faults = self._adopt(content)
        except FileNotFoundError:
            return
        except (OSError, BadFile) as error:
            self._recover(str(error))
            return
        if faults:
            aside = self._set_aside(content)
            self.problem = f"Settings that cannot be used were reset: {'; '.join(faults)}. {aside}"
            self._good = None  # not worth a backup
            with contextlib.suppress(StorageError):  # the next start would only find the same faults again
                self._save(self._settings)

    def _recover(self, reason: str) -> None:
        aside = self._set_aside(None)
        try:
            content = _read(self._backup)
            self._adopt(content)
            replace_file(self._path, content)
            source = "The last good settings are in use."
        except (OSError, BadFile, StorageError):  # the first problem is the one to tell
            source = (
                "Defaults are in use." if self._good is None else "The last good settings are in use until the end."
            )
        self.problem = f"The settings could not be read: {reason} {source} {aside}"

    def _adopt(self, content: bytes) -> list[str]:
        """Take over what `content` says; return what is wrong with single values. `BadFile` when all of it is."""
        values = _parse(content)
        settings, faults = Settings(), []
        for key, value in values.items():
            if key not in NAMES:
                self._unknown[key] = value
                continue
            try:
                settings = settings.overridden({key: value})
            except BadRequest as error:
                faults.append(error.message.rstrip("."))
        self._settings, self._good = settings, content
        return faults

    def _set_aside(self, content: bytes | None) -> str:
        """Keep the present file under another name (a copy when its content is given); say where."""
        aside = self._path.with_name(
            f"{self._path.name}.corrupt-{time.strftime('%Y%m%d-%H%M%S')}-{time.time_ns() % 10**9}"
        )
        try:
            if content is None:
                with explained(aside):
                    os.replace(self._path, aside)
            else:
                replace_file(aside, content)
        except StorageError as error:
            return f"The old file stays at {self._path} until the next save. {error}"
        return f"The old file is kept as {aside}."


def _read(path: Path) -> bytes:
    """Return the file's bytes, at most one more than allowed."""
    with path.open("rb") as file:
        return file.read(MAX_FILE_BYTES + 1)


def _parse(content: bytes) -> dict[str, Any]:
    if len(content) > MAX_FILE_BYTES:
        raise BadFile(f"the file is larger than {MAX_FILE_BYTES // 2**20} MiB.")
    try:
        values = json.loads(content.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:  # ValueError: also bytes that are not UTF-8
        raise BadFile(f"it is not JSON ({error}).") from error
    if not isinstance(values, dict):
        raise BadFile("it is not a JSON object.")
    return values


def _refuse_unknown(names: Mapping[str, object]) -> None:
    for name in names:
        if name not in NAMES:
            near = difflib.get_close_matches(name, NAMES, n=1)
            hint = f"Did you mean {near[0]!r}?" if near else "Leave it out."
            raise BadRequest(f"There is no setting {name!r}.", hint=hint, field=name)
