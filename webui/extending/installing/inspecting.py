"""What can be said about fetched files without running any of them."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

from webui.domain.extensions import Inspection, Source
from webui.errors import BadFile, BadRequest
from webui.extending.installing.limits import Limits, check_tree
from webui.extending.installing.packages import read_requirements
from webui.extending.places import A1111_SIGNS, ENTRY, SKIPPED, look_at

SHOWN = 300  # files


def inspect(folder: Path, number: str, source: Source, limits: Limits, installed: Path | None) -> Inspection:
    """Return what is in a fetched folder, compared with what is `installed` (None: nothing).

    Raises `BadFile` or `BadRequest` when it cannot be an extension, or must not be one.
    """
    files, size = check_tree(folder, limits)
    if not any((folder / sign).exists() for sign in (ENTRY, *A1111_SIGNS)):
        raise BadFile(
            f"This is no extension: it has no {ENTRY}.", hint="If it is in a folder inside, give that folder's address."
        )
    found = look_at(folder)
    if found.problem:
        raise BadFile(found.problem)
    return Inspection(
        id=number,
        folder=folder.name,
        title=found.manifest.title or folder.name,
        version=found.manifest.version,
        description=found.manifest.description,
        author=found.manifest.author,
        source=source,
        files=files[:SHOWN],
        file_count=len(files),
        size=size,
        permissions=found.manifest.permissions,
        packages=read_requirements(folder),
        requires=found.manifest.requires,
        notes=tuple(notes_on(folder)),
        changed=() if installed is None else tuple(changes(installed, folder))[:SHOWN],
    )


def notes_on(folder: Path) -> list[str]:
    """Return what a user of A1111's extensions may expect of this folder and will not get."""
    notes = []
    if (folder / "scripts").is_dir() and any((folder / "scripts").glob("*.py")) and not (folder / ENTRY).is_file():
        notes.append(
            "Its Python scripts are written for A1111 and are not run; its JavaScript, style and translations are used."
        )
    if any((folder / name).is_file() for name in ("install.py", "preload.py")):
        notes.append("Its install.py and preload.py are never run; packages come from its requirements.txt.")
    return notes


def changes(old: Path, new: Path) -> list[str]:
    """Return which files were added (+), removed (-) or changed (~) between two folders."""
    before, after = _digests(old), _digests(new)
    return [
        f"{'~' if name in before and name in after else '+' if name in after else '-'} {name}"
        for name in sorted({**before, **after})
        if before.get(name) != after.get(name)
    ]


def _digests(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and not path.is_symlink() and not set(path.relative_to(folder).parts) & set(SKIPPED)
    }


def copy_folder(source: Path, target: Path, limits: Limits) -> None:
    """Copy an extension's folder without what git and Python keep there. Raises `BadRequest` or `BadFile`."""
    if not source.is_dir():
        raise BadRequest(f"There is no folder {source}.", field="address")
    if source.is_symlink():
        raise BadRequest(f"{source} is a link.", hint="Name the folder itself.", field="address")
    files = size = 0

    def copy(path: str, to: str) -> str:
        nonlocal files, size
        files, size = files + 1, size + Path(path).lstat().st_size
        limits.check(files, size)
        return shutil.copy2(path, to, follow_symlinks=False)

    shutil.copytree(source, target, symlinks=True, ignore=shutil.ignore_patterns(*SKIPPED), copy_function=copy)
