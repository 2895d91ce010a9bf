"""A small picture of unfinished latents: what the network believes the clean image looks like by now."""

from __future__ import annotations

import weakref
from functools import lru_cache

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from webui.domain.plan import PreviewPlan
from webui.engine import families
from webui.engine.outfit import TAESD_DECODER
from webui.engine.vae import decode, encode_pixels, to_image
from webui.errors import GenerationError
from webui.weights.memory import Resident, fetch

_MOSAIC = 16  # latents a side, of four to a colour


def is_due(step: int, steps: int, every: int) -> bool:
    """Tell whether step `step` (from 1) of `steps` is to be shown. The last never is: the picture itself follows."""
    return every > 0 and step % every == 0 and step < steps


def render(
    model: Resident, denoised: Tensor, preview: PreviewPlan, size: tuple[int, int] | None = None
) -> Image.Image | None:
    """Return the first image of `denoised` [B,C,h,w], at most as large as the plan says; None if it is NaN. What
    reaches beyond `size` (width and height) is cut off.

    A real VAE would cost as much as a step, so unless it is asked for, a linear map of the latents stands in.
    """
    if preview.method == "Approx" and not model.vae_is_small:
        image = approximate(model, denoised[0])
        image = image if size is None else image.crop((0, 0, *size))
    else:
        try:
            image = decode(model, denoised[0], TAESD_DECODER if preview.method == "TAESD" else "vae", size)
        except GenerationError:
            return None
    image.thumbnail((preview.size, preview.size))
    return image


@torch.inference_mode()
def approximate(model: Resident, latents: Tensor) -> Image.Image:
    """Return a picture with one pixel per latent [C,h,w], enlarged to its full size."""
    rules = families.find(model.checkpoint.family)
    if rules.LATENT_TO_RGB:
        factors = torch.tensor(rules.LATENT_TO_RGB, device=latents.device, dtype=latents.dtype)
    else:
        factors = model.place(_fit_colours(weakref.ref(model), rules.SHRINK)).to(latents)
    channels = functional.pad(latents, (0, 0, 0, 0, 0, len(factors) - len(latents)), value=1.0)
    small = to_image(torch.einsum("chw,cr->rhw", channels, factors))
    return small.resize((small.width * rules.SHRINK, small.height * rules.SHRINK), Image.Resampling.BILINEAR)


@lru_cache(maxsize=8)
def _fit_colours(reference: weakref.ref[Resident], shrink: int) -> Tensor:
    """Return latent channel and 1 → red, green, blue in -1 … 1, [C+1,3] on the CPU: the least-squares fit to what the
    model's own VAE makes of a mosaic. It is made once for each model, and keeps none in memory."""
    model = reference()
    assert model is not None
    colours = torch.rand(3, _MOSAIC // 2, _MOSAIC // 2, generator=torch.Generator().manual_seed(0)) * 2 - 1
    wanted = colours.repeat_interleave(2, 1).repeat_interleave(2, 2)
    pixels = wanted.repeat_interleave(shrink, 1).repeat_interleave(shrink, 2)
    given = fetch(encode_pixels(model, model.place(pixels))).flatten(1)
    given = torch.cat([given, torch.ones(1, given.shape[1])])
    return torch.linalg.lstsq(given.T, wanted.flatten(1).T, driver="gelsd").solution
