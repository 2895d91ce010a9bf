"""What a foreign pipeline's latents look like by now, where that can be told."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import AutoencoderKL, DiffusionPipeline, VQModel
from PIL import Image
from torch import Tensor
from torch.nn import functional

from webui.engine.vae import to_image

_SMALL = 32  # latents on the longer side: decoded, they cost little beside a step


def show(pipeline: DiffusionPipeline, latents: Tensor, *, whole: bool) -> Image.Image | None:
    """Return the first picture of `latents`, in its own size if `whole`; None when nobody knows how to show them.

    Shown are latents [B,C,h,w] of an AutoencoderKL or a MoVQ, tokens [B,h,w] of a VQ-GAN, and pixels [B,3,H,W] where
    there is no decoder at all.
    """
    first = latents[:1]
    vae, movq, codes = (getattr(pipeline, name, None) for name in ("vae", "movq", "vqvae"))
    with torch.inference_mode():
        if isinstance(codes, VQModel) and first.dim() == 3 and not first.is_floating_point():
            pixels = _decode_tokens(codes, first)
        elif isinstance(movq, VQModel) and _fits(first, movq):
            pixels = movq.decode(_small(first, whole).to(movq.dtype), force_not_quantize=True, return_dict=False)[0]
        elif isinstance(vae := vae or codes, AutoencoderKL) and _fits(first, vae):
            own = _small(first, whole) / vae.config.scaling_factor + (vae.config.shift_factor or 0)
            pixels = vae.decode(own.to(vae.dtype), return_dict=False)[0]
        elif first.dim() == 4 and first.shape[1] == 3 and not (vae or movq or codes):
            pixels = first
        else:
            return None
    return to_image(pixels[0].float()) if torch.isfinite(pixels).all() else None


def _fits(latents: Tensor, vae: Any) -> bool:
    return latents.dim() == 4 and latents.shape[1] == vae.config.latent_channels


def _small(latents: Tensor, whole: bool) -> Tensor:
    longest = max(latents.shape[-2:])
    if whole or longest <= _SMALL:
        return latents
    return functional.interpolate(latents.float(), scale_factor=_SMALL / longest, mode="area")


def _decode_tokens(vqvae: VQModel, tokens: Tensor) -> Tensor:
    """Return the pixels of tokens [1,h,w]; what is still masked is drawn as the last token."""
    known = tokens.clamp(max=vqvae.config.num_vq_embeddings - 1)
    shape = (*tokens.shape, vqvae.config.latent_channels)
    return vqvae.decode(known, force_not_quantize=True, shape=shape, return_dict=False)[0] * 2 - 1
