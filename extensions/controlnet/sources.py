"""The pictures and masks that guide a pass: a unit's own, or what the images begin with; of a region, that region."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PIL import Image

from extensions.controlnet.facts import UnitFacts
from extensions.controlnet.preprocessors.hints import fit_mask, fit_picture
from webui.extending.api import FromNoise

if TYPE_CHECKING:
    from webui.extending.computing import Canvas, Run

Region = tuple[tuple[int, int], tuple[int, int, int, int]]
"""Width and height of a picture, and left, top, right and bottom of the part of it that is painted."""


def find_region(run: Run) -> Region | None:
    """Return which part of the pictures that images begin with is painted; None for all of them, or noise."""
    canvas = next(iter(run.canvases), None)
    if canvas is None or canvas.region is None or canvas.whole is None:
        return None
    return canvas.whole.size, canvas.region


def find_pictures(unit: UnitFacts, run: Run) -> list[Image.Image]:
    """Return the picture that guides all images of a pass, or one for each where they begin with different ones."""
    if unit.image is None and run.canvases:
        return [canvas.picture for canvas in _different(run)]
    picture, region = run.inputs[_own(unit, run)], find_region(run)
    return [picture if region is None else fit_picture(picture, region[0], unit.resize_mode).crop(region[1])]


def find_masks(reference: str | None, unit: UnitFacts, run: Run, outside: int) -> list[Image.Image]:
    """Return the masks (L) for these pictures, of their sizes: the stored one, or what img2img paints under.

    `outside` are the levels of borders that are added to it.
    """
    if reference is None:
        return [canvas.mask for canvas in _different(run) if canvas.mask is not None]
    drawn, region = run.inputs[reference].convert("L"), find_region(run)
    size = run.inputs[_own(unit, run)].size
    if drawn.size != size:  # it was drawn on the picture, in whatever size that was shown
        drawn = drawn.resize(size, Image.Resampling.BILINEAR)
    return [drawn if region is None else fit_mask(drawn, region[0], unit.resize_mode, outside=outside).crop(region[1])]


def _different(run: Run) -> list[Canvas]:
    start = run.plan.start
    alike = isinstance(start, FromNoise) or len(start.images) == 1
    return list(run.canvases[:1] if alike else run.canvases)


def _own(unit: UnitFacts, run: Run) -> str:
    """Return the reference to a unit's picture, or else to the first that images begin with."""
    start = run.plan.start
    if unit.image is not None or isinstance(start, FromNoise):
        assert unit.image is not None, "it is not planned without"
        return unit.image
    return start.images[0]
