"""T2I-Adapters: a small network that reads a picture once and adds to each level of a UNet's way down.

(Mou et al. 2023, arXiv:2302.08453.)
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import torch
from diffusers import T2IAdapter
from torch import nn

from extensions.controlnet.families import bad_control
from extensions.controlnet.networks.reading import ControlFile, fill

_LIGHT = re.compile(r"body\.(\d+)\.body\.(\d+)\.(block[12])\.(weight|bias)")
_FULL = re.compile(r"body\.(\d+)\.(in_conv|block[12])\.(weight|bias)")
_UNSHUFFLED = (8, 16)  # pixels, each way, that become one place: SD1's and SDXL's
_LAYERS = 2  # of each level of the full adapters in their authors' files


def load_adapter(file: ControlFile, dtype: torch.dtype) -> nn.Module:
    """Return the T2I-Adapter (full, light, or SDXL's) in `file`, in its authors' layout or in diffusers'."""
    if any(name.startswith("transformer_layes.") for name in file.weights):
        raise bad_control(file.name, "T2I-Adapters that read a style through CLIP are not supported")
    file = rename(file)
    return fill(T2IAdapter, file.config or find_config(file), file, dtype)


def rename(file: ControlFile) -> ControlFile:
    """Return the weights under diffusers' names."""
    plain = {name.removeprefix("adapter."): tensor for name, tensor in file.weights.items()}
    modern = any(".resnets." in name for name in plain)
    light = any(_LIGHT.fullmatch(name) for name in plain)
    renamed = {f"adapter.{name if modern else _rename(name, light)}": tensor for name, tensor in plain.items()}
    return replace(file, weights=renamed)


def _rename(name: str, light: bool) -> str:
    """Return diffusers' name of a weight in the authors' files."""
    found = (_LIGHT if light else _FULL).fullmatch(name)
    if found is None:
        return name
    if light:
        level, layer, part, leaf = found.groups()
        return f"body.{level}.resnets.{layer}.{part}.{leaf}"
    number, part, leaf = found.groups()
    level, layer = divmod(int(number), _LAYERS)
    return f"body.{level}.in_conv.{leaf}" if part == "in_conv" else f"body.{level}.resnets.{layer}.{part}.{leaf}"


def find_config(file: ControlFile) -> dict[str, Any]:
    """Return the configuration that the shapes tell."""
    light = "adapter.conv_in.weight" not in file.weights
    first = "adapter.body.0.in_conv.weight" if light else "adapter.conv_in.weight"
    seen = file.size(first, 1)
    unshuffle = next((side for side in reversed(_UNSHUFFLED) if seen in (side**2, 3 * side**2)), None)
    if unshuffle is None:
        raise bad_control(file.name, f"its first layer sees {seen} numbers of a place, as no known T2I-Adapter does")
    levels = file.count("adapter.body.")
    last = "out_conv" if light else "resnets.0.block2"
    widths = [file.size(f"adapter.body.{level}.{last}.weight") for level in range(levels)]
    return {
        "in_channels": seen // unshuffle**2,
        # The last two levels of a light adapter are of one width, told once.
        "channels": widths[:-1] if light else widths,
        "num_res_blocks": file.count("adapter.body.0.resnets."),
        "downscale_factor": unshuffle,
        "adapter_type": "light_adapter" if light else "full_adapter_xl" if unshuffle == 16 else "full_adapter",
    }
