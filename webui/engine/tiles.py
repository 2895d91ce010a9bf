"""SD upscale: a picture is enlarged, each of its tiles goes through img2img, and they are put together again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from PIL import Image

from webui.domain.events import ImageFailed, ImageSkipped, Loading, Stepped
from webui.domain.plan import ImagePlan, Plan
from webui.domain.start import FromImage, FromTiles
from webui.engine.control import Control
from webui.engine.generate import ImageReady, Output, generate
from webui.engine.models import Models
from webui.engine.upscale import cut, fade_in, upscale
from webui.images.canvas import flatten

Span = tuple[int, int]  # first pixel, and the one behind the last
Box = tuple[int, int, int, int]  # left, top, right, bottom


def generate_tiles(plan: Plan, models: Models, control: Control, inputs: Mapping[str, Image.Image]) -> Iterator[Output]:
    """Yield what happens while `plan`, which begins with tiles, is carried out; as `generate` does otherwise.

    Steps count through all tiles of an image. Tile number n of an image has its seed + n, so that they do not all
    begin with the same noise (A1111's script does so too, one tile at a time). An interrupted image keeps the enlarged
    picture where no tile was painted; one whose tile fails has failed.
    """
    for number, image in enumerate(plan.images):
        if control.interrupted:
            return
        control.skipped = False
        for happened in _paint(plan, image, models, control, inputs):
            if isinstance(happened, Stepped):
                step = happened.batch * happened.steps + happened.step
                steps = happened.batches * happened.steps
                happened = Stepped(batch=number, batches=len(plan.images), step=step, steps=steps)
            yield happened


def _paint(
    plan: Plan, image: ImagePlan, models: Models, control: Control, inputs: Mapping[str, Image.Image]
) -> Iterator[Output]:
    start, tiles = plan.start, plan.tiles
    assert isinstance(start, FromTiles) and tiles is not None
    if not models.upscalers.holds(tiles.upscaler):
        yield Loading(model=tiles.upscaler.name)
    picture = flatten(inputs[start.images[image.index % len(start.images)]], start.background)
    enlarged = upscale(picture, tiles.upscaler, tiles.width, tiles.height, models.upscalers, control)
    if enlarged is not None:
        yield from _paint_over(enlarged, plan, start, image, models, control)
    elif not control.interrupted:
        yield ImageSkipped(index=image.index)


def _paint_over(
    enlarged: Image.Image, plan: Plan, start: FromTiles, image: ImagePlan, models: Models, control: Control
) -> Iterator[Output]:
    """Yield what happens while all tiles of `enlarged` go through img2img, and the finished picture."""
    columns = cut(enlarged.width, plan.width, start.overlap)
    rows = cut(enlarged.height, plan.height, start.overlap)
    boxes: list[Box] = [(left, top, right, bottom) for top, bottom in rows for left, right in columns]
    painted = [enlarged.crop(box) for box in boxes]
    given = {f"{index:064x}": tile for index, tile in enumerate(painted)}
    for happened in generate(_plan_of_tiles(plan, start, image, boxes, tuple(given)), models, control, given):
        match happened:
            case ImageReady(index=index, image=tile):
                painted[index] = tile
            case ImageFailed():
                yield happened.replace(index=image.index)
                return
            case ImageSkipped():
                yield happened.replace(index=image.index)
                return
            case _:
                yield happened
    yield ImageReady(image.index, join(painted, columns, rows))


def _plan_of_tiles(
    plan: Plan, start: FromTiles, image: ImagePlan, boxes: Sequence[Box], references: tuple[str, ...]
) -> Plan:
    """Return the plan by which the tiles of one image become images of their own; a tile is no larger than it is."""
    left, top, right, bottom = boxes[0]
    return plan.replace(
        start=FromImage(images=references, strength=start.strength),
        tiles=None,
        width=right - left,
        height=bottom - top,
        images=tuple(image.replace(index=index, seed=image.seed + index) for index in range(len(boxes))),
    )


def join(
    tiles: Sequence[Image.Image], columns: Sequence[tuple[int, int]], rows: Sequence[tuple[int, int]]
) -> Image.Image:
    """Return the picture that `tiles` cover, row by row; where they overlap each fades into the next."""
    joined = Image.new("RGB", (columns[-1][1], rows[-1][1]))
    for row, (top, bottom) in enumerate(rows):
        strip = Image.new("RGB", (joined.width, bottom - top))
        for column, (left, right) in enumerate(columns):
            shared = columns[column - 1][1] - left if column else 0
            mask = Image.fromarray(np.broadcast_to(_fading(right - left, shared), (strip.height, right - left)).copy())
            strip.paste(tiles[row * len(columns) + column], (left, 0), mask)
        shared = rows[row - 1][1] - top if row else 0
        fading = _fading(strip.height, shared)[:, None]
        joined.paste(strip, (0, top), Image.fromarray(np.broadcast_to(fading, (strip.height, strip.width)).copy()))
    return joined


def _fading(length: int, shared: int) -> np.ndarray:
    """Return how much of a tile shows, 0 … 255: it fades in over the first `shared` pixels."""
    shares = np.ones(length)
    shares[:shared] = fade_in(shared).numpy()
    return (shares * 255).round().astype(np.uint8)
