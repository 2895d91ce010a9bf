"""PixArt-Σ: PixArt-α with longer texts and SDXL's latents. (Chen et al. 2024, arXiv:2403.04692.)"""

from __future__ import annotations

import torch

from webui.engine.condition import Condition, Encoding
from webui.engine.families.pixart_alpha import make_predict, read_small
from webui.engine.families.sdxl import LATENT_TO_RGB, SHRINK, latent_shape, noise_levels
from webui.weights.memory import Resident

__all__ = ["LATENT_TO_RGB", "SHRINK", "encode", "latent_shape", "make_predict", "noise_levels"]

LONGEST = 300  # tokens of T5 that it was trained on


@torch.inference_mode()
def encode(model: Resident, text: str, encoding: Encoding, *, negative: bool = False) -> Condition:
    """Return the condition of `text`, float32, on the device; otherwise as PixArt-α's."""
    return read_small(model, text, encoding, LONGEST)
