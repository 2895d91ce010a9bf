"""One file per model family: only what differs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Protocol

from torch import nn

from webui.domain.models import Family
from webui.engine.condition import Condition, Encoding
from webui.engine.denoise import Limit, NoiseLevels, Predict
from webui.engine.families import (
    auraflow,
    chroma,
    flux,
    flux2,
    hunyuan_dit,
    kolors,
    lumina2,
    pixart_alpha,
    pixart_sigma,
    playground,
    qwen_image,
    sana,
    sd1,
    sd3,
    sdxl,
    sdxl_refiner,
    z_image,
)
from webui.weights.checkpoint import Scaling
from webui.weights.memory import Resident


class FamilyRules(Protocol):
    """What a family's module says about its models."""

    SHRINK: int
    """Pixels per latent, each way."""

    LATENT_TO_RGB: Sequence[tuple[float, float, float]]
    """Latent channel → red, green, blue in -1 … 1, for previews."""

    def noise_levels(self, model: Resident, size: tuple[int, int]) -> NoiseLevels:
        """Return the sigmas the model was trained on, for pictures of `size` (width and height, pixels)."""

    def latent_shape(self, width: int, height: int) -> tuple[int, int, int]:
        """Return [C,h,w] of the latents of one image of `width` × `height` pixels."""

    def encode(self, model: Resident, text: str, encoding: Encoding, *, negative: bool = False) -> Condition:
        """Return the condition of `text`, float32, on the device."""

    def make_predict(self, model: Resident, network: nn.Module) -> Predict:
        """Return the network call."""


_RULES: Mapping[Family, FamilyRules] = MappingProxyType(
    {
        Family.SD1: sd1,
        Family.SD2: sd1,
        Family.SDXL: sdxl,
        Family.SDXL_REFINER: sdxl_refiner,
        Family.PLAYGROUND: playground,
        Family.FLUX: flux,
        Family.FLUX2: flux2,
        Family.QWEN_IMAGE: qwen_image,
        Family.Z_IMAGE: z_image,
        Family.CHROMA: chroma,
        Family.SD3: sd3,
        Family.PIXART_ALPHA: pixart_alpha,
        Family.PIXART_SIGMA: pixart_sigma,
        Family.AURAFLOW: auraflow,
        Family.SANA: sana,
        Family.LUMINA2: lumina2,
        Family.HUNYUAN_DIT: hunyuan_dit,
        Family.KOLORS: kolors,
    }
)


def find(family: Family) -> FamilyRules:
    """Return the rules of `family`."""
    return _RULES[family]


def find_limit(family: Family) -> Limit | None:
    """Return how `family` limits what guidance makes of the network's output, None where it does not."""
    return qwen_image.keep_norms if family is Family.QWEN_IMAGE else None


def find_taesd_scaling(family: Family) -> Scaling:
    """Return how the latents of `family` differ from those that its TAESD was made for."""
    return playground.TAESD_SCALING if family is Family.PLAYGROUND else {}
