"""Tiny IP-Adapters of every kind under the names that users' files have, and tiny image encoders."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from PIL import Image, ImageDraw
from safetensors.torch import save_file
from torch import Tensor
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

HIDDEN, PROJECTION, SIDE, PATCH = 32, 24, 32, 8
TOKENS = 4


def make_tower(seed: int = 0) -> CLIPVisionModelWithProjection:
    torch.manual_seed(seed)
    config = CLIPVisionConfig(
        hidden_size=HIDDEN, intermediate_size=64, num_hidden_layers=3, num_attention_heads=1, image_size=SIDE,
        patch_size=PATCH, projection_dim=PROJECTION, hidden_act="gelu",
    )  # fmt: skip
    tower = CLIPVisionModelWithProjection(config).eval()
    with torch.no_grad():
        for parameter in tower.parameters():
            parameter.normal_(std=0.2)
    return tower


def write_tower(path: Path, seed: int = 0) -> Path:
    save_file({name: each.contiguous() for name, each in make_tower(seed).state_dict().items()}, path)
    return path


def adapter_of(unet: UNet2DConditionModel, kind: str, seed: int = 1) -> dict[str, Tensor]:
    """Return the tensors of an adapter of a kind ("plain", "plus", "full") for a UNet."""
    draw = torch.Generator().manual_seed(seed)
    width = unet.config.cross_attention_dim
    tensors = {f"image_proj.{name}": each for name, each in _projection(kind, width, draw).items()}
    for number, name in enumerate(unet.attn_processors):
        if name.endswith("attn2.processor"):
            inner = unet.get_submodule(name.removesuffix(".processor")).to_q.out_features
            for letter in "kv":
                tensors[f"ip_adapter.{number}.to_{letter}_ip.weight"] = _random(draw, inner, width)
    return tensors


def _projection(kind: str, width: int, draw: torch.Generator) -> dict[str, Tensor]:
    if kind == "plain":
        return {
            "proj.weight": _random(draw, TOKENS * width, PROJECTION), "proj.bias": _random(draw, TOKENS * width),
            "norm.weight": _random(draw, width) + 1, "norm.bias": _random(draw, width),
        }  # fmt: skip
    if kind == "full":
        return {
            "proj.0.weight": _random(draw, HIDDEN, HIDDEN), "proj.0.bias": _random(draw, HIDDEN),
            "proj.2.weight": _random(draw, width, HIDDEN), "proj.2.bias": _random(draw, width),
            "proj.3.weight": _random(draw, width) + 1, "proj.3.bias": _random(draw, width),
        }  # fmt: skip
    inner = 64
    tensors = {
        "latents": _random(draw, 1, 3, inner), "proj_in.weight": _random(draw, inner, HIDDEN),
        "proj_in.bias": _random(draw, inner), "proj_out.weight": _random(draw, width, inner),
        "proj_out.bias": _random(draw, width), "norm_out.weight": _random(draw, width) + 1,
        "norm_out.bias": _random(draw, width),
    }  # fmt: skip
    for layer in range(4):
        for norm in ("0.norm1", "0.norm2", "1.0"):
            tensors[f"layers.{layer}.{norm}.weight"] = _random(draw, inner) + 1
            tensors[f"layers.{layer}.{norm}.bias"] = _random(draw, inner)
        tensors[f"layers.{layer}.0.to_q.weight"] = _random(draw, inner, inner)
        tensors[f"layers.{layer}.0.to_kv.weight"] = _random(draw, 2 * inner, inner)
        tensors[f"layers.{layer}.0.to_out.weight"] = _random(draw, inner, inner)
        tensors[f"layers.{layer}.1.1.weight"] = _random(draw, 4 * inner, inner)
        tensors[f"layers.{layer}.1.3.weight"] = _random(draw, inner, 4 * inner)
    return tensors


def _random(draw: torch.Generator, *sides: int) -> Tensor:
    return torch.randn(sides, generator=draw) * 0.3


def nested(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return tensors as pickled files, and diffusers, have them: in two dictionaries."""
    parts: dict[str, Any] = {"image_proj": {}, "ip_adapter": {}}
    for name, tensor in tensors.items():
        part, _, rest = name.partition(".")
        parts[part][rest] = tensor
    return parts


def scene(colour: str) -> Image.Image:
    picture = Image.new("RGB", (48, 40), colour)
    ImageDraw.Draw(picture).ellipse((10, 6, 36, 30), "white")
    return picture
