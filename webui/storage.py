"""Names that are safe on every system, and the one way a file is written: whole or not at all, and on the disk when
the call returns."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from webui.errors import NotAllowed, StorageError

MAX_NAME_BYTES = 255  # what ext4, APFS and NTFS allow for one name

_DEVICE = re.compile(r"(?:con|prn|aux|nul|conin\$|conout\$|com[0-9¹²³]|lpt[0-9¹²³])[ ]*(?:\.|\Z)", re.IGNORECASE)

PARTIAL_SUFFIX = ".easel-part"  # of files that are being written; a crash can leave one behind

_REASONS: Mapping[int, tuple[str, str]] = {
    errno.ENOSPC: ("the disk is full", "Free some space, then try again."),
    errno.EDQUOT: ("the disk quota is used up", "Free some space, then try again."),
    errno.EROFS: ("the disk is read-only", "Make it writable, or choose another folder with --data-dir."),
    errno.EACCES: ("access was denied", "Give this user the right to write there, or choose another folder."),
    errno.EPERM: ("access was denied", "Give this user the right to write there, or choose another folder."),
    errno.ENAMETOOLONG: ("the name is too long", "Shorten the file name pattern in the settings."),
    errno.ENOTDIR: ("a file stands where a folder must be", "Move that file away."),
    errno.EEXIST: ("a file stands where a folder must be", "Move that file away."),
    errno.EIO: ("the disk reported an error", "Check the disk; it may be failing."),
}


def check_name(name: str) -> None:
    """Raise `NotAllowed` unless `name` is the name of one file or folder on every system."""
    if name in ("", ".", ".."):
        raise NotAllowed(f"A path may not contain {name!r} as a part.", hint="Use a path relative to the folder.")
    if any(ord(character) < 32 or character in '/\\:*?"<>|\x7f' for character in name):
        raise NotAllowed(f"The name {name!r} contains a character that file names may not have.")
    if name.endswith((".", " ")) or is_device_name(name):
        raise NotAllowed(f"The name {name!r} is reserved on Windows.", hint="Choose another name.")
    if len(name.encode("utf-8", "surrogatepass")) > MAX_NAME_BYTES:
        raise NotAllowed(f"The name {name[:40]!r}… is longer than {MAX_NAME_BYTES} bytes.")


def is_device_name(name: str) -> bool:
    """Tell whether Windows takes `name` for a device, whatever its extension."""
    return _DEVICE.match(name) is not None


def replace_file(path: Path, content: bytes) -> None:
    """Make `content` the whole content of `path`: after a crash the file is the old one or the new one.

    Raises `StorageError`, and then the old file is untouched.
    """
    with temporary_file(path.parent, content) as temporary, explained(path):
        os.replace(temporary, path)
        sync_folder(path.parent)


def write_new(path: Path, chunks: Iterable[bytes]) -> int:
    """Write a file that must not be there yet, and its folders; return its size in bytes.

    It is not put on the disk at once: for folders that count only once they are complete. Raises `StorageError`.
    """
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("xb") as file:
            return sum(file.write(chunk) for chunk in chunks)


@contextlib.contextmanager
def temporary_file(folder: Path, content: bytes) -> Iterator[Path]:
    """Yield a hidden file in `folder` (made if missing) that holds `content` on the disk; remove it afterwards."""
    path = folder / f".{secrets.token_hex(8)}{PARTIAL_SUFFIX}"
    try:
        with explained(path.parent):
            folder.mkdir(parents=True, exist_ok=True)
            _write(path, content)
        yield path
    finally:
        with contextlib.suppress(OSError):  # gone when it was moved; a file system that went away cannot be tidied
            path.unlink()


@contextlib.contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """Yield a hidden path beside `path` for a library to write; when the block ends well it becomes `path`.

    Raises `StorageError`, and then the old file, if there was one, is untouched.
    """
    with _beside(path) as temporary, explained(path):
        yield temporary
        _sync(temporary)
        os.replace(temporary, path)
        sync_folder(path.parent)


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yield a hidden folder beside `path` to be filled; when the block ends well it becomes `path`.

    Raises `StorageError`, and then there is no such folder; one that exists is never replaced.
    """
    with _beside(path) as temporary, explained(path):
        if path.exists():
            raise StorageError(f"{path.name} exists already.", hint="Choose another name.")
        temporary.mkdir()
        yield temporary
        for file in sorted(temporary.rglob("*")):
            if file.is_file():
                _sync(file)
        os.rename(temporary, path)
        sync_folder(path.parent)


@contextlib.contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """Yield the path of something unfinished beside `path`; remove what is left of it afterwards."""
    temporary = path.parent / f".{secrets.token_hex(8)}{PARTIAL_SUFFIX}"
    try:
        with explained(path.parent):
            path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        with contextlib.suppress(OSError):
            temporary.unlink()


def _sync(file: Path) -> None:
    descriptor = os.open(file, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
    try:
        rest = memoryview(content)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """Put the names in `folder` on the disk. Windows has no such call and does not need it."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems cannot sync a folder
            raise
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn what the operating system refuses about `path` into a `StorageError`."""
    try:
        yield
    except OSError as error:
        reason, hint = _REASONS.get(error.errno or 0, (error.strerror or str(error), ""))
        raise StorageError(f"Cannot write {path}: {reason}.", hint=hint) from error
