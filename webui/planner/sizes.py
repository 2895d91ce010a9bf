"""The size of the finished images, and what a job of that size costs."""

from __future__ import annotations

import math

from webui.domain.passes import MAX_SIDE, Hires
from webui.domain.plan import TilesPlan
from webui.domain.request import MAX_IMAGES, GenerationRequest
from webui.domain.start import FromExtendedImage, FromImage, FromNoise, FromTiles
from webui.errors import BadRequest
from webui.planner.shelf import Shelf
from webui.planner.upscaling import find_picture_upscaler
from webui.settings import Settings

MULTIPLE = 8  # pixels of one latent
MIN_SIDE = 64
MAX_BATCH_PIXELS = 64 * 1024 * 1024  # of one batch: 64 images of 1024×1024

Size = tuple[int, int]


def find_size(request: GenerationRequest, shelf: Shelf) -> Size:
    """Return width and height of what is sampled first: as asked, or as the picture at the start has it."""
    assert request.width and request.height
    start = request.start
    if isinstance(start, FromNoise | FromTiles):
        return request.width, request.height
    if isinstance(start, FromExtendedImage):
        width, height = shelf.picture_size(start.images[0])
        if not (start.left or start.right or start.up or start.down):
            raise BadRequest("Nothing is to be added to the picture.", hint="Name a side to extend.", field="left")
        width, height = width + start.left + start.right, height + start.up + start.down
        return _checked((-(-width // MULTIPLE) * MULTIPLE, -(-height // MULTIPLE) * MULTIPLE), "left")
    if start.scale is not None:
        width, height = shelf.picture_size(start.images[0])
        return _checked(_whole(width * start.scale, height * start.scale), "scale")
    if request.hires is not None and isinstance(start, FromImage):  # the picture stands for the first pass's result
        return _checked(_whole(*shelf.picture_size(start.images[0])), "images")
    return request.width, request.height


def find_hires_size(hires: Hires, size: Size) -> tuple[Size, Size]:
    """Return what a result of `size` is enlarged to, and what is left of that after cropping.

    With one side given the other follows; with both, the enlarged picture covers them (A1111's rules).
    """
    width, height = size
    if hires.width is None and hires.height is None:
        enlarged = _whole(width * hires.scale, height * hires.scale)
        return enlarged, _checked(enlarged, "hires.scale")
    wanted_width = hires.width or hires.height * width // height  # type: ignore[operator]
    wanted_height = hires.height or hires.width * height // width  # type: ignore[operator]
    ratio = max(wanted_width / width, wanted_height / height)
    wanted = _checked(_whole(wanted_width, wanted_height), "hires.width")
    covering = max(wanted[0], round(width * ratio)), max(wanted[1], round(height * ratio))
    return _whole(*covering), wanted


def plan_tiles(request: GenerationRequest, start: FromTiles, settings: Settings, shelf: Shelf) -> TilesPlan:
    """Return how the enlarged picture is covered with tiles of the request's size."""
    assert request.width and request.height
    if start.overlap >= min(request.width, request.height):
        raise BadRequest(
            f"Tiles of {request.width}×{request.height} cannot overlap by {start.overlap} pixels.",
            hint="Lower the overlap or enlarge the tiles.",
            field="overlap",
        )
    width, height = shelf.picture_size(start.images[0])
    size = _checked(_whole(width * start.factor, height * start.factor), "factor", most=4 * MAX_SIDE)
    columns = _count_tiles(size[0], request.width, start.overlap)
    rows = _count_tiles(size[1], request.height, start.overlap)
    upscaler = find_picture_upscaler(start.upscaler, settings, shelf, "start.upscaler")
    return TilesPlan(width=size[0], height=size[1], upscaler=upscaler, count=columns * rows)


def _count_tiles(length: int, tile: int, overlap: int) -> int:
    return max(1, math.ceil((length - overlap) / (tile - overlap)))


def _whole(width: float, height: float) -> Size:
    """Return the size in whole latents, cut off like A1111's."""
    return int(width) // MULTIPLE * MULTIPLE, int(height) // MULTIPLE * MULTIPLE


def _checked(size: Size, field: str, most: int = MAX_SIDE) -> Size:
    if min(size) < MIN_SIDE or max(size) > most:
        raise BadRequest(
            f"The images would be of {size[0]}×{size[1]} pixels: each side must be from {MIN_SIDE} to {most}.",
            hint="Choose another size or scale.",
            field=field,
        )
    return size


def check_pictures(request: GenerationRequest) -> None:
    """Refuse a number of images in which some pictures would be used more often than others, or never."""
    if isinstance(request.start, FromNoise):
        return
    pictures, total = len(request.start.images), request.batch_size * request.batch_count
    if total % pictures:
        raise BadRequest(
            f"{total} images cannot begin with {pictures} pictures.",
            hint=f"Let batch size × batch count be a multiple of {pictures}.",
            field="batch_count",
        )


def check_cost(request: GenerationRequest, size: Size) -> None:
    """Refuse what is too large for one job or one batch; `size` is that of the largest pass."""
    total = request.batch_size * request.batch_count
    if total > MAX_IMAGES:
        raise BadRequest(
            f"{total} images are too many for one job: at most {MAX_IMAGES}.",
            hint="Lower the batch count and generate again.",
            field="batch_count",
        )
    if size[0] * size[1] * request.batch_size > MAX_BATCH_PIXELS:
        raise BadRequest(
            f"A batch of {request.batch_size} images of {size[0]}×{size[1]} is too large.",
            hint="Lower the batch size and raise the batch count instead.",
            field="batch_size",
        )
