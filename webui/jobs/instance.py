"""One server per data folder: two would take each other's jobs and overwrite each other's settings."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from types import TracebackType

from webui.errors import Busy, StorageError

LOCK_NAME = "easel.lock"
_LOCKED_BYTE = 1 << 30  # on Windows a locked range cannot be read, so the lock lies far behind the text


class InstanceLock:
    """Holds the data folder until `release`, the end of a `with`, or the end of the process, however it comes."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor: int | None = descriptor

    def release(self) -> None:
        """Give the folder free. The file stays: removing it would race with the next owner."""
        if self._descriptor is not None:
            os.ftruncate(self._descriptor, 0)
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> InstanceLock:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def lock_data_folder(state_dir: Path, url: str) -> InstanceLock:
    """Take the data folder for this process, which serves at `url`; `Busy` names the server that has it."""
    path = state_dir / LOCK_NAME
    try:
        state_dir.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise StorageError(
            f"The data folder cannot be used: {path}: {error.strerror}.",
            hint="Make it writable, or choose another folder with --data-dir.",
        ) from error
    if not _try_lock(descriptor):
        owner = _read_owner(descriptor)
        os.close(descriptor)
        raise Busy(
            f"Easel already runs with this data folder{owner}.",
            hint="Use that one, stop it, or start this one with another --data-dir.",
        )
    os.ftruncate(descriptor, 0)
    os.lseek(descriptor, 0, os.SEEK_SET)
    os.write(descriptor, json.dumps({"process": os.getpid(), "url": url}).encode())
    return InstanceLock(descriptor)


def _try_lock(descriptor: int) -> bool:
    try:
        if sys.platform == "win32":
            import msvcrt

            os.lseek(descriptor, _LOCKED_BYTE, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _read_owner(descriptor: int) -> str:
    """Return ` at URL (process N)`, or nothing when the owner has not written it yet."""
    try:
        os.lseek(descriptor, 0, os.SEEK_SET)
        owner = json.loads(os.read(descriptor, 4096))
        return f" at {owner['url']} (process {owner['process']})"
    except (OSError, ValueError, KeyError, TypeError):
        return ""
