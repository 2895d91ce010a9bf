"""Brings what the user asked for into a folder of its own. Nothing of it is run."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from webui.domain.extensions import FromFolder, FromGit, FromZip, Source
from webui.errors import BadRequest
from webui.extending.installing.archives import unpack
from webui.extending.installing.downloads import Downloads
from webui.extending.installing.inspecting import copy_folder
from webui.extending.installing.limits import Limits
from webui.extending.installing.repositories import Repositories

CHUNK = 1024**2


@dataclass(frozen=True)
class Fetcher:
    """All ways to get at an extension."""

    limits: Limits = field(default_factory=Limits)
    repositories: Repositories = field(default_factory=Repositories)
    downloads: Downloads = field(default_factory=Downloads)

    def fetch(self, asked: FromGit | FromZip | FromFolder, target: Path) -> tuple[Source, tuple[str, ...]]:
        """Put the files into the new folder `target`; return where they came from, and notes."""
        match asked:
            case FromGit():
                return self.repositories.fetch(asked.address, asked.ref, target)
            case FromFolder():
                folder = _local(asked.address)
                copy_folder(folder, target, self.limits)
                return Source(kind="folder", address=str(folder)), ()
            case FromZip():
                if "://" in asked.address:
                    return self.unpack(self.downloads.fetch(asked.address, self.limits.download), asked.address, target)
                file = _local(asked.address)
                if not file.is_file():
                    raise BadRequest(f"There is no file {file}.", field="address")
                return self.unpack(_chunks(file), str(file), target)

    def unpack(self, chunks: Iterable[bytes], address: str, target: Path) -> tuple[Source, tuple[str, ...]]:
        """Unpack a zip that comes in pieces."""
        digest = hashlib.sha256()
        size = 0
        with tempfile.TemporaryFile() as archive:
            for chunk in chunks:
                size += len(chunk)
                if size > self.limits.download:
                    raise BadRequest(f"The zip is larger than {self.limits.download // 1024**2} MB.")
                digest.update(chunk)
                archive.write(chunk)
            archive.seek(0)
            unpack(archive, target, self.limits)
        return Source(kind="zip", address=address, commit=digest.hexdigest()), ()


def _local(address: str) -> Path:
    """Return the path an address means; `BadRequest` when it is one of another machine or not whole."""
    path = Path(address.strip()).expanduser()
    if "\0" in address or "://" in address or address.startswith(("\\\\", "//")) or not path.is_absolute():
        raise BadRequest(
            f"{address[:200]!r} is not the whole path of something on this machine.",
            hint="Begin with / (Windows: C:\\).",
            field="address",
        )
    return path


def _chunks(file: Path) -> Iterable[bytes]:
    with file.open("rb") as opened:
        yield from _read(opened)


def _read(opened: IO[bytes]) -> Iterable[bytes]:
    while chunk := opened.read(CHUNK):
        yield chunk
