"""Latents ↔ pictures."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from webui.engine import coders
from webui.engine.families.patches import fill_up
from webui.engine.vae_tiles import compute_in_tiles
from webui.errors import GenerationError
from webui.weights.memory import Resident, drop_what_it_held, fetch, is_out_of_memory
from webui.weights.memory_plan.footprint import shrink
from webui.weights.memory_plan.plan import next_tile

log = logging.getLogger(__name__)

Compute = Callable[[nn.Module, Tensor], Tensor]
"""What is done with a VAE and what it is given [C,h,w], the whole or a tile of it."""


@torch.inference_mode()
def decode(
    model: Resident, latents: Tensor, component: str | None = None, size: tuple[int, int] | None = None
) -> Image.Image:
    """Return the picture of one image's latents [C,h,w], drawn by `component` or by the model's usual decoder.

    What reaches beyond `size` (width and height) is cut off: latents may stand for more pixels than are wanted. Those
    that the device has no room to decode in one piece are decoded in tiles; when a VAE in half precision overflows, it
    is switched to float32. Raises `GenerationError` when the picture still is not a number.
    """
    component = component or model.decoder

    def compute(vae: nn.Module, latents: Tensor) -> Tensor:
        own = coders.denormalised(vae, latents.unsqueeze(0))
        return coders.to_pixels(vae, own.to(model.dtype(component)))[0].float()

    task = _Task(model, component, compute, latents, 1)
    pixels = task.run()
    if not torch.isfinite(pixels).all():
        _refuse_broken_latents(latents)
        pixels = task.run_in_full()
    return to_image(pixels if size is None else pixels[:, : size[1], : size[0]])


@torch.inference_mode()
def encode(model: Resident, image: Image.Image) -> Tensor:
    """Return the latents [C,h,w] of an RGB picture, float32, on the device. Where its sides are no whole latents, its
    right and lower edges are repeated.

    The VAE gives a distribution; this is its mean. Memory and overflow are dealt with as in `decode`.
    """
    return encode_pixels(model, model.place(to_pixels(image.convert("RGB"))) * 2 - 1)


@torch.inference_mode()
def encode_pixels(model: Resident, pixels: Tensor) -> Tensor:
    """Return the latents [C,h,w] of a picture [3,H,W] in -1 … 1, both on the device; otherwise as `encode`."""
    component = model.encoder

    def compute(vae: nn.Module, pixels: Tensor) -> Tensor:
        own = coders.to_latents(vae, pixels.unsqueeze(0).to(model.dtype(component)))
        return coders.normalised(vae, own.float())[0]

    side = shrink(model.network(component).config)
    task = _Task(model, component, compute, fill_up(pixels.unsqueeze(0), side)[0], side)
    latents = task.run()
    return latents if torch.isfinite(latents).all() else task.run_in_full()


def to_image(pixels: Tensor) -> Image.Image:
    """Return the picture of [3,H,W] in -1 … 1. Fractions are cut off and not rounded, as A1111 does."""
    numbers = ((pixels / 2 + 0.5).clamp(0, 1) * 255).to(torch.uint8)
    return Image.fromarray(fetch(numbers.permute(1, 2, 0)).numpy())


def to_pixels(image: Image.Image) -> Tensor:
    """Return [channels,H,W] in 0 … 1, float32, on the CPU."""
    numbers = torch.from_numpy(np.array(image))
    return (numbers if numbers.dim() == 3 else numbers.unsqueeze(-1)).permute(2, 0, 1).float() / 255


@dataclass(frozen=True)
class _Task:
    """Something [C,h,w] that is put through a VAE; `shrink` of its places are one latent, each way."""

    model: Resident
    component: str
    compute: Compute
    given: Tensor
    shrink: int

    def run(self) -> Tensor:
        """Return the outcome, on the device: in one piece, or in tiles when there is too little memory."""
        height, width = (side // self.shrink for side in self.given.shape[-2:])
        side = self.model.vae_tile(self.component, (width, height))
        if side is not None:
            log.info("The picture goes through the VAE in tiles of %d latents.", side)
        while True:
            try:
                return self._run(side)
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                drop_what_it_held(error)
                smaller = next_tile(side, (width, height))
                if smaller is None and not self.model.save_memory():
                    raise
            if smaller is not None:
                side = smaller
                self.model.note(f"the VAE works in tiles of {side} latents")

    def run_in_full(self) -> Tensor:
        """Compute again in float32, and from now on; raise `GenerationError` when that does not help either."""
        before = self.model.dtype(self.component)
        if before != torch.float32:
            log.warning("The VAE overflowed in %s; it computes in float32 from now on.", before)
            self.model.recast(self.component, torch.float32)
            result = self.run()
            if torch.isfinite(result).all():
                return result
        raise GenerationError(
            "The VAE produced no picture (NaN), even in float32.",
            hint="Its weights are damaged; use another VAE or another model.",
        )

    def _run(self, side: int | None) -> Tensor:
        with self.model.on_device(self.component) as vae:

            def compute(given: Tensor) -> Tensor:
                return self.compute(vae, self.model.place(given, self.component))

            if side is None:
                return self.model.place(compute(self.given))
            return self.model.place(compute_in_tiles(compute, self.given, side * self.shrink))


def _refuse_broken_latents(latents: Tensor) -> None:
    if not torch.isfinite(latents).all():
        raise GenerationError(
            "The network produced no picture (NaN): its numbers overflowed or its weights are damaged.",
            hint="Start Easel with --no-half, or use another model.",
        )
