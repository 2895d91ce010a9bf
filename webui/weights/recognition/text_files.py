"""What a text encoder in a file of its own is, told from its header: CLIP's or T5's. Torch is not needed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

from webui.domain.models import Kind
from webui.weights.checkpoint import Part
from webui.weights.formats.headers import Header, bad_model, read_header
from webui.weights.recognition.kinds import refuse_other_kind
from webui.weights.recognition.shapes import Shapes, describe_text, part_of_header
from webui.weights.recognition.transformer_shapes import describe_t5

CLIP_MARK = "text_model.embeddings.token_embedding.weight"
T5_MARK = "encoder.block.0.layer.0.SelfAttention.q.weight"

_PREFIXES = ("", "transformer.", "text_encoder.", "text_encoders.clip_l.transformer.",
             "text_encoders.clip_g.transformer.", "text_encoders.t5xxl.transformer.")  # fmt: skip
# llama.cpp's names for T5: the last two levels of a block.
_T5_OF_GGUF: Mapping[str, str] = MappingProxyType(
    {
        **{f"attn_{letter}": f"layer.0.SelfAttention.{letter}" for letter in "qkvo"},
        "attn_rel_b": "layer.0.SelfAttention.relative_attention_bias",
        "attn_norm": "layer.0.layer_norm",
        "ffn_gate": "layer.1.DenseReluDense.wi_0",
        "ffn_up": "layer.1.DenseReluDense.wi_1",
        "ffn_down": "layer.1.DenseReluDense.wo",
        "ffn_norm": "layer.1.layer_norm",
    }
)
_GGUF_BLOCK = re.compile(r"enc\.blk\.(\d+)\.(\w+)\.weight")
_LARGE_CLIP = 1280  # the width of CLIP-G, whose makers used another activation


@dataclass(frozen=True)
class TextFile:
    """A text encoder in a file of its own: its `role` ("clip" or "t5") and `width` tell what it fits."""

    path: Path
    role: str
    width: int
    part: Part

    @property
    def weight_files(self) -> tuple[Path, ...]:
        return (self.path,)


def identify_text_encoder(path: Path) -> TextFile:
    """Return what the text encoder file at `path` is made of; raise `BadFile` with one sentence on what is wrong."""
    header = read_header(path)
    try:
        found = find_text_encoder(path, header)
    except (KeyError, IndexError, ValueError) as error:
        raise bad_model(path, f"not a complete text encoder: it lacks {error}") from error
    if found is None:
        refuse_other_kind(path, header, Kind.TEXT_ENCODER)
        raise bad_model(path, "not a text encoder of a known kind; CLIP's and T5's are")
    return found


def find_text_encoder(path: Path, header: Header, prefixes: tuple[str, ...] = _PREFIXES) -> TextFile | None:
    """Return the text encoder whose tensors' names begin with one of `prefixes`; None when there is none.

    Raises `KeyError`, `IndexError` or `ValueError` when it is not whole.
    """
    if any(_GGUF_BLOCK.fullmatch(name) for name in header):
        shapes = {t5_name(name): facts.shape for name, facts in header.items()}
        return _t5(path, shapes, "", "gguf")
    for prefix in prefixes:
        if f"{prefix}{T5_MARK}" in header:
            return _t5(path, part_of_header(header, prefix), prefix, "diffusers")
        if f"{prefix}{CLIP_MARK}" in header:
            return _clip(path, part_of_header(header, prefix), prefix)
    return None


def _t5(path: Path, shapes: Shapes, prefix: str, layout: str) -> TextFile:
    config = describe_t5(shapes)
    return TextFile(path, "t5", config["d_model"], Part("T5EncoderModel", config, (path,), layout, prefix))


def _clip(path: Path, shapes: Shapes, prefix: str) -> TextFile:
    inner = {name.removeprefix("text_model."): shape for name, shape in shapes.items()}
    config = describe_text(inner)
    if "text_projection.weight" in shapes:
        config["projection_dim"] = shapes["text_projection.weight"][0]
    if config["hidden_size"] == _LARGE_CLIP:
        config["hidden_act"] = "gelu"
    return TextFile(path, "clip", config["hidden_size"], Part("CLIPTextModel", config, (path,), "diffusers", prefix))


def projected(part: Part, activation: str = "quick_gelu", *, identity: bool = False) -> Part:
    """Return CLIP's encoder with a projection of its pooled state; with `identity` the projection changes nothing,
    whatever the file holds, as Stability has it for CLIP-L in SD3."""
    width = part.config["hidden_size" if identity else "projection_dim"]
    return replace(
        part,
        network="CLIPTextModelWithProjection",
        config={**part.config, "projection_dim": width, "hidden_act": activation},
        layout="unprojected" if identity else part.layout,
    )


def t5_name(name: str) -> str:
    """Return transformers' name of a tensor of T5 in a GGUF file."""
    top = {"token_embd.weight": "shared.weight", "enc.output_norm.weight": "encoder.final_layer_norm.weight"}
    block = _GGUF_BLOCK.fullmatch(name)
    if block is None or block[2] not in _T5_OF_GGUF:
        return top.get(name, name)
    return f"encoder.block.{block[1]}.{_T5_OF_GGUF[block[2]]}.weight"
