"""`inpaint_only`: what is not masked stays the picture's, pixel by pixel."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PIL import Image

from extensions.controlnet.facts import KEEPING, ControlFacts, UnitFacts
from extensions.controlnet.preprocessors.hints import fit_mask, fit_picture
from webui.extending.api import FromExtendedImage, FromMaskedImage, FromNoise

if TYPE_CHECKING:
    from webui.extending.computing import ImageRun


def keep_unmasked(image: Image.Image, run: ImageRun) -> Image.Image:
    """Return a finished image with what units keep of their pictures; img2img's own mask says it for itself."""
    start = run.plan.start
    if isinstance(start, FromMaskedImage | FromExtendedImage):
        return image
    begun = None if isinstance(start, FromNoise) else start.images[run.image.index % len(start.images)]
    for unit in ControlFacts.model_validate(run.facts).units:
        picture = unit.image or begun
        if unit.preprocessor == KEEPING and picture is not None and unit.mask is not None:
            image = _keep(image, unit, run.inputs[picture], run.inputs[unit.mask])
    return image


def _keep(image: Image.Image, unit: UnitFacts, picture: Image.Image, mask: Image.Image) -> Image.Image:
    drawn = mask.convert("L").resize(picture.size, Image.Resampling.BILINEAR)
    painted = fit_mask(drawn, image.size, unit.resize_mode, outside=255).point(lambda level: 255 if level > 127 else 0)
    return Image.composite(image, fit_picture(picture, image.size, unit.resize_mode), painted)
