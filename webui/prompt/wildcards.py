"""The `wildcards` folder: text files whose lines stand in for `__name__` in a prompt."""

from __future__ import annotations

import fnmatch
import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path

MAX_FILE_BYTES = 4 * 1024 * 1024
MAX_FILES = 10_000  # of the folder; a stray link to a whole disk must not hang a request

log = logging.getLogger(__name__)


class Wildcards:
    """Reads wildcard files as they are when asked. A name is a path in the folder without `.txt`: `people/hair`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def names(self) -> tuple[str, ...]:
        """Return every wildcard's name, sorted."""
        return tuple(sorted(self._files()))

    def lines(self, pattern: str) -> tuple[str, ...]:
        """Return the lines of all files whose name fits `pattern` (any case), in the order of their names.

        `*` stands for any part of a file's or folder's name, `**` for any folders. Empty lines and those that begin
        with `#` are left out. No file fits: no lines.
        """
        files = self._files()
        fits = re.compile(_as_expression(pattern.strip("/")), re.IGNORECASE)
        return tuple(line for name in sorted(files) if fits.fullmatch(name) for line in _read(files[name]))

    def _files(self) -> dict[str, Path]:
        """Return the folder's files by name. What is not in the folder itself cannot be reached by any pattern."""
        found: dict[str, Path] = {}
        for root, folders, names in os.walk(self._folder):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for name in fnmatch.filter(names, "*.txt"):
                path = Path(root, name)
                found[path.relative_to(self._folder).with_suffix("").as_posix()] = path
            if len(found) > MAX_FILES:
                log.warning("Only some of the wildcards are used: there are more than %d files.", MAX_FILES)
                break
        return found


def _as_expression(pattern: str) -> str:
    parts = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*"}
    return "".join(parts.get(part) or re.escape(part) for part in re.split(r"(\*\*/|\*\*|\*)", pattern) if part)


def _read(path: Path) -> Iterator[str]:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        log.warning("Wildcard file %s cannot be read: %s", path, error)
        return
    if len(content) > MAX_FILE_BYTES:
        log.warning("Wildcard file %s is used up to its first %d MiB only.", path, MAX_FILE_BYTES // 2**20)
        content = content[:MAX_FILE_BYTES]
    for line in content.decode("utf-8-sig", "replace").splitlines():
        text = line.strip()
        if text and not text.startswith("#"):
            yield text
