"""SHA-256 of model files, remembered by path, size and modification time."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import tempfile
import threading
from pathlib import Path

from webui.errors import BadFile, StorageError

log = logging.getLogger(__name__)

_BLOCK = 1 << 20
_SHA256 = re.compile(r"[0-9a-f]{64}")
_Signature = tuple[int, int]  # size in bytes, modification time in nanoseconds


class HashCache:
    """Computes each file's hash once. Thread-safe; the cache file is replaced atomically and may be deleted."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._known: dict[str, tuple[_Signature, str]] = _read(path)

    def known(self, path: Path) -> str | None:
        """Return the hash of `path` if it was computed before and the file has not changed since."""
        try:
            signature = _signature(path)
        except OSError:
            return None
        with self._lock:
            entry = self._known.get(str(path))
        return entry[1] if entry is not None and entry[0] == signature else None

    def sha256(self, path: Path) -> str:
        """Return the SHA-256 of the file's content as 64 hex digits, reading it if need be (seconds per gigabyte).

        Raises `BadFile` when the file cannot be read or changes meanwhile, `StorageError` when the disk refuses.
        """
        known = self.known(path)
        if known is not None:
            return known
        try:
            before = _signature(path)
            digest = _digest(path)
            after = _signature(path)
        except OSError as error:
            raise BadFile(f"{path.name} cannot be read: {error.strerror}.", field="model") from error
        if before != after:
            raise BadFile(f"{path.name} changed while it was read.", hint="Wait until it is complete.", field="model")
        with self._lock:
            self._known[str(path)] = (before, digest)
            _write(self._path, self._known)
        return digest


def _signature(path: Path) -> _Signature:
    facts = path.stat()
    return facts.st_size, facts.st_mtime_ns


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _read(path: Path) -> dict[str, tuple[_Signature, str]]:
    """Return what the cache file holds; a damaged one only costs computing again."""
    try:
        content = json.loads(path.read_text("utf-8"))
        known = {
            str(name): ((int(size), int(changed)), str(sha256)) for name, (size, changed, sha256) in content.items()
        }
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        log.warning("The hash cache %s is unreadable (%s); hashes will be computed again.", path, error)
        return {}
    return {name: entry for name, entry in known.items() if _SHA256.fullmatch(entry[1])}


def _write(path: Path, known: dict[str, tuple[_Signature, str]]) -> None:
    content = json.dumps({name: [*signature, sha256] for name, (signature, sha256) in known.items()}, indent=0)
    temporary: str | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", dir=path.parent, prefix=f"{path.name}.", delete=False
        ) as file:
            temporary = file.name
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        raise StorageError(f"The hash cache {path} cannot be saved: {error.strerror}.") from error
