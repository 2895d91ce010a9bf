"""Latents → pictures."""

from __future__ import annotations

import logging

import torch
from PIL import Image
from torch import Tensor

from webui.errors import GenerationError
from webui.weights.memory import Resident, fetch, free_unused, is_out_of_memory

log = logging.getLogger(__name__)


@torch.inference_mode()
def decode(model: Resident, latents: Tensor) -> Image.Image:
    """Return the picture of one image's latents [C,h,w].

    When the device runs out of memory the latents are decoded in tiles; when a VAE in half precision overflows, it is
    switched to float32. Raises `GenerationError` when the picture still is not a number.
    """
    pixels = _decode_or_tile(model, latents)
    if not torch.isfinite(pixels).all():
        _refuse_broken_latents(latents)
        if model.dtype("vae") == torch.float32:
            raise GenerationError(
                "The VAE produced no picture (NaN).", hint="Its weights are damaged; use another model."
            )
        log.warning("The VAE overflowed in %s; it computes in float32 from now on.", model.dtype("vae"))
        model.recast("vae", torch.float32)
        pixels = _decode_or_tile(model, latents)
        if not torch.isfinite(pixels).all():
            raise GenerationError(
                "The VAE produced no picture (NaN), even in float32.",
                hint="Its weights are damaged; use another model.",
            )
    return to_image(pixels)


def to_image(pixels: Tensor) -> Image.Image:
    """Return the picture of [3,H,W] in -1 … 1. Fractions are cut off and not rounded, as A1111 does."""
    numbers = ((pixels / 2 + 0.5).clamp(0, 1) * 255).to(torch.uint8)
    return Image.fromarray(fetch(numbers.permute(1, 2, 0)).numpy())


def _decode_or_tile(model: Resident, latents: Tensor) -> Tensor:
    try:
        return _decode(model, latents)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
    log.warning("Too little memory to decode the picture in one piece; decoding it in tiles.")
    free_unused()
    return _decode(model, latents, tiled=True)


def _decode(model: Resident, latents: Tensor, *, tiled: bool = False) -> Tensor:
    """Return [3,H,W], float32."""
    with model.on_device("vae") as vae:
        if tiled:
            vae.enable_tiling()
        try:
            scaled = (latents.unsqueeze(0) / vae.config.scaling_factor).to(model.dtype("vae"))
            return vae.decode(scaled, return_dict=False)[0][0].float()
        finally:
            if tiled:
                vae.disable_tiling()


def _refuse_broken_latents(latents: Tensor) -> None:
    if not torch.isfinite(latents).all():
        raise GenerationError(
            "The network produced no picture (NaN): its numbers overflowed or its weights are damaged.",
            hint="Start Easel with --no-half, or use another model.",
        )
