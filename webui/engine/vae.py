"""Latents ↔ pictures."""

from __future__ import annotations

import logging
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from webui.engine import coders
from webui.errors import GenerationError
from webui.weights.memory import Resident, fetch, free_unused, is_out_of_memory

log = logging.getLogger(__name__)

Compute = Callable[[nn.Module], Tensor]
"""What is done with the VAE: it is called again, with tiling on, when memory runs out."""


@torch.inference_mode()
def decode(model: Resident, latents: Tensor, component: str | None = None) -> Image.Image:
    """Return the picture of one image's latents [C,h,w], drawn by `component` or by the model's usual decoder.

    When the device runs out of memory the latents are decoded in tiles; when a VAE in half precision overflows, it is
    switched to float32. Raises `GenerationError` when the picture still is not a number.
    """

    component = component or model.decoder

    def compute(vae: nn.Module) -> Tensor:
        own = coders.denormalised(vae, latents.unsqueeze(0))
        return coders.to_pixels(vae, own.to(model.dtype(component)))[0].float()

    pixels = _compute_or_tile(model, component, compute)
    if not torch.isfinite(pixels).all():
        _refuse_broken_latents(latents)
        pixels = _compute_in_full(model, component, compute)
    return to_image(pixels)


@torch.inference_mode()
def encode(model: Resident, image: Image.Image) -> Tensor:
    """Return the latents [C,h,w] of an RGB picture whose sides are multiples of 8, float32, on the device.

    The VAE gives a distribution; this is its mean. Memory and overflow are dealt with as in `decode`.
    """
    return encode_pixels(model, model.place(to_pixels(image.convert("RGB"))) * 2 - 1)


@torch.inference_mode()
def encode_pixels(model: Resident, pixels: Tensor) -> Tensor:
    """Return the latents [C,h,w] of a picture [3,H,W] in -1 … 1, both on the device; otherwise as `encode`."""
    component = model.encoder

    def compute(vae: nn.Module) -> Tensor:
        own = coders.to_latents(vae, pixels.unsqueeze(0).to(model.dtype(component)))
        return coders.normalised(vae, own.float())[0]

    latents = _compute_or_tile(model, component, compute)
    return latents if torch.isfinite(latents).all() else _compute_in_full(model, component, compute)


def to_image(pixels: Tensor) -> Image.Image:
    """Return the picture of [3,H,W] in -1 … 1. Fractions are cut off and not rounded, as A1111 does."""
    numbers = ((pixels / 2 + 0.5).clamp(0, 1) * 255).to(torch.uint8)
    return Image.fromarray(fetch(numbers.permute(1, 2, 0)).numpy())


def to_pixels(image: Image.Image) -> Tensor:
    """Return [channels,H,W] in 0 … 1, float32, on the CPU."""
    numbers = torch.from_numpy(np.array(image))
    return (numbers if numbers.dim() == 3 else numbers.unsqueeze(-1)).permute(2, 0, 1).float() / 255


def _compute_or_tile(model: Resident, component: str, compute: Compute) -> Tensor:
    try:
        return _compute(model, component, compute)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
    log.warning("Too little memory to put the picture through the VAE in one piece; doing it in tiles.")
    free_unused()
    return _compute(model, component, compute, tiled=True)


def _compute(model: Resident, component: str, compute: Compute, *, tiled: bool = False) -> Tensor:
    with model.on_device(component) as vae:
        if tiled:
            vae.enable_tiling()
        try:
            return compute(vae)
        finally:
            if tiled:
                vae.disable_tiling()


def _compute_in_full(model: Resident, component: str, compute: Compute) -> Tensor:
    """Compute again in float32, and from now on; raise `GenerationError` when that does not help either."""
    if model.dtype(component) != torch.float32:
        log.warning("The VAE overflowed in %s; it computes in float32 from now on.", model.dtype(component))
        model.recast(component, torch.float32)
        result = _compute_or_tile(model, component, compute)
        if torch.isfinite(result).all():
            return result
    raise GenerationError(
        "The VAE produced no picture (NaN), even in float32.",
        hint="Its weights are damaged; use another VAE or another model.",
    )


def _refuse_broken_latents(latents: Tensor) -> None:
    if not torch.isfinite(latents).all():
        raise GenerationError(
            "The network produced no picture (NaN): its numbers overflowed or its weights are damaged.",
            hint="Start Easel with --no-half, or use another model.",
        )
