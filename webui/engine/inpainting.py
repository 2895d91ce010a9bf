"""What some checkpoints see beside the noisy latents: for inpainting a mask, and the picture around it; for editing the
picture that an instruction changes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from webui.domain.models import CONTROLLED, EDITING, KONTEXT
from webui.domain.plan import Plan
from webui.domain.start import FromMaskedImage
from webui.engine import families
from webui.engine.vae import encode, encode_pixels, to_pixels
from webui.images.canvas import Canvas
from webui.images.resize import resize
from webui.weights.checkpoint import EdmSchedule
from webui.weights.memory import Resident


@torch.inference_mode()
def see_beside(
    model: Resident, plan: Plan, canvases: Sequence[Canvas], count: int, size: tuple[int, int]
) -> Tensor | None:
    """Return the channels [B,k,h,w] that go behind the latents of `count` images of `size` (h, w); usually None.

    For inpainting the first is 1 where is to be painted, the others are the latents of the picture with grey in these
    places. Without pictures (`canvases`) all is to be painted, and all is grey (A1111). For editing they are the
    latents of the picture, and nothing where there is none. Kontext is shown the picture's latents if there is one,
    what follows a picture always.
    Flux looks at every pixel of a mask, behind the latents.
    """
    variant = model.checkpoint.variant
    if variant not in (EDITING, KONTEXT, CONTROLLED, "inpainting") or (variant == KONTEXT and not canvases):
        return None
    shrink = families.find(model.checkpoint.family).SHRINK
    width, height = size[1] * shrink, size[0] * shrink
    if variant == EDITING:
        return _see_to_edit(model, canvases, count, size)
    if variant in (KONTEXT, CONTROLLED):
        pictures = [resize(canvas.picture, width, height, "just_resize") for canvas in canvases]
        return torch.stack([encode(model, picture) for picture in pictures])
    if not canvases:
        grey = encode_pixels(model, model.place(torch.zeros(3, height, width)))
        mask = model.place(torch.ones(1, height, width))
        return _beside(model, mask, grey).expand(count, -1, -1, -1)
    soft = isinstance(plan.start, FromMaskedImage) and plan.start.soft
    return torch.stack(
        [_see_canvas(model, canvas, plan.picture.mask_weight, soft, width, height) for canvas in canvases]
    )


def _see_to_edit(model: Resident, canvases: Sequence[Canvas], count: int, size: tuple[int, int]) -> Tensor:
    """Return [B,4,h,w] of the pictures that an instruction edits.

    InstructPix2Pix was trained on the VAE's own latents, CosXL's edit model on such as are denoised (ComfyUI).
    """
    if not canvases:
        return model.place(torch.zeros(count, 4, *size))
    shrink = families.find(model.checkpoint.family).SHRINK
    scale = 1.0 if isinstance(model.checkpoint.noise, EdmSchedule) else model.network("vae").config.scaling_factor
    pictures = [resize(canvas.picture, size[1] * shrink, size[0] * shrink, "just_resize") for canvas in canvases]
    return torch.stack([encode(model, picture) / scale for picture in pictures])


def _see_canvas(model: Resident, canvas: Canvas, weight: float, soft: bool, width: int, height: int) -> Tensor:
    """Return [k,h,w] of one canvas; at `weight` 0 the picture shows under the mask, at 1 it does not."""
    pixels = model.place(to_pixels(resize(canvas.picture, width, height, "just_resize"))) * 2 - 1
    mask = torch.ones_like(pixels[:1])
    if canvas.mask is not None:
        mask = model.place(to_pixels(resize(canvas.mask, width, height, "just_resize")))
        mask = mask if soft else mask.round()
    latents = encode_pixels(model, pixels * (1 - mask * weight))
    return _beside(model, mask, latents)


def _beside(model: Resident, mask: Tensor, latents: Tensor) -> Tensor:
    """Return a mask [1,H,W] and latents [C,h,w] as the network sees them: one number of the mask for each latent in
    front, or, for Flux, all of them behind."""
    if model.checkpoint.parts[model.denoiser].network == "FluxTransformer2DModel":
        return torch.cat([latents, functional.pixel_unshuffle(mask, mask.shape[-1] // latents.shape[-1])])
    small = functional.interpolate(mask.unsqueeze(0), size=tuple(latents.shape[-2:]))[0]
    return torch.cat([small, latents])
