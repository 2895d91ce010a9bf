"""A small picture of unfinished latents: what the network believes the clean image looks like by now."""

from __future__ import annotations

import torch
from PIL import Image
from torch import Tensor

from webui.domain.models import Family
from webui.domain.plan import PreviewPlan
from webui.engine import families
from webui.engine.outfit import TAESD_DECODER
from webui.engine.vae import decode, to_image
from webui.errors import GenerationError
from webui.weights.memory import Resident


def is_due(step: int, steps: int, every: int) -> bool:
    """Tell whether step `step` (from 1) of `steps` is to be shown. The last never is: the picture itself follows."""
    return every > 0 and step % every == 0 and step < steps


def render(model: Resident, denoised: Tensor, preview: PreviewPlan) -> Image.Image | None:
    """Return the first image of `denoised` [B,C,h,w], at most as large as the plan says; None if it is NaN.

    A real VAE would cost as much as a step, so unless it is asked for, a linear map of the latents stands in.
    """
    if preview.method == "Approx" and not model.vae_is_small:
        image = approximate(denoised[0], model.checkpoint.family)
    else:
        try:
            image = decode(model, denoised[0], TAESD_DECODER if preview.method == "TAESD" else "vae")
        except GenerationError:
            return None
    image.thumbnail((preview.size, preview.size))
    return image


@torch.inference_mode()
def approximate(latents: Tensor, family: Family) -> Image.Image:
    """Return a picture with one pixel per latent [C,h,w], enlarged to its full size."""
    rules = families.find(family)
    factors = torch.tensor(rules.LATENT_TO_RGB, device=latents.device, dtype=latents.dtype)
    small = to_image(torch.einsum("chw,cr->rhw", latents, factors))
    return small.resize((small.width * rules.SHRINK, small.height * rules.SHRINK), Image.Resampling.BILINEAR)
