"""Embeddings (textual inversion) on the disk: what their headers say."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from webui.domain.models import Family, Kind, ModelInfo
from webui.errors import BadFile
from webui.weights.catalog.model_facts import ModelFacts
from webui.weights.formats.metadata import read_metadata
from webui.weights.formats.pickles import find_values, is_pickle
from webui.weights.recognition.kinds import refuse_other_kind, tell_kind
from webui.weights.recognition.lora_files import family_named, read_any, said_base

TABLES = ("emb_params", "clip_l", "clip_g")
"""The tensors of vectors: A1111's for SD 1 and 2, and both of SDXL's text encoders."""

_TOLD = ("step", "sd_checkpoint", "sd_checkpoint_name")
_FAMILIES: Mapping[int, str] = {768: "sd1", 1024: "sd2", 1280: "sdxl", 2048: "sdxl"}
"""Numbers of one vector over all text encoders → the family."""

_READ: Mapping[Family, Family] = {
    Family.SD1: Family.SD1,
    Family.SD2: Family.SD2,
    Family.SDXL: Family.SDXL,
    Family.SDXL_REFINER: Family.SDXL,
    Family.PLAYGROUND: Family.SDXL,
    Family.SD3: Family.SDXL,  # its first two text encoders are those of SDXL
    Family.FLUX: Family.SD1,  # its CLIP is that of SD1
}
"""Families of checkpoints → those of the embeddings that their text encoders can read."""


def embedding_words(embeddings: Iterable[ModelInfo], family: Family) -> dict[str, ModelInfo]:
    """Return the words that `embeddings` teach checkpoints of a family: the names of their files.

    Of two with the same name the first counts. Such of an unknown family may fit.
    """
    wanted = _READ.get(family)
    words: dict[str, ModelInfo] = {}
    for model in embeddings:
        if wanted is not None and model.problem is None and not model.pending and model.family in (wanted, None):
            words.setdefault(embedding_word(model), model)
    return words


def embedding_word(embedding: ModelInfo) -> str:
    """Return what is typed for an embedding: the name of its file (A1111)."""
    return embedding.path.stem


def identify_embedding(path: Path) -> ModelFacts:
    """Return how many vectors an embedding has and how long each is over all text encoders; `BadFile` for others."""
    file, header = read_any(path, "embedding")
    if tell_kind(header) is not Kind.EMBEDDING:
        refuse_other_kind(path, header, Kind.EMBEDDING, field="embedding")
        raise BadFile(f"{path.name}: it holds no vectors of an embedding.", field="embedding")
    known = [facts for name, facts in header.items() if name in TABLES or name.startswith("string_to_param")]
    shapes = [(1, *facts.shape)[-2:] for facts in known or header.values() if facts.shape]
    if not shapes:
        raise BadFile(f"{path.name}: it holds no vectors of an embedding.", field="embedding")
    length = sum(shape[1] for shape in shapes)
    return ModelFacts(
        family=family_named(_FAMILIES.get(length) or said_base(read_metadata(file))),
        details={"vectors": shapes[0][0], "length": length, **_told(path)},
    )


def _told(path: Path) -> dict[str, str | int]:
    """Return what A1111's pickled files say about the training: its steps, and the checkpoint it was made with."""
    with path.open("rb") as opened:
        start = opened.read(512)
    values = find_values(path) if is_pickle(start) else {}
    return {name: value for name in _TOLD if isinstance(value := values.get(name), str | int)}
