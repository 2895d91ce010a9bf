"""Textual inversion: a word in a prompt stands for vectors from a file (Gal et al. 2022, arXiv:2208.01618)."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from webui.extending.api import (
    Data,
    ExtensionApi,
    Family,
    ImagePlan,
    Infotext,
    Kind,
    ModelInfo,
    Networks,
    NoOptions,
    Plan,
    Tools,
    embedding_word,
    embedding_words,
    extract,
    find_words,
)

if TYPE_CHECKING:
    from webui.extending.computing import Run

NAME = "textual_inversion"
HASHES = "TI hashes"


class TaughtWord(Data):
    """A word of the prompts, and the file of its vectors."""

    word: str
    path: Path
    sha256: str


class TaughtWords(Data):
    """The words of all prompts that a file stands behind."""

    words: tuple[TaughtWord, ...]


def register(api: ExtensionApi) -> None:
    api.add_networks(Networks(Kind.EMBEDDING, title="Textual inversion", tag="{name}"))
    api.add_infotext(Infotext(read=lambda parameters: None, keys=(HASHES,)))  # the words are in the prompts
    api.change_plan(tell)
    api.patch(_teach)


def tell(plan: Plan, options: NoOptions, tools: Tools) -> Plan:
    """Return `plan` with the files behind words of its prompts, if there are such, and what of them is without effect.

    A word that no model of the plan can read is left as it is (A1111).
    """
    texts = [text for image in plan.images for text in _texts(image)]
    texts = list(dict.fromkeys([*texts, *(extract(prompt)[0] for prompt in plan.further_prompts)]))
    embeddings = tools.models(Kind.EMBEDDING)
    known: dict[str, ModelInfo] = {}
    for family in families(plan):
        known = {**embedding_words(embeddings, family), **known}
    asked = tuple(dict.fromkeys(word for text in texts for word in find_words(text, known)))
    notes = _explain_others(texts, embeddings, known, plan)
    if not asked:
        return plan.replace(notes=(*plan.notes, *notes)) if notes else plan
    words = []
    for word in asked:
        found = tools.find(Kind.EMBEDDING, known[word].name)
        words.append(TaughtWord(word=word, path=found.path, sha256=found.sha256 or ""))
    return plan.told(NAME, TaughtWords(words=tuple(words)), {HASHES: _hashes(words)}, notes)


def families(plan: Plan) -> tuple[Family, ...]:
    """Return the families of all models of a plan, that of the first pass first."""
    hires, refiner = plan.hires and plan.hires.model, plan.refiner and plan.refiner.model
    return tuple(dict.fromkeys(model.family for model in (plan.model, hires, refiner) if model))


def _texts(image: ImagePlan) -> Iterable[str]:
    """Yield the prompts of an image as their text encoders see them: extra-network tags are no words of prompts."""
    for prompt in (image.prompt, image.hires_prompt):
        yield extract(prompt or "")[0]
    for prompt in (image.negative_prompt, image.hires_negative_prompt):
        yield prompt or ""


def _explain_others(
    texts: Iterable[str], embeddings: Iterable[ModelInfo], known: Iterable[str], plan: Plan
) -> tuple[str, ...]:
    """Return a note for each embedding that is named in the prompts and is for other checkpoints."""
    others = {
        embedding_word(model): model.family
        for model in embeddings
        if model.problem is None and model.family is not None
    }
    others = {word: family for word, family in others.items() if word not in set(known)}
    named = dict.fromkeys(word for text in texts for word in find_words(text, others))
    return tuple(
        f"The textual inversion {word} is for {_words(others[word])}: a model of {_words(plan.model.family)} reads its"
        " name as words."
        for word in named
    )


def _words(family: Family | None) -> str:
    return {Family.SD1: "SD 1", Family.SD2: "SD 2", Family.SD3: "SD 3"}.get(
        family or Family.OTHER, (family or Family.OTHER).value.upper().replace("_", " ")
    )


def _hashes(words: Iterable[TaughtWord]) -> str:
    """Return what A1111 writes: names without what parts them, and ten digits of the file's hash."""
    return ", ".join(f"{each.word.replace(':', '').replace(',', '')}: {each.sha256[:10]}" for each in words)


def _teach(run: Run) -> AbstractContextManager[None]:
    from extensions.textual_inversion.teaching import teach

    return teach(run)
