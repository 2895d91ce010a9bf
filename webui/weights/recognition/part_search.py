"""Which files complete a checkpoint that lacks a VAE or text encoders, by hand or by what fits. Torch is not needed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from webui.domain.models import Family, ModelInfo, PartSlot
from webui.errors import EaselError
from webui.weights.catalog.files import ModelFiles
from webui.weights.catalog.index import read_signature
from webui.weights.checkpoint import Part
from webui.weights.formats.gguf_words import read_words
from webui.weights.formats.sentencepieces import read_pieces
from webui.weights.recognition.identify import identify
from webui.weights.recognition.text_files import identify_text_encoder

# Latents of 16 channels are those of two families, and of 4 those of two others. No header tells which: the name does,
# where it says anything.
_NAMED: Mapping[Family, tuple[str, ...]] = {
    Family.FLUX: ("ae", "flux"),
    Family.SD3: ("sd3", "sd3.5", "sd35"),
    Family.SDXL: ("sdxl", "xl_vae", "xl-vae", "xlvae"),
}
_ALWAYS_NAMED = frozenset({Family.SDXL})  # a VAE of four channels that says nothing is SD1's
_WHOLE = 0.5  # of a text encoder's vocabulary that its tokenizer knows at least; some of it is only filling
_NAMES = ("tokenizer.json", "spiece.model")
_TOKENIZERS = ("tokenizer_2", "tokenizer_3", "tokenizer")  # folders of a diffusers folder that may be T5's
_MOST_JSON = 32 * 2**20  # bytes of a tokenizer
_USUAL = {"VAE": "ae.safetensors", "CLIP-L": "clip_l.safetensors", "CLIP-G": "clip_g.safetensors"}
_T5_FILE = "t5xxl_fp16.safetensors"


@dataclass(frozen=True)
class FoundParts:
    """What completes a checkpoint: a file for each component, and T5's tokenizer.

    `unused` are those of the files chosen by hand that fit nowhere; `problem` is the sentence on what is missing.
    """

    parts: tuple[tuple[str, ModelInfo], ...] = ()
    tokenizer: Path | None = None
    unused: tuple[ModelInfo, ...] = ()
    problem: str | None = None


class PartSearch:
    """Looks among the VAEs and text encoders of all catalogs."""

    def __init__(self, files: ModelFiles) -> None:
        self._files = files

    def find(self, checkpoint: ModelInfo, chosen: Sequence[ModelInfo] = ()) -> FoundParts:
        """Return what `checkpoint` takes: the files `chosen` by hand where they fit, else the best of those there are
        for the parts that it lacks."""
        parts: dict[str, ModelInfo] = {}
        missing: list[PartSlot] = []
        for slot in checkpoint.slots:
            by_hand = next((model for model in chosen if _fits(model, slot)), None)
            lacking = slot.component not in checkpoint.parts
            found = by_hand or (self._best(checkpoint, slot) if lacking else None)
            if found is not None:
                parts[slot.component] = found
            elif lacking and not slot.optional:
                missing.append(slot)
        tokenizer, problem = None, _say_missing(missing) if missing else None
        t5 = next((slot for slot in checkpoint.slots if slot.role == "t5"), None)
        if t5 is not None and problem is None and _needs_tokenizer(checkpoint, t5, parts):
            source = parts.get(t5.component, checkpoint)
            tokenizer = self._find_tokenizer(source)
            if tokenizer is None and t5.optional and source is not checkpoint and source not in chosen:
                del parts[t5.component]  # nobody asked for it
            elif tokenizer is None:
                problem = _say_tokenizer(source)
        used = [model.path for model in parts.values()]
        unused = tuple(model for model in chosen if model.path not in used)
        return FoundParts(tuple(parts.items()), tokenizer, unused, problem)

    def _best(self, checkpoint: ModelInfo, slot: PartSlot) -> ModelInfo | None:
        """Return the largest file that fits; a VAE whose name speaks of the family before others, and none that speaks
        of another one."""
        catalog = self._files.vaes if slot.role == "vae" else self._files.text_encoders
        fitting = [model for model in catalog.models() if model.problem is None and _fits(model, slot)]
        if slot.role == "vae":
            others = [family for family in _NAMED if family is not checkpoint.family]
            fitting = [model for model in fitting if not any(_speaks_of(model, family) for family in others)]
        if slot.role == "vae" and checkpoint.family in _ALWAYS_NAMED:
            fitting = [model for model in fitting if _speaks_of(model, checkpoint.family)]
        return max(
            fitting, key=lambda model: (_speaks_of(model, checkpoint.family), model.size, model.name), default=None
        )

    def _find_tokenizer(self, source: ModelInfo) -> Path | None:
        """Return the tokenizer for the T5 in the file `source`: in it, beside it, in a folder of text encoders, or in a
        diffusers folder among the checkpoints."""
        vocabulary = _t5_vocabulary(source.path, read_signature(source.path))
        return next((file for file in self._tokenizers(source) if _knows(file, vocabulary)), None)

    def _tokenizers(self, source: ModelInfo) -> Iterator[Path]:
        if source.path.suffix.lower() == ".gguf":
            yield source.path
        for name in _NAMES:
            yield source.path.with_name(f"{source.path.stem}.{name}")
            yield source.path.with_name(name)
        for folder in self._files.text_encoders.directories:
            for name in _NAMES:
                yield from sorted(folder.glob(f"*{name}"))
                yield from sorted(folder.glob(f"*/{name}"))
        for model in self._files.checkpoints.models():
            if model.layout == "diffusers" and model.problem is None:
                yield from (model.path / folder / name for folder in _TOKENIZERS for name in _NAMES)


def _fits(model: ModelInfo, slot: PartSlot) -> bool:
    return model.problem is None and (model.role, model.width) == (slot.role, slot.width)


def _speaks_of(model: ModelInfo, family: Family | None) -> bool:
    stem = model.path.stem.lower()
    words = () if family is None else _NAMED.get(family, ())
    return any(stem == word or (len(word) > 2 and word in stem) for word in words)


def _needs_tokenizer(checkpoint: ModelInfo, t5: PartSlot, parts: dict[str, ModelInfo]) -> bool:
    """Tell whether T5 reads texts in it and no folder of its own holds its tokenizer."""
    own = t5.component in checkpoint.parts and checkpoint.layout != "diffusers"
    return t5.component in parts or own


def _knows(file: Path, vocabulary: int) -> bool:
    """Tell whether `file` is a tokenizer for a text encoder of so many tokens."""
    try:
        size = _tokenizer_size(file, read_signature(file))
    except OSError:
        return False
    return _WHOLE * vocabulary <= size <= vocabulary


@lru_cache(maxsize=256)
def _tokenizer_size(file: Path, signature: tuple[int, int]) -> int:
    """Return how many tokens a tokenizer of T5's kind knows; 0 if it is none."""
    try:
        if file.suffix in (".model", ".gguf"):
            model = read_pieces(file) if file.suffix == ".model" else read_words(file)
            return len(model.pieces) if model is not None else 0
        if signature[0] > _MOST_JSON:
            return 0
        content = json.loads(file.read_text("utf-8"))
        model, added = content["model"], content.get("added_tokens", [])
        if model["type"] != "Unigram":
            return 0
        words = {str(piece) for piece, _ in model["vocab"]} | {str(token["content"]) for token in added}
    except (EaselError, OSError, ValueError, KeyError, TypeError, IndexError, RecursionError):
        return 0
    return len(words)


@lru_cache(maxsize=64)
def _t5_vocabulary(path: Path, signature: tuple[int, int]) -> int:
    """Return how many tokens the T5 in a file knows, a checkpoint's or one of its own; 0 if it cannot be read."""
    try:
        parts: Iterable[Part] = identify(path).parts.values()
    except EaselError:
        try:
            parts = (identify_text_encoder(path).part,)
        except EaselError:
            return 0
    return next((int(part.config["vocab_size"]) for part in parts if part.network == "T5EncoderModel"), 0)


def _say_missing(missing: Sequence[PartSlot]) -> str:
    """Return the sentence on parts that are nowhere."""
    words = " and no ".join(slot.words for slot in missing)
    homes = {
        "models/VAE": [_USUAL["VAE"] for slot in missing if slot.role == "vae"],
        "models/text_encoder": [_USUAL.get(slot.words, _T5_FILE) for slot in missing if slot.role != "vae"],
    }
    places = [f"{' and '.join(files)} into {home}" for home, files in homes.items() if files]
    return f"it has no {words}: put a file such as {', and '.join(places)}."


def _say_tokenizer(source: ModelInfo) -> str:
    return (
        f"the tokenizer of its T5 is missing: put the tokenizer.json of a Flux or SD3 folder (its tokenizer_2 or "
        f"tokenizer_3) into models/text_encoder as {source.path.stem}.tokenizer.json."
    )
