"""How large an extension may be, and what its folder may hold."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from webui.errors import BadFile, EaselError
from webui.storage import check_name


@dataclass(frozen=True)
class Limits:
    """Of what is fetched: bytes on the way, bytes and files once unpacked, seconds that the way may take."""

    download: int = 256 * 1024**2
    size: int = 512 * 1024**2
    files: int = 10_000
    seconds: float = 600.0

    def check(self, files: int, size: int) -> None:
        if files > self.files:
            raise BadFile(f"It has more than {self.files} files.", hint="An extension is not that large.")
        if size > self.size:
            raise BadFile(f"It is larger than {self.size // 1024**2} MB.", hint="Models belong into models/.")


def check_path(path: str) -> None:
    """Raise `BadFile` unless every part of a path in an archive or a repository can be a name, here and elsewhere."""
    for part in path.split("/"):
        try:
            check_name(part)
        except EaselError as error:
            raise BadFile(f"It holds a file called {path[:120]!r}: {error.message}") from error


def check_tree(folder: Path, limits: Limits) -> tuple[tuple[str, ...], int]:
    """Return the paths of all files below `folder` and their size together.

    Raises `BadFile` for links, for what is neither file nor folder, for names that are not for every system, and above
    the limits.
    """
    names: list[str] = []
    twins: set[str] = set()
    size = 0
    for parent, folders, files in os.walk(folder):
        folders.sort()
        for name in [*folders, *sorted(files)]:
            path = Path(parent, name)
            relative = path.relative_to(folder).as_posix()
            check_path(relative)
            status = path.lstat()
            if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
                raise BadFile(
                    f"{relative} is a link or a device.", hint="An extension may hold files and folders only."
                )
            if relative.lower() in twins:
                raise BadFile(f"{relative} is there twice, but for upper and lower case.")
            twins.add(relative.lower())
            if stat.S_ISREG(status.st_mode):
                names.append(relative)
                size += status.st_size
        limits.check(len(names), size)
    return tuple(sorted(names)), size
