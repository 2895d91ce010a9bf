"""`tile_colorfix`: what is blurred of the image is that of the picture, so that colours stay where they are.

(lllyasviel's tile_colorfix and tile_colorfix+sharp, Mikubill/sd-webui-controlnet.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional

from extensions.controlnet.facts import ControlFacts, UnitFacts
from extensions.controlnet.hints import Hints, for_images, latents_of, pixels_of
from extensions.controlnet.strength import acts_in_pass, acts_now
from webui.extending.computing import Combine, Guiding, Run

_FIXING = "tile_colorfix"
_SHARP = "+sharp"
_SHARPNESS = 0.01  # of what the option says, of the blurred image in what the negative prompts predict


def fix_colours(combine: Combine, run: Run, hints: Hints) -> Combine:
    """Return how predictions are combined, with the colours of the pictures of units that fix them."""
    facts = ControlFacts.model_validate(run.facts)
    has_second = run.plan.hires is not None
    units = [unit for unit in facts.units if unit.preprocessor.startswith(_FIXING)]
    for unit in units:
        if acts_in_pass(unit, run.is_second, has_second):
            combine = _fix(combine, unit, latents_of(pixels_of(hints.pictures(unit, run), run), run), run)
    return combine


def _fix(combine: Combine, unit: UnitFacts, picture: Tensor, run: Run) -> Combine:
    reach = int(unit.options["threshold_a"]) * (2 if run.is_second else 1)
    colours = blur(picture, reach)
    sharpness = unit.options["threshold_b"] * _SHARPNESS if unit.preprocessor.endswith(_SHARP) else 0.0

    def fixed(clean: Tensor, images: Sequence[int]) -> Tensor:
        return clean - blur(clean, reach) + for_images(colours, images)

    def combined(guiding: Guiding) -> Tensor:
        if not acts_now(unit, run.moment):
            return combine(guiding)
        negative = guiding.negative
        if negative is not None:
            negative = fixed(negative, range(len(negative)))
            negative = torch.lerp(negative, blur(negative, reach), sharpness)
        return combine(replace(guiding, positive=fixed(guiding.positive, guiding.owners), negative=negative))

    return combined


def blur(latents: Tensor, reach: int) -> Tensor:
    """Return latents [B,C,h,w], each the mean of those up to `reach` places around it; edges are repeated."""
    around = functional.pad(latents, (reach,) * 4, mode="replicate")
    return functional.avg_pool2d(around, 2 * reach + 1, stride=1)
