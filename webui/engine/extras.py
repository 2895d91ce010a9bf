"""Plans that only enlarge pictures: one picture after the other, tile by tile."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping

from PIL import Image

from webui.domain.events import ImageFailed, ImageSkipped, Loading, Stepped
from webui.domain.plan import UpscalePlan
from webui.engine.control import Control
from webui.engine.generate import ImageReady, Output
from webui.engine.upscale import TileDone, Upscalers, upscale_in_tiles
from webui.errors import EaselError


def enlarge(
    plan: UpscalePlan, networks: Upscalers, control: Control, inputs: Mapping[str, Image.Image]
) -> Iterator[Loading | Output]:
    """Yield what happens while `plan` is carried out; `inputs` are its pictures, by reference.

    A picture that cannot be read or enlarged is `ImageFailed` and the others go on. An interrupted or skipped one is
    given up. Raises `BadFile` when an upscaler cannot be loaded.
    """
    for upscaler in (plan.upscaler, plan.second_upscaler):
        if upscaler is not None and not networks.holds(upscaler):
            yield Loading(model=upscaler.name)
            networks.get(upscaler)
    for number, image in enumerate(plan.images):
        if control.interrupted:
            return
        control.skipped = False
        try:
            work = _enlarge(plan, inputs[image.picture], networks)
            while not control.interrupted and not control.skipped:
                tile = next(work)
                yield Stepped(batch=number, batches=len(plan.images), step=tile.number, steps=tile.count)
            work.close()
            if control.skipped:
                yield ImageSkipped(index=image.index)
        except StopIteration as end:
            yield ImageReady(image.index, end.value)
        except EaselError as error:
            yield ImageFailed(index=image.index, message=error.message, hint=error.hint)


def _enlarge(plan: UpscalePlan, picture: Image.Image, networks: Upscalers) -> Generator[TileDone, None, Image.Image]:
    """Return the finished picture; its steps are the tiles of all upscalers, and one for putting them together."""
    size = covering_size(plan, picture.size)
    mixed = plan.second_upscaler is not None and plan.second_share > 0
    first = upscale_in_tiles(picture, plan.upscaler, *size, networks)
    result, done = yield from _counted(first, 0, 2 if mixed else 1)
    if plan.second_upscaler is not None and mixed:
        second = upscale_in_tiles(picture, plan.second_upscaler, *size, networks)
        other, done = yield from _counted(second, done, 1)
        result = Image.blend(result, other, plan.second_share)
    if plan.crop and plan.width and plan.height:
        left, top = (result.width - plan.width) // 2, (result.height - plan.height) // 2
        result = result.crop((left, top, left + plan.width, top + plan.height))
    yield TileDone(done + 1, done + 1)
    return result


def _counted(
    work: Generator[TileDone, None, Image.Image], done: int, runs: int
) -> Generator[TileDone, None, tuple[Image.Image, int]]:
    """Return what `work` returns, and how many tiles are done by then; `runs` such works are still to be done."""
    latest = 0
    while True:
        try:
            tile = next(work)
        except StopIteration as end:
            return end.value, done + latest
        latest = tile.number
        yield TileDone(done + latest, done + tile.count * runs + 1)


def covering_size(plan: UpscalePlan, size: tuple[int, int]) -> tuple[int, int]:
    """Return the size that a picture of `size` is enlarged to, before what was asked for is cut out of it."""
    if not (plan.width and plan.height):
        return max(1, round(size[0] * plan.scale)), max(1, round(size[1] * plan.scale))
    scale = max(plan.width / size[0], plan.height / size[1])
    return max(plan.width, round(size[0] * scale)), max(plan.height, round(size[1] * scale))
