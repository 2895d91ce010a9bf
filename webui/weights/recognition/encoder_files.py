"""Which text encoder or image encoder lies in a file or folder of its own, told from names and shapes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from webui.domain.models import Kind
from webui.errors import BadFile
from webui.weights.catalog.model_facts import ModelFacts
from webui.weights.formats.headers import Header
from webui.weights.recognition.kinds import named_weights, refuse_other_kind, tell_kind
from webui.weights.recognition.lora_files import read_any
from webui.weights.recognition.text_files import find_text_encoder

_TABLES = (
    "text_model.embeddings.token_embedding.weight", "transformer.text_model.embeddings.token_embedding.weight",
    "token_embedding.weight", "shared.weight", "encoder.embed_tokens.weight", "model.embed_tokens.weight",
    "model.language_model.embed_tokens.weight", "language_model.model.embed_tokens.weight", "token_embd.weight",
    "transformer.word_embeddings.weight", "embedding.word_embeddings.weight",
)  # fmt: skip
"""Names of the table of words, whose width tells the encoders apart."""
_CLIP: Mapping[int, str] = {768: "CLIP-L", 1024: "CLIP-H", 1280: "CLIP-G"}
_T5: Mapping[int, str] = {512: "T5 small", 768: "T5 base", 1024: "T5 large", 2048: "T5-XL", 4096: "T5-XXL"}
_LANGUAGE: Mapping[int, str] = {2304: "Gemma 2 2B", 2560: "Qwen3 4B", 3584: "Qwen2.5-VL 7B"}


def identify_encoder(path: Path) -> ModelFacts:
    """Return which encoder it is; raise `BadFile` if it is none."""
    _, header = read_any(path, "text_encoder")
    kind = tell_kind(header)
    if kind not in (Kind.TEXT_ENCODER, Kind.IMAGE_ENCODER):
        refuse_other_kind(path, header, Kind.TEXT_ENCODER, Kind.IMAGE_ENCODER, field="text_encoder")
        raise BadFile(f"{path.name}: it holds no text encoder of a known layout.", field="text_encoder")
    role, width = _tell_role(path, header) if kind is Kind.TEXT_ENCODER else ("", 0)
    return ModelFacts(
        kind=kind,
        role=role,
        width=width,
        variant=_tell_encoder(header) if kind is Kind.TEXT_ENCODER else "",
        weights=tuple(file.name for file in named_weights(path)) if path.is_dir() else (),
    )


def _tell_role(path: Path, header: Header) -> tuple[str, int]:
    """Return role and width of an encoder that checkpoints can take from its file; that of a folder is none yet."""
    try:
        found = find_text_encoder(path, header) if path.is_file() else None
    except (KeyError, IndexError, ValueError) as error:
        raise BadFile(f"{path.name}: it is not complete: it lacks {error}.", field="text_encoder") from error
    return ("", 0) if found is None else (found.role, found.width)


def _tell_encoder(header: Header) -> str:
    width = next((min(header[name].shape) for name in _TABLES if name in header and len(header[name].shape) == 2), 0)
    if any(name.startswith(("encoder.block.", "enc.blk.")) for name in header):
        return _T5.get(width, "T5")
    if any("text_model." in name or "resblocks." in name for name in header):
        return _CLIP.get(width, "CLIP")
    return _LANGUAGE.get(width, "a language model")
