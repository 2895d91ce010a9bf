"""Names of models: unique ones in natural order, and all the ways in which users and programs write them."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence

from webui.domain.models import ModelInfo
from webui.weights.catalog.scan import OnDisk

_Table = Mapping[str, tuple[ModelInfo, ...]]

_NUMBER = re.compile(r"([0-9]{1,18})")
_BRACKETED = re.compile(r"(.*?)\s*\[([0-9a-f]{6,64})\]")


def unused_name(model: OnDisk, used: set[str]) -> str:
    """Return a name that no other model has, and add it to `used`: the relative path without suffix, with it, or with
    the root before it."""
    relative = model.relative
    bare = relative if model.is_folder else _without_suffix(relative)
    candidates = (bare, relative, f"{model.root.name}/{relative}", model.path)
    name = next(candidate for candidate in candidates if candidate.lower() not in used)
    used.add(name.lower())
    return name


def _without_suffix(relative: str) -> str:
    stem, dot, _ = relative.rpartition(".")
    return stem if dot and not stem.endswith("/") else relative


def natural(name: str) -> list[tuple[int, int, str]]:
    """Sort key that puts `model 2` before `model 10`."""
    parts = _NUMBER.split(name.lower())
    return [(1, 0, part) if index % 2 == 0 else (0, int(part), "") for index, part in enumerate(parts) if part]


class NameTable:
    """Answers which of some models a name means. Made once for a list, asked often."""

    def __init__(self, models: Sequence[ModelInfo]) -> None:
        self._models = models
        self._readings = (_tabulate(models, _names), _tabulate(models, _short_names), _tabulate(models, _old_hashes))

    def match(self, name: str) -> tuple[ModelInfo, ...]:
        """Return the models that answer to `name`, the strictest reading that finds any."""
        wanted = name.strip().lower()
        for reading in self._readings:
            if wanted in reading:
                return reading[wanted]
        bracketed = _BRACKETED.fullmatch(wanted)
        if bracketed is None:
            return ()
        name, number = bracketed[1], bracketed[2]
        by_hash = [model for model in self._models if model.sha256 is not None and model.sha256.startswith(number)]
        by_old_hash = [model for model in self._models if model.old_hash == number]
        never_hashed = (model for model in self.match(name) if model.sha256 is None) if name else ()
        return tuple(by_hash[:1] or by_old_hash[:1] or never_hashed)

    def nearest(self, name: str) -> list[str]:
        """Return the names of up to three usable models, those like `name` if there are any."""
        usable = [model.name for model in self._models if model.problem is None]
        return difflib.get_close_matches(name, usable, n=3, cutoff=0.3) or usable[:3]


def _tabulate(models: Sequence[ModelInfo], read: Callable[[ModelInfo], Iterable[str]]) -> _Table:
    table: dict[str, tuple[ModelInfo, ...]] = {}
    for model in models:
        for name in read(model):
            table[name] = (*table.get(name, ()), model)
    return table


def _names(model: ModelInfo) -> Iterable[str]:
    suffix = "" if model.layout == "diffusers" else model.path.suffix
    hashes = {model.sha256, model.short_hash} if model.sha256 is not None and model.short_hash is not None else set()
    return {model.name.lower(), f"{model.name}{suffix}".lower(), str(model.path).lower(), *hashes}


def _short_names(model: ModelInfo) -> Iterable[str]:
    stem = model.filename if model.layout == "diffusers" else model.path.stem
    return {model.filename.lower(), model.title.lower(), stem.lower()}


def _old_hashes(model: ModelInfo) -> Iterable[str]:
    return () if model.old_hash is None else (model.old_hash,)
