"""Unpacks a zip: never outside its folder, never more than it may be, whatever its entries claim."""

from __future__ import annotations

import stat
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from webui.errors import BadFile
from webui.extending.installing.limits import Limits, check_path
from webui.storage import write_new

CHUNK = 256 * 1024
MAX_RATIO = 200  # a text packs to a fiftieth, a bomb to a thousandth
SMALL = 1024**2  # bytes that may be packed however well


def unpack(archive: IO[bytes], target: Path, limits: Limits) -> None:
    """Unpack a zip into the new folder `target`; a single folder that holds everything is left out.

    Raises `BadFile`; what was unpacked by then is the caller's to remove.
    """
    target.mkdir(parents=True)
    try:
        with zipfile.ZipFile(archive) as opened:
            entries = [entry for entry in opened.infolist() if not entry.is_dir()]
            _check(entries, limits)
            left = limits.size
            for entry, path in zip(entries, _shortened(entries), strict=True):
                left -= write_new(target / path, _read(opened, entry, left))
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        raise BadFile(f"This is no zip that can be read: {error}.") from error


def _check(entries: list[zipfile.ZipInfo], limits: Limits) -> None:
    if not entries:
        raise BadFile("The zip is empty.")
    limits.check(len(entries), sum(entry.file_size for entry in entries))
    seen: set[str] = set()
    for entry in entries:
        name = entry.orig_filename
        if "\\" in name or name.startswith("/") or "\0" in name:
            raise BadFile(f"It holds a file called {name[:120]!r}, which leads out of its folder.")
        check_path(name)
        mode = entry.external_attr >> 16
        if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
            raise BadFile(f"{name} is a link or a device.", hint="An extension may hold files and folders only.")
        if entry.flag_bits & 1:
            raise BadFile(f"{name} is encrypted.", hint="Unpack it yourself and install the folder.")
        if entry.file_size > SMALL and entry.file_size > MAX_RATIO * max(1, entry.compress_size):
            raise BadFile(f"{name} would become {entry.file_size // max(1, entry.compress_size)} times as large.")
        if name.lower() in seen:
            raise BadFile(f"{name} is there twice.")
        seen.add(name.lower())


def _shortened(entries: list[zipfile.ZipInfo]) -> Iterator[PurePosixPath]:
    """Yield the paths of all entries, without the folder that all are in, if there is one."""
    paths = [PurePosixPath(entry.filename) for entry in entries]
    is_wrapped = len({path.parts[0] for path in paths}) == 1 and all(len(path.parts) > 1 for path in paths)
    for path in paths:
        yield PurePosixPath(*path.parts[1:]) if is_wrapped else path


def _read(opened: zipfile.ZipFile, entry: zipfile.ZipInfo, most: int) -> Iterator[bytes]:
    done = 0
    with opened.open(entry) as file:
        while chunk := file.read(CHUNK):
            done += len(chunk)
            if done > min(most, entry.file_size):
                raise BadFile(f"{entry.filename} is larger than the zip says.")
            yield chunk
