"""What extensions do with a finished picture: look at it, change it, have parts of it painted once more."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from PIL.Image import Image

from webui.domain.plan import ImagePlan, Plan
from webui.domain.start import FromMaskedImage
from webui.engine.control import Control
from webui.engine.generate import ImageReady, generate
from webui.engine.models import Models
from webui.engine.run import ImageRun, active, blaming
from webui.errors import EaselError, GenerationError

PICTURE, MASK = "0" * 63 + "1", "0" * 63 + "2"  # what a nested plan begins with; no stored picture is called so
_OF_IMAGE = ("prompt", "negative_prompt", "seed")
_OF_START = ("strength", "padding", "mask_blur", "content", "area", "soft")


def finish(
    ready: ImageReady,
    plan: Plan,
    models: Models,
    control: Control,
    inputs: Mapping[str, Image],
) -> ImageReady:
    """Return the picture as extensions change it; where one fails it stays as it was, and the user is told."""
    image, picture = plan.image(ready.index), ready.image

    def note(text: str) -> None:
        models.note([text])

    for modifier in active(models.modifiers, plan):
        for change in modifier.image_changes:
            facts = plan.extensions[modifier.name]

            def paint(
                picture: Image, mask: Image, *, own: str = modifier.name, without: Sequence[str] = (), **changes: Any
            ) -> Image:
                return _paint(plan, image, picture, mask, changes, (own, *without), models, control)

            try:
                with blaming(modifier.name):
                    picture = change(picture, ImageRun(plan, facts, image, inputs, paint, note))
            except EaselError as error:
                note(f"Image {ready.index + 1} stays as it was drawn: {error}")
    return ImageReady(ready.index, picture)


def _paint(
    plan: Plan,
    image: ImagePlan,
    picture: Image,
    mask: Image,
    changes: Mapping[str, Any],
    without: Sequence[str],
    models: Models,
    control: Control,
) -> Image:
    """Return `picture` with what is white in `mask` sampled once more; interrupted, it stays as it is."""
    nested = _nested(plan, image, changes, without)
    held = models.inputs
    models.inputs = MappingProxyType({**held, PICTURE: picture, MASK: mask})
    try:
        painted = _pictures(nested, models, control)
        return next(painted, picture)
    finally:
        models.inputs = held


def _pictures(plan: Plan, models: Models, control: Control) -> Iterator[Image]:
    for happened in generate(plan, models, control, models.inputs):
        if isinstance(happened, ImageReady) and not control.interrupted:
            yield happened.image


def _nested(plan: Plan, image: ImagePlan, changes: Mapping[str, Any], without: Sequence[str]) -> Plan:
    of_image = {name: changes[name] for name in _OF_IMAGE if changes.get(name) is not None}
    of_start = {name: changes[name] for name in _OF_START if changes.get(name) is not None}
    others = {name: changes[name] for name in changes if name not in (*_OF_IMAGE, *_OF_START)}
    unknown = sorted(others.keys() - {"width", "height", "steps", "guidance", "sampler", "schedule"})
    if unknown:
        raise GenerationError(f"What is painted once more cannot be told {', '.join(unknown)}.")
    start = FromMaskedImage(images=(PICTURE,), mask=MASK, **{"strength": 0.4, "area": "masked", **of_start})
    return plan.replace(
        images=(image.replace(hires_prompt=None, hires_negative_prompt=None, variation_seed=None, **of_image),),
        batch_size=1,
        hires=None,
        tiles=None,
        start=start,
        sheets=(),
        extensions={name: facts for name, facts in plan.extensions.items() if name not in without},
        **{name: value for name, value in others.items() if value is not None},
    )
