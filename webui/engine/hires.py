"""Between the two passes: what the first one made is enlarged, as latents or as pictures."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from webui.domain.models import Family
from webui.domain.plan import HiresPlan
from webui.domain.upscaling import LATENT_UPSCALERS
from webui.engine import families
from webui.engine.vae import encode
from webui.weights.memory import Resident


@torch.inference_mode()
def encode_pictures(pictures: Sequence[Image.Image | None], plan: HiresPlan, model: Resident) -> Tensor:
    """Return the latents [B,C,h,w] of `pictures` in the size of the second pass. Those of None are no numbers."""
    family = model.checkpoint.family
    broken = model.place(torch.full(families.find(family).latent_shape(*plan.enlarged), torch.nan))
    latents = torch.stack([broken if picture is None else encode(model, picture) for picture in pictures])
    return enlarge_latents(latents, plan, family) if plan.upscaler.kind == "latent" else _crop(latents, plan, family)


@torch.inference_mode()
def enlarge_latents(latents: Tensor, plan: HiresPlan, family: Family) -> Tensor:
    """Return `latents` [B,C,h,w] in the size of the second pass, by a latent upscaler."""
    mode, antialias = LATENT_UPSCALERS[plan.upscaler.name]
    _, height, width = families.find(family).latent_shape(*plan.enlarged)
    return _crop(functional.interpolate(latents, (height, width), mode=mode, antialias=antialias), plan, family)


def _crop(latents: Tensor, plan: HiresPlan, family: Family) -> Tensor:
    """Cut off evenly what is more than the second pass computes; of an odd rest the larger half at the end (A1111)."""
    _, height, width = families.find(family).latent_shape(plan.width, plan.height)
    top, left = (latents.shape[2] - height) // 2, (latents.shape[3] - width) // 2
    return latents[:, :, top : top + height, left : left + width]
