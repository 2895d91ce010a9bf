"""Where extensions lie and what is in their folders. Looking at them runs nothing."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from webui import __version__
from webui.errors import EaselError
from webui.extending.bundled import BUNDLED
from webui.extending.manifest import Manifest, read_manifest

ENTRY = "extension.py"
A1111_SIGNS = ("scripts", "javascript", "localizations", "install.py", "preload.py", "style.css", "metadata.ini")
SKIPPED = (".git", "__pycache__", "node_modules")  # folders that say nothing about what an extension does
CODE = (".py", ".pyd", ".so", ".ini", ".json", ".txt", ".js", ".css")
MAX_FILES = 20_000

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Place:
    """What it takes to load an extension; the worker is told the same. `name` is an identifier."""

    name: str
    folder: Path
    is_bundled: bool = False
    overlay: Path | None = None  # a folder of packages that it needs and the program lacks

    @property
    def entry(self) -> Path:
        return self.folder / ENTRY


@dataclass(frozen=True)
class Found:
    """An extension's folder as it was found. `problem`: why it can never be loaded as it is. The lists are files that a
    page may be sent."""

    place: Place
    manifest: Manifest = field(default_factory=Manifest)
    problem: str = ""
    javascript: tuple[Path, ...] = ()
    styles: tuple[Path, ...] = ()
    localizations: tuple[Path, ...] = ()
    stamp: str = ""

    @property
    def key(self) -> str:
        """The name it is known by in the ledger: its folder's; a stranger with a bundled one's name gets a mark."""
        name = self.place.folder.name
        return f"{name} (other)" if name in BUNDLED and not self.place.is_bundled else name

    @property
    def has_code(self) -> bool:
        return self.place.entry.is_file()


def module_name(folder: str) -> str:
    """Return the identifier under which the extension in a folder of this name is known: `a-b` becomes `a_b`."""
    name = re.sub(r"\W", "_", folder)
    return name if name[:1].isalpha() or name[:1] == "_" else f"_{name}"


def find_places(bundled: Path, home: Path, overlays: Path) -> tuple[Found, ...]:
    """Return all extensions in the program's folder `bundled` and in the user's `home`, which may be the same.

    Each finds its packages in the folder of its name in `overlays`. Those that come with the program are first, then by
    name, but none before those it comes after.
    """
    found = [_look_at(folder, True, None) for folder in _folders(bundled) if folder.name in BUNDLED]
    is_one = bundled.resolve() == home.resolve()
    for folder in _folders(home):
        if not (is_one and folder.name in BUNDLED):
            found.append(_look_at(folder, False, overlays / folder.name))
    return tuple(put_in_order(_without_twins(found)))


def look_at(folder: Path) -> Found:
    """Return what is in one folder, as that of a stranger."""
    return _look_at(folder, False, None)


def _folders(home: Path) -> Iterator[Path]:
    """Yield the folders that have anything of an extension; a README beside them is none."""
    try:
        inside = sorted(home.iterdir(), key=lambda path: path.name.lower())
    except OSError as error:
        if not isinstance(error, FileNotFoundError):
            log.warning("Extensions in %s cannot be looked for: %s", home, error.strerror)
        return
    for folder in inside:
        if not folder.name.startswith((".", "__")) and (folder.is_symlink() or folder.is_dir()):
            with contextlib.suppress(OSError):
                if folder.is_symlink() or any((folder / sign).exists() for sign in (ENTRY, *A1111_SIGNS)):
                    yield folder


def _look_at(folder: Path, is_bundled: bool, overlay: Path | None) -> Found:
    has_overlay = overlay is not None and overlay.is_dir()
    place = Place(module_name(folder.name), folder, is_bundled, overlay if has_overlay else None)
    if folder.is_symlink():
        return Found(
            place, problem="Its folder is a link to another place. Move the folder here, or install it from there."
        )
    try:
        stamp = compute_stamp(folder, place.overlay)
        manifest = read_manifest(folder)
    except (EaselError, OSError) as error:
        return Found(place, problem=str(error))
    return Found(
        place,
        manifest,
        "",
        _files(folder, "javascript", (".js", ".mjs")),
        tuple(path for path in (folder / "style.css",) if path.is_file()),
        _files(folder, "localizations", (".json",)),
        stamp,
    )


def _files(folder: Path, name: str, suffixes: tuple[str, ...]) -> tuple[Path, ...]:
    inside = folder / name
    if not inside.is_dir():
        return ()
    return tuple(path for path in sorted(inside.iterdir()) if path.suffix in suffixes and path.is_file())


def compute_stamp(folder: Path, overlay: Path | None = None) -> str:
    """Return what changes whenever something in `folder` does that could matter, or the program, or Python.

    Raises `EaselError` when a link in it leads out of it.
    """
    digest = hashlib.sha256(f"{__version__} {sys.version} {_changed(overlay)}".encode())
    for path, status in walk(folder):
        if path.suffix.lower() in CODE:
            name = path.relative_to(folder).as_posix()
            digest.update(f"{name}\0{status.st_size}\0{status.st_mtime_ns}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()[:32]


def _changed(folder: Path | None) -> int:
    return folder.stat().st_mtime_ns if folder is not None and folder.is_dir() else 0


def walk(folder: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """Yield every file below `folder` in the order of names; raise `EaselError` for links that lead out of it."""
    home = folder.resolve()
    count = 0
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if name not in SKIPPED)
        for name in [*folders, *sorted(files)]:
            path = Path(parent, name)
            if path.is_symlink() and not path.resolve().is_relative_to(home):
                raise EaselError(
                    f"{path.relative_to(folder)} is a link that leads out of the extension's folder.",
                    hint="Put the file itself there.",
                )
        for name in sorted(files):
            count += 1
            if count > MAX_FILES:
                raise EaselError(f"It has more than {MAX_FILES} files.", hint="Move models and pictures elsewhere.")
            path = Path(parent, name)
            if path.is_file():
                yield path, path.stat()


def _without_twins(found: Iterable[Found]) -> list[Found]:
    """Return all, the second of two with one name as one that cannot be loaded."""
    taken: dict[str, Path] = {}
    result = []
    for each in found:
        name, folder = each.place.name.lower(), each.place.folder
        if name in taken:
            problem = f"There is already an extension of this name in {taken[name]}. Rename or remove one of the two."
            result.append(Found(each.place, each.manifest, problem))
        else:
            taken[name] = folder
            result.append(each)
    return result


def put_in_order(found: Sequence[Found]) -> list[Found]:
    """Return all so that each comes after those it requires or wants to come after, else in the order given.

    Where that contradicts itself the order given counts.
    """
    names = {title: each.place.name for each in found for title in _names(each)}
    first: dict[str, set[str]] = {each.place.name: set() for each in found}
    for each in found:
        own = each.place.name
        first[own] |= {names[name] for name in (*each.manifest.requires, *each.manifest.after) if name in names}
        for name in each.manifest.before:
            if name in names:
                first[names[name]].add(own)
    done: list[Found] = []
    waiting = list(found)
    while waiting:
        left = {each.place.name for each in waiting}
        ready = next((each for each in waiting if not first[each.place.name] & left - {each.place.name}), waiting[0])
        done.append(ready)
        waiting.remove(ready)
    return done


def missing_requirements(each: Found, others: Iterable[Found]) -> tuple[str, ...]:
    """Return the extensions that `each` cannot do without and that are not among `others`."""
    known = {name for other in others for name in _names(other)}
    return tuple(name for name in each.manifest.requires if name not in known)


def _names(each: Found) -> Mapping[str, None]:
    """Return the names others may call an extension by: its module's, its folder's, its title."""
    names = (each.place.name, each.place.folder.name, each.manifest.title)
    return dict.fromkeys(name for name in names if name)
