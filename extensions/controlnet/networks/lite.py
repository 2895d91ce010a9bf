"""ControlNet-LLLite: small networks that add what they see in a picture to what a UNet's attention is given.

(Kohya 2023, github.com/kohya-ss/sd-scripts, docs/train_lllite_README.md and networks/control_net_lllite.py.)
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from extensions.controlnet.families import bad_control
from extensions.controlnet.networks.reading import ControlFile

_NAME = re.compile(r"lllite_unet_(input_blocks|output_blocks|middle_block)_(\d+)_(?:(\d+)_)?(.+)")
_INNER = re.compile(r"transformer_blocks_(\d+)_(attn[12])_to_([qkv])")


def load_lite(file: ControlFile, unet: nn.Module, dtype: torch.dtype) -> nn.ModuleDict:
    """Return the parts of an LLLite file by the name of the layer of `unet` that each belongs to (dots as in names of
    modules, written as slashes); raise `BadFile` when there is no such layer."""
    layers = {name for name, _ in unet.named_modules()}
    level = int(unet.config["layers_per_block"])
    parts = {}
    for name in sorted({each.partition(".")[0] for each in file.weights}):
        layer = find_layer(name, level)
        if layer not in layers:
            raise bad_control(file.name, f"its {name} belongs to no layer of this checkpoint", "Use it with SDXL.")
        parts[layer.replace(".", "/")] = _part(file.weights, name, dtype)
    return nn.ModuleDict(parts).requires_grad_(False).eval()


def find_layer(name: str, layers: int) -> str:
    """Return diffusers' name of the layer that a part of a file belongs to, in a UNet of so many `layers` a level; an
    empty text for none."""
    found = _NAME.fullmatch(name)
    inner = _INNER.fullmatch(found[4]) if found else None
    if found is None or inner is None:
        return ""
    side, number = found[1], int(found[2])
    if side == "middle_block":
        place = "mid_block.attentions.0"
    elif side == "input_blocks":
        level, layer = divmod(number - 1, layers + 1)
        place = f"down_blocks.{level}.attentions.{layer}"
    else:
        level, layer = divmod(number, layers + 1)
        place = f"up_blocks.{level}.attentions.{layer}"
    return f"{place}.transformer_blocks.{inner[1]}.{inner[2]}.to_{inner[3]}"


def _part(weights: Mapping[str, Tensor], name: str, dtype: torch.dtype) -> nn.ModuleDict:
    """Return what belongs to one layer: `conditioning1`, which reads the picture, and `down`, `mid`, `up`."""
    own = {key[len(name) + 1 :]: tensor for key, tensor in weights.items() if key.startswith(f"{name}.")}
    reading = [number for number in range(0, 6, 2) if f"conditioning1.{number}.weight" in own]
    convolutions: list[nn.Module] = []
    for number in reading:
        weight, bias = own[f"conditioning1.{number}.weight"], own[f"conditioning1.{number}.bias"]
        convolutions += [nn.ReLU()] if convolutions else []
        convolutions.append(_convolution(weight.to(dtype), bias.to(dtype)))
    linear = {part: _linear(own[f"{part}.0.weight"].to(dtype), own[f"{part}.0.bias"].to(dtype)) for part in _LINEAR}
    return nn.ModuleDict({"conditioning1": nn.Sequential(*convolutions), **linear})


_LINEAR = ("down", "mid", "up")


def _convolution(weight: Tensor, bias: Tensor) -> nn.Module:
    """Return a convolution whose windows lie side by side."""
    wide, seen, side, _ = weight.shape
    layer = nn.Conv2d(seen, wide, side, stride=side, device="meta")
    layer.load_state_dict({"weight": weight, "bias": bias}, assign=True)
    return layer


def _linear(weight: Tensor, bias: Tensor) -> nn.Module:
    layer = nn.Linear(weight.shape[1], weight.shape[0], device="meta")
    layer.load_state_dict({"weight": weight, "bias": bias}, assign=True)
    return layer


def read_picture(part: Any, picture: Tensor) -> Tensor:
    """Return what a part sees [N,places,D] in pictures [N,3,H,W] of -1 … 1."""
    return part["conditioning1"](picture).flatten(2).transpose(1, 2)


def add(part: Any, given: Tensor, seen: Tensor) -> Tensor:
    """Return what is added to what a layer is `given` [B,places,D]; `seen` [B,places,d] is what the part saw."""
    inner = functional.relu(part["down"](given))
    inner = torch.cat([seen, inner], -1)
    return part["up"](functional.relu(part["mid"](inner)))
