"""Where the versions of an extension are: the present one, the one before it, and the trash. Nothing is ever lost."""

from __future__ import annotations

import os
import secrets
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from webui.extending.installing.own_files import copy_files, list_files, own_files
from webui.extending.startup import Homes
from webui.storage import replace_file


@dataclass(frozen=True)
class Versions:
    """Moves the files, the overlay and the listing of extensions, which are known by the names of their folders."""

    homes: Homes

    def folder(self, name: str) -> Path:
        return self.homes.user / name

    def has_previous(self, name: str) -> bool:
        return (self.homes.previous / name).is_dir()

    def own_files(self, name: str) -> tuple[str, ...]:
        """Return the paths of the user's own files in the folder of an extension."""
        return own_files(self.folder(name), self._listing(name))

    def other_overlays(self, name: str) -> list[Path]:
        """Return the packages of all extensions but this one."""
        if not self.homes.overlays.is_dir():
            return []
        found = (path for path in sorted(self.homes.overlays.iterdir()) if path.is_dir() and path.name[0] != ".")
        return [path for path in found if path.name != name]

    def put(self, name: str, content: Path, overlay: Path) -> None:
        """Make `content` (and `overlay`, if there is one) the present version, with the user's files in the old one."""
        own, listing = self.own_files(name), list_files(content)
        self._keep_aside(name)
        _move(content, self.folder(name))
        replace_file(self._listing(name), listing)
        copy_files(own, self.homes.previous / name / "files", self.folder(name))
        if overlay.is_dir():
            _move(overlay, self.homes.overlays / name)

    def swap(self, name: str) -> None:
        """Let the present version and the one before change places."""
        aside = self.homes.previous / f".{name}.{secrets.token_hex(4)}"
        os.rename(self.homes.previous / name, aside)
        self._keep_aside(name)
        for part, path in self._parts(name):
            if (aside / part).exists():
                _move(aside / part, path)
        shutil.rmtree(aside, ignore_errors=True)

    def drop_previous(self, name: str) -> None:
        shutil.rmtree(self.homes.previous / name, ignore_errors=True)

    def throw_away(self, name: str, record: bytes) -> Path:
        """Move everything that belongs to an extension into the trash, with `record`; return where that is."""
        trash = self.homes.trash / f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}-{name}"
        replace_file(trash / "record.json", record)
        for part, path in (*self._parts(name), ("previous", self.homes.previous / name)):
            if path.is_symlink():
                path.unlink()  # the link alone; what it leads to is not ours
            elif path.exists():
                _move(path, trash / part)
        return trash

    def _listing(self, name: str) -> Path:
        return self.homes.listings / f"{name}.json"

    def _parts(self, name: str) -> tuple[tuple[str, Path], ...]:
        """Return everything that belongs to a version, and what it is called where it is kept."""
        overlay = self.homes.overlays / name
        return ("files", self.folder(name)), ("overlay", overlay), ("listing.json", self._listing(name))

    def _keep_aside(self, name: str) -> None:
        """Keep the present version as the previous one, in the place of an older one."""
        self.drop_previous(name)
        for part, path in self._parts(name):
            if path.exists():
                _move(path, self.homes.previous / name / part)


def _move(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(source, target)
