"""Tells the user's own files in an extension's folder, such as lists of words, from those that came with it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from pathlib import Path

from webui.extending.places import SKIPPED


def list_files(folder: Path) -> bytes:
    """Return what is to be kept as the listing of an extension that is about to be installed."""
    return json.dumps(sorted(_paths(folder)), indent=0).encode()


def own_files(folder: Path, listing: Path) -> tuple[str, ...]:
    """Return the paths of files that did not come with the extension; none when it is not known what did."""
    try:
        came = json.loads(listing.read_bytes())
    except (OSError, ValueError):
        return ()
    return tuple(sorted(_paths(folder) - set(came)))


def copy_files(paths: Iterable[str], old: Path, new: Path) -> None:
    """Take the user's files along into a new version, where it has none of their names."""
    for path in paths:
        if not (new / path).exists():
            (new / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(old / path, new / path)


def _paths(folder: Path) -> set[str]:
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and not path.is_symlink() and not set(path.relative_to(folder).parts) & set(SKIPPED)
    }
