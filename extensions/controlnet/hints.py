"""The pictures that networks are shown: preprocessed, brought to size, made tensors; once for each job."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field

from PIL import Image
from torch import Tensor
from torch.nn import functional

from extensions.controlnet.facts import UnitFacts
from extensions.controlnet.preprocessors.catalog import find_preprocessor
from extensions.controlnet.preprocessors.hints import fit_mask, make_hint
from extensions.controlnet.strength import Region
from webui.extending.computing import Run, encode_pixels, to_pixels

SHRINK = 8  # pixels per latent, each way


def latent_size(run: Run) -> tuple[int, int]:
    """Return height and width of the latents of this pass."""
    return run.height // SHRINK, run.width // SHRINK


@dataclass
class Hints:
    """The pictures made for a job, each under a key that begins with the reference to what it was made of."""

    _made: dict[tuple[Hashable, ...], Image.Image] = field(default_factory=dict)

    def begin(self, units: Sequence[UnitFacts]) -> None:
        """Forget what these units of a job do not need."""
        needed = {reference for unit in units for reference in (unit.image, unit.mask, unit.region)}
        self._made = {key: picture for key, picture in self._made.items() if key[0] in needed}

    def picture(self, unit: UnitFacts, run: Run) -> Image.Image:
        """Return the RGB picture that a unit's network is shown, of whole latents."""
        height, width = latent_size(run)
        size = width * SHRINK, height * SHRINK
        told = tuple(sorted(unit.options.items()))
        key = (unit.image, unit.preprocessor, told, unit.resize_mode, unit.pixel_perfect, size)

        def make() -> Image.Image:
            preprocessor = find_preprocessor(unit.preprocessor)
            picture, perfect = run.inputs[unit.image], unit.pixel_perfect
            return make_hint(picture, size, unit.resize_mode, preprocessor, unit.options, pixel_perfect=perfect)

        return self._once(key, make)

    def mask(self, reference: str, unit: UnitFacts, run: Run, outside: int = 0) -> Image.Image:
        """Return a stored mask as grey levels, brought to size as the unit's picture is; `outside` are the levels of
        borders that this adds."""
        height, width = latent_size(run)
        size = width * SHRINK, height * SHRINK
        picture = run.inputs[unit.image].size
        key = (reference, outside, unit.resize_mode, size, picture)

        def make() -> Image.Image:
            drawn = run.inputs[reference].convert("L")
            if drawn.size != picture:  # it was drawn on the picture, in whatever size that was shown
                drawn = drawn.resize(picture, Image.Resampling.BILINEAR)
            return fit_mask(drawn, size, unit.resize_mode, outside=outside)

        return self._once(key, make)

    def _once(self, key: tuple[Hashable, ...], make: Callable[[], Image.Image]) -> Image.Image:
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]


def pixels_of(picture: Image.Image, run: Run) -> Tensor:
    """Return [1,channels,H,W] in 0 … 1, on the device, in the denoiser's precision."""
    return run.place(to_pixels(picture).unsqueeze(0)).to(run.dtype)


def hole_of(unit: UnitFacts, hints: Hints, run: Run) -> Tensor | None:
    """Return where the unit's picture has a hole [1,1,H,W], 0 or 1; None where its preprocessor makes none."""
    if not unit.paints:
        return None
    assert unit.mask is not None, "it is not planned without"
    return (pixels_of(hints.mask(unit.mask, unit, run, outside=255), run) > 0.5).to(run.dtype)


def region_of(unit: UnitFacts, hints: Hints, run: Run) -> Region | None:
    """Return where in the image the unit acts; None for everywhere."""
    if unit.region is None:
        return None
    return Region(run.place(to_pixels(hints.mask(unit.region, unit, run)).unsqueeze(0)), latent_size(run))


def latents_of(pixels: Tensor, run: Run, *, shifted: bool = True) -> Tensor:
    """Return the latents [1,C,h,w] of a picture [1,3,H,W] in 0 … 1, float32; `shifted` as the denoiser knows them, or
    only scaled."""
    latents = encode_pixels(run.model, pixels[0].float() * 2 - 1).unsqueeze(0)
    config = run.model.network(run.model.encoder).config
    if not shifted and config.get("shift_factor"):
        latents = latents + config["shift_factor"] * config["scaling_factor"]
    return latents


def padded(pixels: Tensor, side: int) -> Tensor:
    """Return a picture [1,C,H,W] of whole squares of `side` pixels; its right and lower edges are repeated."""
    height, width = pixels.shape[-2:]
    return functional.pad(pixels, (0, -width % side, 0, -height % side), mode="replicate")
