"""Which models lie in some folders: names, sizes and times alone, no file is opened."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from webui.weights.catalog.index import Signature
from webui.weights.formats.headers import PICKLE_SUFFIXES

log = logging.getLogger(__name__)

CARD_SUFFIXES = (".easel.json", ".json", ".civitai.info", ".civitai.json")
"""Of the files that tell about a model file, after its name without suffix: ours, A1111's, and of programs that ask
civitai.com."""
PREVIEW_SUFFIXES = (
    ".preview.png", ".preview.jpg", ".preview.jpeg", ".preview.webp", ".png", ".jpg", ".jpeg", ".webp",
)  # fmt: skip
"""Of its picture, the first that is there."""
FOLDER_CARD, FOLDER_PREVIEWS = "easel.json", ("preview.png", "preview.jpg", "preview.jpeg", "preview.webp")

FileFacts = tuple[str, int, int]
"""A file's name (relative to its model), size and time."""


@dataclass(frozen=True)
class OnDisk:
    """One model file or folder: its name below `root`, its weight and other files, its cards, its picture's name."""

    path: str
    root: Path
    relative: str
    is_folder: bool
    files: tuple[FileFacts, ...]
    cards: tuple[FileFacts, ...] = ()
    preview: str | None = None

    @property
    def size(self) -> int:
        """Bytes of all weights."""
        return sum(size for name, size, _ in self.files if name.lower().endswith(_WEIGHTS) or not self.is_folder)

    @property
    def signature(self) -> str:
        """What changes whenever one of its files does."""
        return _digest(self.files)

    @property
    def card_signature(self) -> str:
        return _digest(self.cards)

    def file_signatures(self) -> dict[str, Signature]:
        """Return the signatures of its files, by relative name (empty for a single file)."""
        return {name if self.is_folder else "": (size, changed) for name, size, changed in self.files}


_WEIGHTS = (".safetensors", ".sft", ".gguf", *PICKLE_SUFFIXES)


@dataclass(frozen=True)
class Scan:
    """What was found, in the order in which names are given, and the times of all folders that were looked through."""

    models: tuple[OnDisk, ...]
    folders: dict[str, int]


def scan(roots: Sequence[Path], wants: Callable[[str, Path], bool], folder_mark: str) -> Scan:
    """Look through `roots` for files that `wants` (lower-case name, root) and for folders that hold `folder_mark`.

    A folder or model that is reached twice, through links or because it was named twice, counts once. What cannot be
    read or has a name that is no text is logged and left out.
    """
    folders: dict[str, int] = {}
    models: list[OnDisk] = []
    seen: set[str] = set()
    visited: set[tuple[int, int]] = set()
    for root in roots:
        for model in _walk(root, wants, folder_mark, folders, visited):
            if model.path not in seen:
                seen.add(model.path)
                models.append(model)
    return Scan(tuple(models), folders)


def _walk(
    root: Path,
    wants: Callable[[str, Path], bool],
    folder_mark: str,
    folders: dict[str, int],
    visited: set[tuple[int, int]],
) -> Iterator[OnDisk]:
    pending = [(str(root), "")]
    while pending:
        folder, relative = pending.pop()
        entries = _read_folder(folder, visited, folders)
        if entries is None:
            continue
        if folder_mark and folder_mark in entries and entries[folder_mark].is_file():
            yield _model_folder(folder, root, relative or root.name)
            continue
        for entry in entries.values():
            name = entry.name.lower()
            if name.startswith("."):
                continue
            if _is_folder(entry):
                pending.append((entry.path, f"{relative}{entry.name}/"))
            elif wants(name, root):
                facts = _facts(entry, entry.name)
                if facts is not None:
                    cards, preview = _beside(entry.name, entries)
                    yield OnDisk(entry.path, root, f"{relative}{entry.name}", False, (facts,), cards, preview)


def _read_folder(
    folder: str, visited: set[tuple[int, int]], folders: dict[str, int]
) -> dict[str, os.DirEntry[str]] | None:
    """Return what is in a folder by name, pickles last, so that one, which may be of no use, does not take the plain
    name from a .safetensors beside it; None when it cannot be read or was visited already."""
    try:
        facts = os.stat(folder)
        if (facts.st_dev, facts.st_ino) in visited:
            return None
        visited.add((facts.st_dev, facts.st_ino))
        folders[folder] = facts.st_mtime_ns
        with os.scandir(folder) as found:
            entries = [entry for entry in found if _is_text(entry)]
    except FileNotFoundError:
        return None
    except OSError as error:
        log.warning("The model folder %s cannot be read: %s", ascii(folder), error.strerror)
        return None
    entries.sort(key=lambda entry: (entry.name.lower().endswith(PICKLE_SUFFIXES), entry.name))
    return {entry.name: entry for entry in entries}


def _is_text(entry: os.DirEntry[str]) -> bool:
    """Names that are no text (bytes of another encoding) cannot be shown, stored or asked for."""
    try:
        entry.path.encode()
    except UnicodeEncodeError:
        log.warning("The name of %s is not valid UTF-8; rename it to use it.", ascii(entry.path))
        return False
    return True


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _model_folder(folder: str, root: Path, relative: str) -> OnDisk:
    files = []
    for place, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(place, name)
            try:
                facts = os.stat(path)
            except OSError:
                continue
            files.append((os.path.relpath(path, folder).replace(os.sep, "/"), facts.st_size, facts.st_mtime_ns))
    told = {FOLDER_CARD, *FOLDER_PREVIEWS}
    cards = tuple(sorted(entry for entry in files if entry[0] == FOLDER_CARD))
    preview = next((name for name in FOLDER_PREVIEWS if any(entry[0] == name for entry in files)), None)
    weights = tuple(sorted(entry for entry in files if entry[0] not in told))
    return OnDisk(folder, root, relative.rstrip("/"), True, weights, cards, preview)


def _beside(name: str, entries: dict[str, os.DirEntry[str]]) -> tuple[tuple[FileFacts, ...], str | None]:
    """Return the cards and the picture that stand beside the model file `name`."""
    stem = os.path.splitext(name)[0]
    found = (
        _facts(entries[f"{stem}{suffix}"], f"{stem}{suffix}")
        for suffix in CARD_SUFFIXES
        if f"{stem}{suffix}" in entries
    )
    preview = next((f"{stem}{suffix}" for suffix in PREVIEW_SUFFIXES if f"{stem}{suffix}" in entries), None)
    return tuple(facts for facts in found if facts is not None), preview


def _facts(entry: os.DirEntry[str], name: str) -> FileFacts | None:
    try:
        facts = entry.stat()
    except OSError:  # gone meanwhile, or a link to nowhere
        return None
    return name, facts.st_size, facts.st_mtime_ns


def _digest(files: tuple[FileFacts, ...]) -> str:
    if len(files) == 1:
        return f"{files[0][0]} {files[0][1]} {files[0][2]}"
    return hashlib.sha256(repr(files).encode()).hexdigest() if files else ""
