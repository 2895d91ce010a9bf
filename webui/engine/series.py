"""Several plans as one job, one after the other; chained ones hand their pictures on."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable, Iterator, Mapping

from PIL import Image

from webui.domain.events import ImageFailed, Stepped
from webui.domain.plan import Plan, SeriesPlan
from webui.domain.start import FromNoise
from webui.engine.control import Control
from webui.engine.generate import ImageReady, Output

NO_PICTURE = "There is no picture to begin with: the one before was skipped or failed."
NO_PICTURE_HINT = "Generate again; do not skip the first batch."

Inputs = Mapping[str, Image.Image]
Generate = Callable[[Plan, Control, Inputs], Iterator[Output]]


def run_series(series: SeriesPlan, generate: Generate, control: Control, inputs: Inputs) -> Iterator[Output]:
    """Yield what happens while the parts of `series` are carried out by `generate`; batches count through all parts.

    An interrupted series ends; a skipped batch is given up alone.
    """
    done, batches = 0, len(series.batches)
    pictures: dict[int, Image.Image] = {}  # the newest of each chain
    for number, part in enumerate(series.parts):
        if control.interrupted:
            return
        plan, given = part, inputs
        if series.chained and number > 0:
            plan, given = _hand_on(series, part, pictures, inputs)
            orphans = {image.index for image in part.images} - {image.index for image in plan.images}
            yield from (ImageFailed(index=index, message=NO_PICTURE, hint=NO_PICTURE_HINT) for index in sorted(orphans))
        for happened in generate(plan, control, given) if plan.images else ():
            if isinstance(happened, Stepped):
                happened = happened.replace(batch=done + happened.batch, batches=batches)
            elif isinstance(happened, ImageReady) and series.chained:
                pictures[happened.index - part.images[0].index] = happened.image
            yield happened
        done += len(part.batches)


def _hand_on(
    series: SeriesPlan, part: Plan, pictures: Mapping[int, Image.Image], inputs: Inputs
) -> tuple[Plan, Inputs]:
    """Return `part` with the newest picture of each chain as its start, and these pictures by reference.

    Where nothing was made yet, since it was skipped or failed, a chain begins with what it began with. Images that
    have not even that are left out.
    """
    count = len(part.images)
    references: list[str | None] = [None] * count
    handed: dict[str, Image.Image] = {}
    for position, image in enumerate(part.images):
        reference = f"{image.index:064x}"
        if position in pictures:
            handed[reference] = pictures[position]
            references[image.index % count] = reference
        else:
            references[image.index % count] = _first_reference(series.parts[0], position)
    known = [reference for reference in references if reference is not None]
    images = tuple(image for image in part.images if references[image.index % count] is not None)
    start = part.start.replace(images=tuple(reference or known[0] for reference in references)) if known else part.start
    return part.replace(images=images, start=start), ChainMap(handed, inputs)  # type: ignore[arg-type]


def _first_reference(first: Plan, position: int) -> str | None:
    """Return the picture that the chain of image `position` began with."""
    if isinstance(first.start, FromNoise) or position >= len(first.images):
        return None
    return first.start.images[first.images[position].index % len(first.start.images)]
