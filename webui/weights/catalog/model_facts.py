"""What identifying a model gives, whatever its kind: plain data that the index keeps."""

from __future__ import annotations

from collections.abc import Mapping

from webui.domain.cards import ModelCard
from webui.domain.frozen import Data
from webui.domain.models import Family, Kind, ModelDefaults, PartSlot


class ModelFacts(Data):
    """What a model's header and folder say. `problem` is why it cannot be used; all else is then unknown.

    `kind` is said where models of several kinds lie together. `weights` are its files, relative to its folder and
    empty for a single file; `told` is what its metadata says; `details` are more facts for its card.
    `slots` are the parts that it may get from files of their own; `role` and `width` tell which slots it fits itself.
    """

    kind: Kind | None = None
    family: Family | None = None
    variant: str = ""
    parts: tuple[str, ...] = ()
    weights: tuple[str, ...] = ()
    defaults: ModelDefaults = ModelDefaults()
    old_hash: str | None = None
    problem: str | None = None
    told: ModelCard = ModelCard()
    details: Mapping[str, str | int | float] = {}
    slots: tuple[PartSlot, ...] = ()
    role: str = ""
    width: int = 0
    has_thumbnail: bool = False
