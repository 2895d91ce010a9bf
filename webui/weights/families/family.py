"""What a family's module says about its files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from webui.domain.models import Family, ModelDefaults, PartSlot
from webui.weights.checkpoint import AnySchedule, Checkpoint, Part
from webui.weights.families.checks import Configs
from webui.weights.formats.headers import Header

CLIP_TOKENIZERS = frozenset({"CLIPTokenizer", "CLIPTokenizerFast"})
T5_TOKENIZERS = frozenset({"T5Tokenizer", "T5TokenizerFast", "MT5Tokenizer"})
QWEN_TOKENIZERS = frozenset({"Qwen2Tokenizer", "Qwen2TokenizerFast"})
BERT_TOKENIZERS = frozenset({"BertTokenizer", "BertTokenizerFast"})
GEMMA_TOKENIZERS = frozenset({"GemmaTokenizer", "GemmaTokenizerFast"})
WORD_TOKENIZERS = CLIP_TOKENIZERS | QWEN_TOKENIZERS  # those of vocab.json and merges.txt

Json = Mapping[str, Any]

ReadJson = Callable[[str], Json]
"""Reads a file of a diffusers folder by its name in it; raises `BadFile` when it is missing or damaged."""


def no_check(path: Path, configs: Configs) -> None:
    """Accept every configuration."""


def no_defaults(configs: Configs) -> ModelDefaults:
    """Propose nothing."""
    return ModelDefaults()


def no_slots(configs: Configs) -> tuple[PartSlot, ...]:
    """Take no part from a file of its own."""
    return ()


def fit_as_it_is(slot: PartSlot, part: Part) -> Part:
    """Take a part from a file of its own as it is."""
    return part


def no_single_file(path: Path, header: Header) -> Checkpoint | None:
    """Know no single files."""
    return None


@dataclass(frozen=True)
class FolderFacts:
    """What a diffusers folder of a family says besides its networks' configurations: its model_index.json, and the
    configuration of its scheduler."""

    path: Path
    index: Json
    scheduler: Json


@dataclass(frozen=True)
class FamilyFiles:
    """How the files of one family are recognised.

    A diffusers folder is of it when its pipeline's class is one of `pipelines` and it `claims` the folder from its
    index and its other configurations; it then has the `classes` (part or tokenizer → the classes it may have), but for
    those in `optional`. `read_noise` gives the noise levels of a folder,
    `tokenizer` is that whose settings say how many tokens are read of a text, "" when the family knows.
    `check` refuses configurations that do not fit, `single_file` returns what a file is made of, None when it is none
    of this family. `variant` is one that no network's configuration tells. `slots` are the parts that may come from
    files of their own, `fit` makes them what the family needs.
    `defaults` proposes what such models want, `adjust` what a folder says besides its networks' configurations.
    `words` are what users call a model of it.
    """

    family: Family
    words: str
    pipelines: frozenset[str]
    classes: Mapping[str, frozenset[str]]
    read_noise: Callable[[FolderFacts], AnySchedule]
    claims: Callable[[Json, ReadJson], bool] = lambda index, read: True
    optional: frozenset[str] = frozenset()
    tokenizer: str = ""
    check: Callable[[Path, Configs], None] = no_check
    defaults: Callable[[Configs], ModelDefaults] = no_defaults
    adjust: Callable[[FolderFacts, ModelDefaults], ModelDefaults] = lambda facts, proposed: proposed
    zero_negative: Callable[[FolderFacts], bool] = lambda facts: False
    variant: Callable[[FolderFacts], str] = lambda facts: ""
    single_file: Callable[[Path, Header], Checkpoint | None] = no_single_file
    slots: Callable[[Configs], tuple[PartSlot, ...]] = no_slots
    fit: Callable[[PartSlot, Part], Part] = fit_as_it_is

    @property
    def components(self) -> tuple[str, ...]:
        """The names of the networks."""
        return tuple(part for part in self.classes if not part.startswith("tokenizer"))
