"""Flux's weights under diffusers' names, from those of its makers (github.com/black-forest-labs/flux)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

import torch
from torch import Tensor

from webui.weights.formats.tensors import Weights

_TOP: Mapping[str, str] = MappingProxyType(
    {
        "img_in": "x_embedder",
        "txt_in": "context_embedder",
        "time_in.in_layer": "time_text_embed.timestep_embedder.linear_1",
        "time_in.out_layer": "time_text_embed.timestep_embedder.linear_2",
        "vector_in.in_layer": "time_text_embed.text_embedder.linear_1",
        "vector_in.out_layer": "time_text_embed.text_embedder.linear_2",
        "guidance_in.in_layer": "time_text_embed.guidance_embedder.linear_1",
        "guidance_in.out_layer": "time_text_embed.guidance_embedder.linear_2",
        "final_layer.linear": "proj_out",
    }
)
_DOUBLE: Mapping[str, tuple[str, ...]] = MappingProxyType(  # several: rows of equal share
    {
        "img_mod.lin": ("norm1.linear",),
        "txt_mod.lin": ("norm1_context.linear",),
        "img_attn.qkv": ("attn.to_q", "attn.to_k", "attn.to_v"),
        "txt_attn.qkv": ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"),
        "img_attn.norm.query_norm": ("attn.norm_q",),
        "img_attn.norm.key_norm": ("attn.norm_k",),
        "txt_attn.norm.query_norm": ("attn.norm_added_q",),
        "txt_attn.norm.key_norm": ("attn.norm_added_k",),
        "img_attn.proj": ("attn.to_out.0",),
        "txt_attn.proj": ("attn.to_add_out",),
        "img_mlp.0": ("ff.net.0.proj",),
        "img_mlp.2": ("ff.net.2",),
        "txt_mlp.0": ("ff_context.net.0.proj",),
        "txt_mlp.2": ("ff_context.net.2",),
    }
)
_SINGLE: Mapping[str, str] = MappingProxyType(
    {
        "modulation.lin": "norm.linear",
        "norm.query_norm": "attn.norm_q",
        "norm.key_norm": "attn.norm_k",
        "linear2": "proj_out",
    }
)
_FUSED = ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp")  # what linear1 of a single block is
_LAST = "final_layer.adaLN_modulation.1"
_BLOCK = re.compile(r"(double|single)_blocks\.(\d+)\.(.+)")


def rename_flux(weights: Weights, width: int) -> Weights:
    """Return the weights of a Flux transformer of `width` under diffusers' names; unknown names stay what they are.

    Parts of a tensor are views of it, so nothing is read yet.
    """
    renamed: Weights = {}
    for name, tensor in weights.items():
        layer, dot, leaf = name.rpartition(".")
        leaf = "weight" if leaf == "scale" else leaf  # of a norm
        for new, part in _rename(layer, tensor, width).items():
            renamed[f"{new}{dot}{leaf}"] = part
    return renamed


def _rename(layer: str, tensor: Tensor, width: int) -> dict[str, Tensor]:
    """Return the layers that the weight or the bias of `layer` is, each with its part of it."""
    if layer == _LAST:
        shift, scale = tensor.chunk(2)
        return {"norm_out.linear": torch.cat([scale, shift])}
    block = _BLOCK.fullmatch(layer)
    if block is None:
        return {_TOP.get(layer, layer): tensor}
    kind, number, inner = block.groups()
    if kind == "double":
        names = _DOUBLE.get(inner, (inner,))
        place, parts = f"transformer_blocks.{number}", tensor.chunk(len(names))
    elif inner == "linear1":
        names = _FUSED
        place = f"single_transformer_blocks.{number}"
        parts = tensor.split([width, width, width, tensor.shape[0] - 3 * width])
    else:
        names = (_SINGLE.get(inner, inner),)
        place, parts = f"single_transformer_blocks.{number}", (tensor,)
    return {f"{place}.{name}": part for name, part in zip(names, parts, strict=True)}


def original_flux(weights: Weights) -> Weights:
    """Return the weights of a Flux transformer, named as diffusers does, under its makers' names."""
    gathered: dict[tuple[str, str], list[Tensor | None]] = {}
    for name, tensor in weights.items():
        layer, _, leaf = name.rpartition(".")
        original, place, count = original_place(layer)
        gathered.setdefault((original, leaf), [None] * count)[place] = tensor
    written: Weights = {}
    for (layer, leaf), thirds in gathered.items():
        present = [each for each in thirds if each is not None]
        whole = present[0] if len(thirds) == 1 else torch.cat(present)
        if layer == _LAST:
            scale, shift = whole.chunk(2)
            whole = torch.cat([shift, scale])
        leaf = "scale" if layer.endswith(("query_norm", "key_norm")) else leaf
        written[f"{layer}.{leaf}"] = whole
    return written


def original_place(layer: str) -> tuple[str, int, int]:
    """Return the original layer that diffusers' `layer` is a part of, which part, and how many there are."""
    if layer == "norm_out.linear":
        return _LAST, 0, 1
    block = re.fullmatch(r"(single_)?transformer_blocks\.(\d+)\.(.+)", layer)
    if block is None:
        return next((old for old, new in _TOP.items() if new == layer), layer), 0, 1
    single, number, inner = block.groups()
    if single and inner in _FUSED:
        return f"single_blocks.{number}.linear1", _FUSED.index(inner), len(_FUSED)
    if single:
        return f"single_blocks.{number}.{next(old for old, new in _SINGLE.items() if new == inner)}", 0, 1
    old, parts = next((old, parts) for old, parts in _DOUBLE.items() if inner in parts)
    return f"double_blocks.{number}.{old}", parts.index(inner), len(parts)
