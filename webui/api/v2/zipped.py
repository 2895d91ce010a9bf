"""Files as one zip archive, sent while it is made: uncompressed, for pictures are compressed already."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

CHUNK = 256 * 1024  # bytes
MISSING = "missing.txt"


class _Outlet(io.RawIOBase):
    """Where `zipfile` writes: keeps what was written until it is taken. Cannot be rewound, as a stream cannot."""

    def __init__(self) -> None:
        self._written = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, content: bytes | bytearray | memoryview) -> int:  # type: ignore[override]
        self._written += content
        return len(content)

    def take(self) -> bytes:
        taken = bytes(self._written)
        self._written.clear()
        return taken


def zip_files(paths: Sequence[Path], missing: Sequence[str] = ()) -> Iterator[bytes]:
    """Yield the bytes of an archive of `paths` under their names on the disk.

    What is gone by the time it is read, and what the caller calls missing, is listed in a text file at the end.
    """
    outlet = _Outlet()
    lost = list(missing)
    with zipfile.ZipFile(outlet, "w", zipfile.ZIP_STORED) as archive:
        for name, path in _named(paths):
            try:
                file = path.open("rb")
            except OSError:
                lost.append(name)
                continue
            with file, archive.open(zipfile.ZipInfo.from_file(path, name), "w") as entry:
                while content := file.read(CHUNK):
                    entry.write(content)
                    yield outlet.take()
            yield outlet.take()
        if lost:
            archive.writestr(MISSING, "No longer on the disk:\n" + "".join(f"{name}\n" for name in lost))
    yield outlet.take()


def _named(paths: Sequence[Path]) -> Iterator[tuple[str, Path]]:
    """Yield each path with its name, numbered where files of several folders share one."""
    seen: dict[str, int] = {}
    for path in paths:
        count = seen[path.name] = seen.get(path.name, 0) + 1
        yield (path.name if count == 1 else f"{path.stem} ({count}){path.suffix}"), path
