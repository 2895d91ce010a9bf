"""Tiny random upscalers in the ways their files are named, and what they compute, written down a second time."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

Weights = dict[str, Tensor]

FEATURES, GROWTH, BLOCKS = 6, 4, 2


def rrdb_weights(inputs: int = 3, doublings: int = 2, seed: int = 0) -> Weights:
    """Return a network's weights under Real-ESRGAN's names."""
    shapes: dict[str, tuple[int, int]] = {"conv_first": (FEATURES, inputs)}
    for block in range(BLOCKS):
        for dense in (1, 2, 3):
            for number in range(1, 6):
                width = FEATURES if number == 5 else GROWTH
                shapes[f"body.{block}.rdb{dense}.conv{number}"] = (width, FEATURES + (number - 1) * GROWTH)
    shapes["conv_body"] = (FEATURES, FEATURES)
    shapes |= {f"conv_up{number}": (FEATURES, FEATURES) for number in range(1, doublings + 1)}
    shapes |= {"conv_hr": (FEATURES, FEATURES), "conv_last": (3, FEATURES)}
    return _random(shapes, seed)


def compact_weights(scale: int = 2, convolutions: int = 3, features: int = 8, seed: int = 0) -> Weights:
    """Return a compact network's weights: convolutions at even places of `body`, slopes between them."""
    shapes = {"body.0": (features, 3)}
    shapes |= {f"body.{2 * number}": (features, features) for number in range(1, convolutions + 1)}
    shapes[f"body.{2 * convolutions + 2}"] = (3 * scale * scale, features)
    weights = _random(shapes, seed)
    torch.manual_seed(seed + 1)
    return weights | {f"body.{2 * number + 1}.weight": torch.rand(features) for number in range(convolutions + 1)}


def _random(shapes: dict[str, tuple[int, int]], seed: int) -> Weights:
    torch.manual_seed(seed)
    weights: Weights = {}
    for name, (outputs, inputs) in shapes.items():
        weights[f"{name}.weight"] = torch.randn(outputs, inputs, 3, 3) / (inputs * 9) ** 0.5
        weights[f"{name}.bias"] = torch.randn(outputs) * 0.1
    return weights


def oldest_names(weights: Weights, doublings: int = 2) -> Weights:
    """Return the same weights as the first ESRGAN files name them: layers numbered, gaps for what has no weights."""
    ends = {f"conv_up{number}": f"model.{3 * number}" for number in range(1, doublings + 1)}
    after = 3 * doublings + 2
    ends |= {"conv_first": "model.0", "conv_body": f"model.1.sub.{BLOCKS}"}
    ends |= {"conv_hr": f"model.{after}", "conv_last": f"model.{after + 2}"}
    renamed: Weights = {}
    for name, tensor in weights.items():
        layer, _, leaf = name.rpartition(".")
        if layer.startswith("body."):
            _, block, dense, convolution = layer.split(".")
            layer = f"model.1.sub.{block}.{dense.upper()}.{convolution}.0"
        else:
            layer = ends[layer]
        renamed[f"{layer}.{leaf}"] = tensor
    return renamed


def paper_names(weights: Weights) -> Weights:
    """Return the same weights as the paper's own code names them."""
    ends = {"conv_body": "trunk_conv", "conv_hr": "HRconv", "conv_up1": "upconv1", "conv_up2": "upconv2"}
    renamed: Weights = {}
    for name, tensor in weights.items():
        layer, _, leaf = name.rpartition(".")
        if layer.startswith("body."):
            layer = layer.replace("body.", "RRDB_trunk.").replace("rdb", "RDB")
        renamed[f"{ends.get(layer, layer)}.{leaf}"] = tensor
    return renamed


def write(path: Path, weights: Weights, prefix: str = "") -> Path:
    """Write weights to a safetensors file and return it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({f"{prefix}{name}": tensor for name, tensor in weights.items()}, path)
    return path


def compute_rrdb(weights: Weights, x: Tensor, unshuffle: int = 1, doublings: int = 2) -> Tensor:
    """What such a network computes, key by key."""

    def layer(name: str, value: Tensor) -> Tensor:
        return functional.conv2d(value, weights[f"{name}.weight"], weights[f"{name}.bias"], padding=1)

    def bent(value: Tensor) -> Tensor:
        return torch.where(value < 0, value * 0.2, value)

    if unshuffle > 1:
        rows = [x[:, :, row::unshuffle, column::unshuffle] for row in range(unshuffle) for column in range(unshuffle)]
        x = torch.stack(rows, 2).flatten(1, 2)
    first = layer("conv_first", x)
    value = first
    for block in range(BLOCKS):
        before_block = value
        for dense in (1, 2, 3):
            parts = [value]
            for number in (1, 2, 3, 4):
                parts.append(bent(layer(f"body.{block}.rdb{dense}.conv{number}", torch.cat(parts, 1))))
            value = value + 0.2 * layer(f"body.{block}.rdb{dense}.conv5", torch.cat(parts, 1))
        value = before_block + 0.2 * value
    value = first + layer("conv_body", value)
    for number in range(1, doublings + 1):
        value = bent(layer(f"conv_up{number}", value.repeat_interleave(2, 2).repeat_interleave(2, 3)))
    return layer("conv_last", bent(layer("conv_hr", value)))


def compute_compact(weights: Weights, x: Tensor, scale: int) -> Tensor:
    """What such a network computes, key by key."""
    value, number = x, 0
    while f"body.{number}.bias" in weights:
        value = functional.conv2d(value, weights[f"body.{number}.weight"], weights[f"body.{number}.bias"], padding=1)
        slope = weights.get(f"body.{number + 1}.weight")
        if slope is not None:
            value = torch.where(value < 0, value * slope[:, None, None], value)
        number += 2
    batch, _, height, width = value.shape
    value = value.reshape(batch, 3, scale, scale, height, width).permute(0, 1, 4, 2, 5, 3)
    enlarged = x.repeat_interleave(scale, 2).repeat_interleave(scale, 3)
    return value.reshape(batch, 3, height * scale, width * scale) + enlarged
