"""Hashes of model files: the SHA-256 of the whole, and A1111's old one of a piece."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

_BLOCK = 1 << 22
_PIECE_AT, _PIECE = 0x100000, 0x10000  # bytes


class GivenUp(Exception):
    """Hashing ended early because somebody asked it to."""


def always() -> bool:
    """Go on without asking."""
    return True


def digest(path: Path, go_on: Callable[[], bool] = always) -> str:
    """Return the SHA-256 of a file as 64 hex digits; `GivenUp` when `go_on`, asked for every few megabytes, says no."""
    found = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            found.update(block)
            if not go_on():
                raise GivenUp
    return found.hexdigest()


def old_hash(path: Path) -> str:
    """Return the 8 digits by which A1111 named checkpoints before 2023: the SHA-256 of 64 KiB behind the first MiB."""
    with path.open("rb") as file:
        file.seek(_PIECE_AT)
        return hashlib.sha256(file.read(_PIECE)).hexdigest()[:8]
