"""The models of one kind on disk: found, named, identified, hashed on demand."""

from __future__ import annotations

import difflib
import hashlib
import logging
import os
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pydantic import BaseModel, ConfigDict, ValidationError

from webui.domain.models import Kind, ModelDefaults, ModelInfo
from webui.errors import BadFile, NotFound
from webui.weights.checkpoint import Checkpoint
from webui.weights.hashes import HashCache
from webui.weights.headers import PICKLE_SUFFIXES
from webui.weights.identify import identify

log = logging.getLogger(__name__)

_CARD = "easel.json"
_MAX_CARD = 2**20  # bytes
VAE_SUFFIXES = (".vae.safetensors", ".vae.ckpt", ".vae.pt")
"""A1111 keeps a checkpoint's own VAE beside it under such a name."""


class ModelCard(BaseModel):
    """What `easel.json` (in a model's folder, or `<name>.easel.json` beside a file) says about a model."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    title: str = ""
    description: str = ""
    defaults: ModelDefaults = ModelDefaults()
    examples: tuple[str, ...] = ()


class Identified(Protocol):
    """What identifying a path gives, whatever the kind."""

    @property
    def path(self) -> Path: ...

    @property
    def weight_files(self) -> tuple[Path, ...]: ...


@dataclass(frozen=True)
class Sort:
    """What to look for on disk: files that `wants` accepts, and folders that hold the file `folder_mark` (empty: none).

    `identify` reads one and raises `BadFile` for what is of no use; `field` is the request's name for such a model and
    `words` what users call it; `home` is where it belongs.
    """

    kind: Kind
    wants: Callable[[Path], bool]
    folder_mark: str
    identify: Callable[[Path], Identified]
    field: str
    words: str
    home: str


def _may_be_checkpoint(file: Path) -> bool:
    name = file.name.lower()
    return name.endswith((".safetensors", ".ckpt")) and not name.endswith(VAE_SUFFIXES)


CHECKPOINTS = Sort(
    kind=Kind.CHECKPOINT,
    wants=_may_be_checkpoint,
    folder_mark="model_index.json",
    identify=identify,
    field="model",
    words="Model",
    home="models/Stable-diffusion",
)


@dataclass(frozen=True)
class _Seen:
    """What identifying a path gave; valid as long as the signature of its files stays the same."""

    signature: tuple[tuple[str, int, int], ...]
    found: Identified | None
    problem: str | None


class Catalog:
    """All models of one sort below some folders. Thread-safe; `refresh` looks at the disk, the rest answers from
    memory."""

    def __init__(self, directories: Sequence[Path], hashes: HashCache, sort: Sort = CHECKPOINTS) -> None:
        self._directories = tuple(directories)
        self._hashes = hashes
        self._sort = sort
        self._lock = threading.Lock()
        self._seen: dict[Path, _Seen] = {}
        self._models: tuple[ModelInfo, ...] = ()
        self.refresh()

    def refresh(self) -> None:
        """Look at the folders again. Files that did not change are not read again."""
        with self._lock:
            seen: dict[Path, _Seen] = {}
            names: set[str] = set()
            models: list[ModelInfo] = []
            for root in self._directories:
                for path in _walk(root, self._sort):
                    if path not in seen:
                        seen[path] = self._look(path)
                        models.append(self._describe(path, _unused_name(root, path, names), seen[path]))
            self._seen = seen
            self._models = tuple(sorted(models, key=lambda model: _natural(model.name)))

    def models(self) -> tuple[ModelInfo, ...]:
        """Return every model in natural order, broken ones with their `problem` included."""
        with self._lock:
            return self._models

    def find(self, name: str) -> ModelInfo:
        """Return the model whose name, file name, title, `name [hash]`, short hash or SHA-256 is `name`, in any case.

        Raises `NotFound` naming the nearest models, `BadFile` when the model has a problem.
        """
        models, field = self.models(), self._sort.field
        found = _match(models, name.strip())
        if len(found) > 1:
            names = ", ".join(model.name for model in found)
            raise NotFound(f"Several models are called {name!r}: {names}.", hint="Use the full name.", field=field)
        if not found:
            raise NotFound(f"{self._sort.words} not found: {name!r}.", hint=self._nearest(models, name), field=field)
        if found[0].problem is not None:
            raise BadFile(f"{found[0].filename}: {found[0].problem}", field=field)
        return found[0]

    def hashed(self, model: ModelInfo) -> ModelInfo:
        """Return `model` with its SHA-256, reading its files if they were never hashed (seconds per gigabyte).

        A folder's hash is the SHA-256 over the sorted (relative name, SHA-256) pairs of its weight files.
        Raises `BadFile` when a file cannot be read.
        """
        found = self._found(model)
        hashes = {file: self._hashes.sha256(file) for file in found.weight_files}
        complete = model.replace(sha256=_combine(found, hashes))
        with self._lock:
            self._models = tuple(complete if known.path == model.path else known for known in self._models)
        return complete

    def _found(self, model: ModelInfo) -> Identified:
        with self._lock:
            seen = self._seen.get(model.path)
        if seen is not None and seen.found is not None:
            return seen.found
        return self._sort.identify(model.path)

    def _nearest(self, models: Sequence[ModelInfo], name: str) -> str:
        usable = [model.name for model in models if model.problem is None]
        if not usable:
            return f"There is no usable one; put a file into {self._sort.home}."
        near = difflib.get_close_matches(name, usable, n=3, cutoff=0.3) or usable[:3]
        return f"Did you mean: {', '.join(near)}?"

    def _look(self, path: Path) -> _Seen:
        signature = _signature(path)
        known = self._seen.get(path)
        if known is not None and known.signature == signature:
            return known
        try:
            return _Seen(signature, self._sort.identify(path), None)
        except BadFile as error:
            return _Seen(signature, None, str(error).removeprefix(f"{path.name}: "))

    def _describe(self, path: Path, name: str, seen: _Seen) -> ModelInfo:
        card = _read_card(path)
        size = sum(size for file, size, _ in seen.signature if file.endswith((".safetensors", *PICKLE_SUFFIXES)))
        kind = self._sort.kind
        if seen.found is None:
            return ModelInfo(
                name=name, path=path, kind=kind, size=size, problem=seen.problem, description=card.description
            )
        hashes = {file: self._hashes.known(file) for file in seen.found.weight_files}
        known = {file: sha256 for file, sha256 in hashes.items() if sha256 is not None}
        return ModelInfo(
            name=name,
            path=path,
            kind=kind,
            family=seen.found.family if isinstance(seen.found, Checkpoint) else None,
            layout="diffusers" if path.is_dir() else "original",
            size=size,
            sha256=_combine(seen.found, known) if len(known) == len(hashes) else None,
            description=card.description or card.title,
            defaults=_defaults(card, seen.found),
            examples=card.examples,
        )


def _defaults(card: ModelCard, found: Identified) -> ModelDefaults:
    """Return what the card proposes, and where it says nothing what models of this kind do."""
    usual = found.defaults if isinstance(found, Checkpoint) else ModelDefaults()
    return usual.replace(**{name: value for name, value in card.defaults if value is not None})


def _walk(root: Path, sort: Sort) -> Iterator[Path]:
    """Yield model files and model folders below `root`; a folder reached twice through links is read once."""
    pending = [root]
    visited: set[tuple[int, int]] = set()
    while pending:
        folder = pending.pop()
        try:
            facts = folder.stat()
            # A pickle, which cannot be used, must not take the plain name from the .safetensors beside it.
            entries = sorted(folder.iterdir(), key=lambda entry: (entry.suffix.lower() in PICKLE_SUFFIXES, entry))
        except FileNotFoundError:
            continue
        except OSError as error:
            log.warning("The model folder %s cannot be read: %s", folder, error.strerror)
            continue
        if (facts.st_dev, facts.st_ino) in visited:
            continue
        visited.add((facts.st_dev, facts.st_ino))
        if sort.folder_mark and (folder / sort.folder_mark).is_file():
            yield folder
            continue
        for entry in entries:
            name = entry.name.lower()
            if name.startswith("."):
                continue
            if entry.is_dir():
                pending.append(entry)
            elif sort.wants(entry):
                yield entry


def _signature(path: Path) -> tuple[tuple[str, int, int], ...]:
    """Return (name, size, modification time) of the file, or of every file in the model folder."""
    if not path.is_dir():
        return _facts(path)
    files = (Path(folder) / name for folder, _, names in os.walk(path) for name in names)
    return tuple(sorted(entry for file in files for entry in _facts(file)))


def _facts(file: Path) -> tuple[tuple[str, int, int], ...]:
    try:
        facts = file.stat()
    except OSError:
        return ()
    return ((str(file).lower(), facts.st_size, facts.st_mtime_ns),)


def _unused_name(root: Path, path: Path, used: set[str]) -> str:
    """Return a name that no other model has: the relative path without suffix, with it, or with the root before it."""
    relative = path.relative_to(root) if path != root else Path(root.name)
    bare = relative if path.is_dir() else relative.with_suffix("")
    candidates = [bare.as_posix(), relative.as_posix(), f"{root.name}/{relative.as_posix()}", path.as_posix()]
    name = next(candidate for candidate in candidates if candidate.lower() not in used)
    used.add(name.lower())
    return name


def _natural(name: str) -> list[tuple[int, int, str]]:
    """Sort key that puts `model 2` before `model 10`."""
    parts = re.split(r"([0-9]{1,18})", name.lower())
    return [(1, 0, part) if index % 2 == 0 else (0, int(part), "") for index, part in enumerate(parts) if part]


def _match(models: Sequence[ModelInfo], name: str) -> list[ModelInfo]:
    """Return the models that answer to `name`, the strictest reading that finds any."""
    wanted = name.lower()
    for reading in (_names, _short_names):
        found = [model for model in models if wanted in reading(model)]
        if found:
            return found
    bracketed = re.fullmatch(r"(.*?)\s*\[([0-9a-f]{6,64})\]", wanted)
    if bracketed is None:
        return []
    by_hash = [model for model in models if model.sha256 is not None and model.sha256.startswith(bracketed[2])]
    return by_hash[:1] or [model for model in _match(models, bracketed[1]) if model.sha256 is None]


def _names(model: ModelInfo) -> set[str]:
    hashes = {model.sha256, model.short_hash} if model.sha256 is not None and model.short_hash is not None else set()
    suffix = "" if model.layout == "diffusers" else model.path.suffix
    return {model.name.lower(), f"{model.name}{suffix}".lower(), str(model.path).lower(), *hashes}


def _short_names(model: ModelInfo) -> set[str]:
    stem = model.filename if model.layout == "diffusers" else model.path.stem
    return {model.filename.lower(), model.title.lower(), stem.lower()}


def _combine(found: Identified, hashes: dict[Path, str]) -> str:
    if found.path in hashes:
        return hashes[found.path]
    lines = sorted((file.relative_to(found.path).as_posix(), sha256) for file, sha256 in hashes.items())
    return hashlib.sha256("".join(f"{name} {sha256}\n" for name, sha256 in lines).encode()).hexdigest()


def _read_card(path: Path) -> ModelCard:
    """Return the model's card, an empty one if there is none. A damaged card is logged and never hides the model."""
    file = path / _CARD if path.is_dir() else path.with_suffix(f".{_CARD}")
    try:
        if file.stat().st_size > _MAX_CARD:
            raise ValueError(f"larger than {_MAX_CARD} bytes")
        return ModelCard.model_validate_json(file.read_bytes())
    except FileNotFoundError:
        return ModelCard()
    except (OSError, ValueError, ValidationError) as error:
        log.warning("The model card %s is not used: %s", file, error)
        return ModelCard(description=f"{file.name} is damaged and was not used.")
