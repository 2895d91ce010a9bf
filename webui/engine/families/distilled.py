"""UNets that were distilled to be told how strongly the prompt shall guide them (LCM), instead of a negative prompt.

(Luo et al. 2023, Latent Consistency Models, arXiv:2310.04378, section 4.)
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from diffusers.models.embeddings import get_timestep_embedding
from torch import Tensor, nn

from webui.engine.condition import Condition, Encoding
from webui.weights.families.few_steps import TOLD_GUIDANCE
from webui.weights.memory import Resident


def told_guidance(model: Resident, encoding: Encoding) -> Tensor | None:
    """Return the guidance [] that the UNet of `model` is told, None when it is told none.

    As a second model, beside one that is told none, it is told the usual one.
    """
    if not model.checkpoint.configs["unet"].get("time_cond_proj_dim"):
        return None
    told = TOLD_GUIDANCE if encoding.distilled_guidance is None else encoding.distilled_guidance
    return model.place(torch.tensor(told, dtype=torch.float32))


def tell_guidance(network: nn.Module, condition: Condition, dtype: torch.dtype) -> Mapping[str, Tensor]:
    """Return what a UNet is told besides about the guidance of a batch."""
    if condition.guidance is None:
        return {}
    width = network.config.time_cond_proj_dim
    embedded = get_timestep_embedding((condition.guidance - 1) * 1000, width, downscale_freq_shift=1)
    return {"timestep_cond": embedded.to(dtype)}
