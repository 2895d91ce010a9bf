"""Where the pickle and the storages stand in files that torch saved: a ZIP archive, or (before torch 1.6) one stream.

Like the machine, it stands by itself on the standard library.
"""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

from webui.weights.formats.pickle_machine import Machine
from webui.weights.formats.pickle_names import Refused
from webui.weights.formats.tensor_facts import PLAIN

MAX_PICKLE = 32 * 2**20  # bytes; that of a checkpoint of 7 GB with its optimiser has five
_MAX_ENTRIES = 200_000
_MAGIC = 0x1950A86A20F9469CFC6C  # of torch's stream
_STREAM_VERSION = 1001
_LOCAL = struct.Struct("<4s5H3I2H")  # of a ZIP archive: the header before each entry


@dataclass(frozen=True)
class Span:
    """Bytes of the file, the last one not included."""

    begin: int
    end: int


Find = Callable[[str], Span]


@dataclass(frozen=True)
class Saved:
    """What the pickle of a file describes, and how to find the bytes of its storages by their keys."""

    content: Any
    find: Find


class Bounded(io.RawIOBase):
    """A file of which nobody can read much at a time, whatever its directory claims."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def read(self, size: int = -1) -> bytes:
        if size > MAX_PICKLE:
            raise Refused(f"its directory asks for {size} bytes at once")
        found = self._file.read(size if size >= 0 else MAX_PICKLE + 1)
        if len(found) > MAX_PICKLE:
            raise Refused("its directory does not end where it should")
        return found

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def seekable(self) -> bool:
        return True


def read_saved(file: BinaryIO) -> Saved:
    """Return what torch saved in `file`. Raises `Refused`, or what Python raises at nonsense."""
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    start = file.read(300)
    if b"ustar" in start[257:265]:
        raise Refused("a tar archive as torch wrote it before 2017")
    return _read_zip(file, size) if start.startswith(b"PK") else _read_stream(file, size)


# -- the ZIP archive


def _read_zip(file: BinaryIO, size: int) -> Saved:
    archive = zipfile.ZipFile(Bounded(file))
    entries = {entry.filename: entry for entry in archive.infolist()}
    if len(entries) > _MAX_ENTRIES or len(entries) < len(archive.infolist()):
        raise Refused("a damaged ZIP archive: too many entries, or two of the same name")
    roots = [name[: -len("data.pkl")] for name in entries if name == "data.pkl" or name.endswith("/data.pkl")]
    if len(roots) != 1 or "/" in roots[0][:-1]:
        raise Refused("a ZIP archive without weights that torch saved")
    (root,) = roots
    if f"{root}constants.pkl" in entries or any(name.startswith(f"{root}code/") for name in entries):
        raise Refused("a TorchScript program, not weights alone")
    if f"{root}byteorder" in entries and _read_entry(archive, entries[f"{root}byteorder"], 10) != b"little":
        raise Refused("its numbers are stored in big-endian order")
    pickled = _read_entry(archive, entries[f"{root}data.pkl"], MAX_PICKLE)

    def find(key: str) -> Span:
        entry = entries.get(f"{root}data/{key}")
        if entry is None:
            raise Refused(f"its storage {key[:40]!r} is missing")
        return _locate(file, entry, size)

    return Saved(Machine(io.BytesIO(pickled)).run(), find)


def _read_entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, most: int) -> bytes:
    if entry.flag_bits & 1:
        raise Refused("an encrypted ZIP archive")
    with archive.open(entry) as content:
        found = content.read(most + 1)
    if len(found) > most:
        raise Refused(f"its entry {entry.filename[-40:]!r} is larger than {most} bytes")
    return found


def _locate(file: BinaryIO, entry: zipfile.ZipInfo, size: int) -> Span:
    """Return where the bytes of an entry stand, which must be stored as they are."""
    if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1:
        raise Refused("its weights are compressed or encrypted inside the archive")
    file.seek(entry.header_offset)
    signature, *_, name, extra = _LOCAL.unpack(file.read(_LOCAL.size))
    begin = entry.header_offset + _LOCAL.size + name + extra
    if signature != b"PK\x03\x04" or begin + entry.file_size > size:
        raise Refused("a damaged ZIP archive: its directory does not fit its content")
    return Span(begin, begin + entry.file_size)


# -- the stream


def _read_stream(file: BinaryIO, size: int) -> Saved:
    """Read torch's older format: a magic number, a version, facts about the system, the content, the storages' keys
    (five pickles), and each storage as the count of its numbers and the numbers."""
    file.seek(0)
    stream = io.BytesIO(file.read(MAX_PICKLE))
    first = Machine(stream).run()
    if first != _MAGIC:
        raise Refused("a pickle without weights that torch saved")
    version, system = Machine(stream).run(), Machine(stream).run()
    if version != _STREAM_VERSION or not isinstance(system, dict) or system.get("little_endian") is not True:
        raise Refused("its numbers are stored in an order that is not supported")
    machine = Machine(stream)
    content, keys = machine.run(), Machine(stream).run()
    spans = _locate_in_stream(file, stream.tell(), keys, machine.storages, size)

    def find(key: str) -> Span:
        return spans[key]

    return Saved(content, find)


def _locate_in_stream(file: BinaryIO, place: int, keys: Any, dtypes: Mapping[str, str], size: int) -> dict[str, Span]:
    spans: dict[str, Span] = {}
    for key in keys:
        if key not in dtypes or key in spans:
            raise Refused(f"its storage {str(key)[:40]!r} is not among those that it uses")
        file.seek(place)
        count = int.from_bytes(file.read(8), "little", signed=True)
        begin, place = place + 8, place + 8 + count * PLAIN[dtypes[key]]
        if count < 0 or not begin <= place <= size:
            raise Refused(f"truncated: its storage {key[:40]!r} ends after the file")
        spans[key] = Span(begin, place)
    return spans
