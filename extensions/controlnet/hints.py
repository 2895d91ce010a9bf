"""The pictures that networks are shown: preprocessed, brought to size, made tensors; once for each job."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from extensions.controlnet.facts import UnitFacts
from extensions.controlnet.preprocessors.catalog import find_preprocessor
from extensions.controlnet.preprocessors.hints import fit_mask, make_hint
from extensions.controlnet.sources import find_masks, find_pictures, find_region
from extensions.controlnet.strength import Region
from webui.extending.computing import Run, encode_pixels, to_pixels

SHRINK = 8  # pixels per latent, each way


def latent_size(run: Run) -> tuple[int, int]:
    """Return height and width of the latents of this pass."""
    return run.height // SHRINK, run.width // SHRINK


def pixel_size(run: Run) -> tuple[int, int]:
    """Return width and height of the pictures that are shown in this pass: whole latents."""
    return run.width // SHRINK * SHRINK, run.height // SHRINK * SHRINK


@dataclass
class Hints:
    """The pictures made for a job, each under a key that begins with the reference to what it was made of."""

    _made: dict[tuple[Hashable, ...], list[Image.Image]] = field(default_factory=dict)

    def begin(self, units: Sequence[UnitFacts]) -> None:
        """Forget what these units of a job do not need."""
        needed = {reference for unit in units for reference in (unit.image, unit.mask, unit.region) if reference}
        self._made = {key: pictures for key, pictures in self._made.items() if key[0] in needed}

    def pictures(self, unit: UnitFacts, run: Run) -> list[Image.Image]:
        """Return the RGB pictures that a unit's network is shown, of whole latents: one for all images of a batch, or
        one for each."""
        size = pixel_size(run)
        told = tuple(sorted(unit.options.items()))
        key = unit.image, unit.preprocessor, told, unit.resize_mode, unit.pixel_perfect, size, find_region(run)

        def make() -> list[Image.Image]:
            preprocessor, perfect = find_preprocessor(unit.preprocessor, others=run.preprocessors), unit.pixel_perfect
            return [
                make_hint(picture, size, unit.resize_mode, preprocessor, unit.options, pixel_perfect=perfect)
                for picture in find_pictures(unit, run)
            ]

        return self._once(key, make)

    def masks(self, reference: str | None, unit: UnitFacts, run: Run, outside: int = 0) -> list[Image.Image]:
        """Return the masks for them as grey levels: the stored one, or those of img2img; `outside` are the levels of
        borders that bringing them to size adds."""
        size = pixel_size(run)
        key = reference, outside, unit.image, unit.resize_mode, size, find_region(run)

        def make() -> list[Image.Image]:
            drawn = find_masks(reference, unit, run, outside)
            return [fit_mask(mask, size, unit.resize_mode, outside=outside) for mask in drawn]

        return self._once(key, make)

    def _once(self, key: tuple[Hashable, ...], make: Callable[[], list[Image.Image]]) -> list[Image.Image]:
        if key[0] is None:  # what images begin with is other in each batch
            return make()
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]


def pixels_of(pictures: Sequence[Image.Image], run: Run) -> Tensor:
    """Return [N,channels,H,W] in 0 … 1, on the device, in the denoiser's precision."""
    return run.place(torch.stack([to_pixels(picture) for picture in pictures])).to(run.dtype)


def hole_of(unit: UnitFacts, hints: Hints, run: Run) -> Tensor | None:
    """Return where the unit's pictures have holes [N,1,H,W], 0 or 1; None where its preprocessor makes none."""
    if not unit.paints:
        return None
    return (pixels_of(hints.masks(unit.mask, unit, run, outside=255), run) > 0.5).to(run.dtype)


def region_of(unit: UnitFacts, hints: Hints, run: Run) -> Region | None:
    """Return where in the image the unit acts; None for everywhere."""
    if unit.region is None:
        return None
    (mask,) = hints.masks(unit.region, unit, run)
    return Region(run.place(to_pixels(mask).unsqueeze(0)), latent_size(run))


def latents_of(pixels: Tensor, run: Run, *, shifted: bool = True) -> Tensor:
    """Return the latents [N,C,h,w] of pictures [N,3,H,W] in 0 … 1, float32; `shifted` as the denoiser knows them, or
    only scaled."""
    latents = torch.stack([encode_pixels(run.model, each.float() * 2 - 1) for each in pixels])
    config = run.model.network(run.model.encoder).config
    if not shifted and config.get("shift_factor"):
        latents = latents + config["shift_factor"] * config["scaling_factor"]
    return latents


def for_images(shown: Tensor, images: Sequence[int]) -> Tensor:
    """Return of what is shown of N pictures [N,…] that for each of these images of a batch [R,…]: of the one picture
    that guides all, or of its own."""
    return shown.expand(len(images), *[-1] * (shown.dim() - 1)) if len(shown) == 1 else shown[list(images)]


def padded(pixels: Tensor, side: int) -> Tensor:
    """Return a picture [1,C,H,W] of whole squares of `side` pixels; its right and lower edges are repeated."""
    height, width = pixels.shape[-2:]
    return functional.pad(pixels, (0, -width % side, 0, -height % side), mode="replicate")
