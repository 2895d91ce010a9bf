"""How SD1 and its relatives ask their UNets."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from webui.engine.condition import Condition
from webui.engine.families.distilled import tell_guidance


def ask_unet(
    network: nn.Module,
    dtype: torch.dtype,
    latents: Tensor,
    timestep: Tensor,
    condition: Condition,
    **told: Mapping[str, Tensor | None],
) -> Tensor:
    """Return what a UNet that computes in `dtype` says about latents, float32; it is `told` more than the text where
    its family wants it."""
    output = network(
        latents.to(dtype),
        timestep,
        encoder_hidden_states=condition.states,
        return_dict=False,
        **told,
        **tell_guidance(network, condition, dtype),
    )
    return output[0].float()
