"""Tiny control networks of random weights, and plans with units, for tests of what ControlNet computes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw
from safetensors.torch import save_file
from torch import Tensor, nn

from extensions.controlnet.control import Control
from extensions.controlnet.facts import NAME, ControlFacts, ControlRef, UnitFacts
from webui.domain.models import Family
from webui.domain.plan import Plan
from webui.engine.engine import EngineOptions
from webui.engine.models import Models
from webui.engine.run import Modifier

HINT, HOLE, REGION, OTHER_HINT = "d" * 64, "e" * 64, "f" * 64, "b" * 64


def shapes(colours: bool = True, size: tuple[int, int] = (64, 64)) -> Image.Image:
    """Return a picture to be followed."""
    picture = Image.new("RGB", size, "black")
    draw = ImageDraw.Draw(picture)
    draw.rectangle((8, 20, 30, 50), outline="white", width=3)
    draw.ellipse((28, 6, 60, 40), outline="red" if colours else "white", width=3)
    return picture


def mask(size: tuple[int, int] = (64, 64)) -> Image.Image:
    """Return a mask that is white on its left half."""
    drawn = Image.new("L", size, 0)
    ImageDraw.Draw(drawn).rectangle((0, 0, size[0] // 2 - 1, size[1]), 255)
    return drawn


def control_models(options: EngineOptions) -> Models:
    """Return models that ControlNet steers, with all pictures that units name here."""
    control = Control()
    models = Models(options, [Modifier(NAME, patches=(control.enter,), guidance=(control.wrap_guidance,))])
    other = shapes(colours=False).transpose(Image.Transpose.ROTATE_90)
    models.inputs = MappingProxyType({HINT: shapes(), HOLE: mask(), REGION: mask(), OTHER_HINT: other})
    return models


def unit(path: Path | None, number: int = 0, family: Family | None = None, **changes: Any) -> UnitFacts:
    """Return a unit with the network at `path`; `kind` and `variant` are said of the network."""
    about = {key: changes.pop(key) for key in ("kind", "variant") if key in changes}
    model = None if path is None else ControlRef(name=path.stem, path=path, family=family, **about)
    return UnitFacts(**{"number": number, "image": HINT, "model": model, **changes})


def steered(plan: Plan, *units: UnitFacts) -> Plan:
    """Return `plan` with units."""
    return plan.told(NAME, ControlFacts(units=units))


def awake(network: nn.Module, seed: int = 3, spread: float = 0.2) -> nn.Module:
    """Return a control network whose last layers, which begin at zero, say something."""
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            if not parameter.any():
                parameter.copy_(torch.randn(parameter.shape, generator=draw) * spread)
    return network.eval()


def write_file(path: Path, weights: Mapping[str, Tensor]) -> Path:
    save_file({name: tensor.contiguous().clone() for name, tensor in weights.items()}, path)
    return path


def tokens_of(picture: Image.Image) -> Tensor:
    """Return a picture as diffusers' pipelines take it [1,3,H,W], 0 … 1."""
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1).unsqueeze(0).float() / 255


def hooks_of(network: nn.Module) -> list[str]:
    """Return which modules of a network have hooks."""
    return [name for name, module in network.named_modules() if module._forward_hooks or module._forward_pre_hooks]


def original_controlnet(weights: Mapping[str, Tensor], layers: int) -> dict[str, Tensor]:
    """Return a ControlNet's weights under the names of lllyasviel's files."""
    return {f"control_model.{_original(name, layers)}": tensor for name, tensor in weights.items()}


_TOP = {
    "time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0", "add_embedding.linear_2": "label_emb.0.2",
    "conv_in": "input_blocks.0.0", "controlnet_mid_block": "middle_block_out.0",
    "controlnet_cond_embedding.conv_in": "input_hint_block.0",
    "controlnet_cond_embedding.conv_out": "input_hint_block.14",
}  # fmt: skip
_RESNET = {
    "norm1": "in_layers.0", "conv1": "in_layers.2", "norm2": "out_layers.0", "conv2": "out_layers.3",
    "time_emb_proj": "emb_layers.1", "conv_shortcut": "skip_connection",
}  # fmt: skip


def _original(name: str, layers: int) -> str:
    place, _, leaf = name.rpartition(".")
    if place in _TOP:
        return f"{_TOP[place]}.{leaf}"
    parts = place.split(".")
    if parts[0] == "controlnet_cond_embedding":
        return f"input_hint_block.{2 * int(parts[2]) + 2}.{leaf}"
    if parts[0] == "controlnet_down_blocks":
        return f"zero_convs.{parts[1]}.0.{leaf}"
    if parts[0] == "mid_block":
        number = 1 if parts[1] == "attentions" else 2 * int(parts[2])
        return f"middle_block.{number}.{_inner(parts[1], parts[3:])}.{leaf}"
    level, kind, index = int(parts[1]), parts[2], int(parts[3])
    if kind == "downsamplers":
        return f"input_blocks.{(level + 1) * (layers + 1)}.0.op.{leaf}"
    number = 1 + level * (layers + 1) + index
    return f"input_blocks.{number}.{int(kind == 'attentions')}.{_inner(kind, parts[4:])}.{leaf}"


def _inner(kind: str, rest: Iterable[str]) -> str:
    return ".".join(_RESNET.get(part, part) if kind == "resnets" else part for part in rest)
