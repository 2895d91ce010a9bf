"""Where sampling begins: pure noise, or a picture's latents with as much noise as the first step expects."""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from webui.domain.plan import Plan
from webui.domain.start import FromExtendedImage, FromMaskedImage
from webui.engine import families
from webui.engine.denoise import Denoise, NoiseLevels
from webui.engine.samplers import Sampler
from webui.engine.vae import encode, to_pixels
from webui.images.canvas import Canvas
from webui.weights.memory import Resident


@dataclass(frozen=True)
class Begin:
    """The latents [B,C,h,w] at the first noise level, and what is kept: `original` where `mask` [B,1,h,w] is 0."""

    latents: Tensor
    original: Tensor | None = None
    mask: Tensor | None = None
    soft: bool = False

    def wrap(self, denoise: Denoise, sigmas: Sequence[float]) -> Denoise:
        """Return the denoiser that keeps what is not to be painted."""
        if self.original is None or self.mask is None:
            return denoise
        if self.soft:
            return keep_less_and_less(denoise, self.original, self.mask, sigmas)
        return keep_unmasked(denoise, self.original, self.mask)


def keep_unmasked(denoise: Denoise, original: Tensor, mask: Tensor) -> Denoise:
    """Inpainting: where `mask` is 0 the clean latents are known, so the prediction is replaced by them."""
    return lambda latents, sigma: original + (denoise(latents, sigma) - original) * mask


def keep_less_and_less(denoise: Denoise, original: Tensor, mask: Tensor, sigmas: Sequence[float]) -> Denoise:
    """Soft inpainting: each step may paint where `mask` is above a threshold that falls to 0 over the steps.

    Levin & Fried 2023, Differential Diffusion, arXiv:2306.00950. A grey of 0.3 is painted in the last 30 % of steps.
    """
    rising = sorted(sigmas[:-1])

    def denoise_some(latents: Tensor, sigma: float) -> Tensor:
        threshold = bisect.bisect_left(rising, sigma) / len(rising)
        return keep_unmasked(denoise, original, (mask > threshold).to(mask.dtype))(latents, sigma)

    return denoise_some


@torch.inference_mode()
def begin(
    model: Resident,
    plan: Plan,
    canvases: Sequence[Canvas],
    noise: Tensor,
    sampler: Sampler,
    sigma: float,
    levels: NoiseLevels,
) -> Begin:
    """Return where a batch begins: at `noise` [B,C,h,w] alone, or with the pictures of `canvases`."""
    if not canvases:
        return Begin(sampler.start(noise, sigma))
    size = noise.shape[-2:]
    original = torch.stack([_fit(encode(model, canvas.picture), size) for canvas in canvases])
    added, extra, start = noise * plan.picture.noise_multiplier, plan.picture.extra_noise, plan.start
    if not isinstance(start, FromMaskedImage | FromExtendedImage):
        return Begin(levels.noised(original, added, sigma, extra))
    soft = isinstance(start, FromMaskedImage) and start.soft
    shrink = families.find(model.checkpoint.family).SHRINK
    mask = model.place(torch.stack([latent_mask(canvas.mask, size, shrink, soft=soft) for canvas in canvases]))
    if start.content == "latent_noise":
        original = original + (noise - original) * mask
    elif start.content == "latent_nothing":
        original = original * (1 - mask)
    return Begin(levels.noised(original, added, sigma, extra), original, mask, soft)


def _fit(latents: Tensor, size: Sequence[int]) -> Tensor:
    """Return `latents` [C,h,w] in another size ("just resize (latent upscale)")."""
    if latents.shape[-2:] == size:
        return latents
    return functional.interpolate(latents.unsqueeze(0), size=tuple(size), mode="bilinear")[0]


def latent_mask(mask: Image.Image | None, size: Sequence[int], shrink: int, *, soft: bool) -> Tensor:
    """Return `mask` as [1,h,w] in 0 … 1 for latents of `shrink` pixels a side; all or nothing unless `soft`."""
    assert mask is not None
    small = _whole(mask, shrink).resize((size[1], size[0]), Image.Resampling.BICUBIC)
    shares = to_pixels(small)
    return shares if soft else shares.round()


def _whole(mask: Image.Image, shrink: int) -> Image.Image:
    """Return `mask` with its right and lower edges repeated, as those of the picture are for whole latents."""
    numbers = np.asarray(mask)
    return Image.fromarray(np.pad(numbers, ((0, -mask.height % shrink), (0, -mask.width % shrink)), mode="edge"))
