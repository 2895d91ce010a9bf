"""What is told about a model besides its weights: the texts, numbers and pictures on its card."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from webui.domain.frozen import Data
from webui.domain.models import Family, Kind, ModelDefaults, ModelInfo

MAX_CARD_TEXT = 20_000  # characters
MAX_LISTED = 10_000

_Line = Annotated[str, Field(max_length=1000)]
_Text = Annotated[str, Field(max_length=MAX_CARD_TEXT)]
_Weight = Annotated[float, Field(ge=-10, le=10)]
_Examples = Annotated[tuple[_Text, ...], Field(max_length=100)]


class ModelCard(Data):
    """One model's card. `trigger_words` are what a prompt needs for the model to take effect, `negative_words` what
    belongs into the negative prompt with it; `weight` is how strongly it is usually applied (None: nobody said)."""

    title: str = ""
    description: str = ""
    notes: str = ""
    trigger_words: str = ""
    negative_words: str = ""
    weight: float | None = None
    base_model: str = ""  # in the words of whoever made the card: "SD 1.5", "Pony", "sdxl_base_v1-0"
    defaults: ModelDefaults = ModelDefaults()
    examples: tuple[str, ...] = ()


class CardChange(Data):
    """What to change on a card; what is left out stays. An empty text or null gives back what the model's own files
    say."""

    title: _Line | None = None
    description: _Text | None = None
    notes: _Text | None = None
    trigger_words: _Text | None = None
    negative_words: _Text | None = None
    weight: _Weight | None = None
    base_model: _Line | None = None
    defaults: ModelDefaults | None = None
    examples: _Examples | None = None


class ModelPage(Data):
    """A model's card, and further facts about it by name, such as the rank of a LoRA."""

    card: ModelCard = ModelCard()
    details: Mapping[str, str | int | float] = {}
    has_preview: bool = False


class ListedModel(Data):
    """A model and its card."""

    model: ModelInfo
    page: ModelPage


class ModelQuery(Data):
    """Which models to list: those that all words of `search` occur in, in `folder` or below it. `usable` None: broken
    ones too. `fits` leaves out those that are known to be of another family."""

    kind: Kind = Kind.CHECKPOINT
    search: Annotated[str, Field(max_length=1000)] = ""
    family: Family | None = None
    fits: Family | None = None
    folder: Annotated[str, Field(max_length=1000)] = ""
    sort: Literal["name", "newest", "largest"] = "name"
    usable: bool | None = None
    offset: Annotated[int, Field(ge=0)] = 0
    limit: Annotated[int, Field(ge=1, le=MAX_LISTED)] = 1000


class ModelList(Data):
    """A part of a list, how many models all of it has, and the folders that models of the kind lie in."""

    total: int
    folders: tuple[str, ...]
    models: tuple[ListedModel, ...]
