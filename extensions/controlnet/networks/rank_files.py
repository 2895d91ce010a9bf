"""Control-LoRA: a ControlNet kept as its difference from the checkpoint's UNet, most of it of low rank.

(Stability AI 2023, huggingface.co/stabilityai/control-lora.)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from diffusers import ControlNetModel
from torch import Tensor, nn

from extensions.controlnet.families import bad_control
from extensions.controlnet.networks.reading import ControlFile, fill
from extensions.controlnet.networks.unets import find_config, refuse_other_unet, rename

MARK = "lora_controlnet"  # a tensor that says what the file is


@dataclass(frozen=True, eq=False)
class _Difference:
    """A matrix up · down [out,in…] that is added to the UNet's."""

    up: Tensor
    down: Tensor

    def added_to(self, own: Tensor) -> Tensor:
        product = self.up.float().flatten(1) @ self.down.float().flatten(1)
        return own.float() + product.reshape(own.shape)


def load_control_lora(
    file: ControlFile, unet: Mapping[str, Any], own: Mapping[str, Tensor], dtype: torch.dtype
) -> nn.Module:
    """Return the ControlNet that `file` makes of a UNet's `own` weights (by diffusers' names) and configuration.

    What the file does not hold is as in the UNet. Raises `BadFile` when the two do not go together.
    """
    whole = {name: tensor for name, tensor in file.weights.items() if not name.endswith((".up", ".down", MARK))}
    places = [name[:-3] for name in file.weights if name.endswith(".up")]
    differences = {f"{at}.weight": _Difference(file.weights[f"{at}.up"], file.weights[f"{at}.down"]) for at in places}
    renamed = rename(replace(file, weights={**whole, **differences}))
    made = {name: _merge(file.name, name, entry, own) for name, entry in renamed.weights.items()}
    # The numbers of layers are those of the UNet; its way up and what is behind have no place in a ControlNet.
    base = {name: tensor for name, tensor in own.items() if name.startswith(_WAY_DOWN) and name not in made}
    merged = replace(file, weights={**base, **made})
    config = find_config(merged, unet)
    refuse_other_unet(file.name, config, unet)
    return fill(ControlNetModel, config, merged, dtype)


_WAY_DOWN = ("conv_in.", "time_embedding.", "add_embedding.", "down_blocks.", "mid_block.")


def _merge(file: str, name: str, entry: Any, own: Mapping[str, Tensor]) -> Tensor:
    if not isinstance(entry, _Difference):
        return torch.as_tensor(entry)
    if name not in own or own[name].shape.numel() != entry.up.shape[0] * entry.down[0].numel():
        raise bad_control(file, f"its {name} fits no weight of this checkpoint", "Choose one of the same family.")
    return entry.added_to(own[name].cpu())
