"""Latents for networks that see them in patches."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

PATCH = 2  # latents per token, each way, of nearly every transformer


def fill_up(latents: Tensor, patch: int = PATCH) -> Tensor:
    """Return latents [B,C,h,w] whose sides are whole patches: what is missing repeats the right and lower edge."""
    height, width = latents.shape[-2:]
    return functional.pad(latents, (0, -width % patch, 0, -height % patch), mode="replicate")
