"""Outpainting: a picture on a larger canvas, what is new there, and how the new meets the old."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from webui.domain.start import FromExtendedImage
from webui.images import masks
from webui.images.masks import Box
from webui.images.resize import resize

CELL = 8  # pixels of one latent, the least that can be painted

Size = tuple[int, int]


@dataclass(frozen=True)
class Extended:
    """`whole`: the picture on its new canvas, its edges continued; `filled`: the same with what painting begins with;
    `mask`: what is to be painted, in whole latents; `overlay`: how much of what was painted is shown."""

    whole: Image.Image
    filled: Image.Image
    mask: Image.Image
    overlay: Image.Image


def extend(picture: Image.Image, size: Size, start: FromExtendedImage) -> Extended:
    """Return `picture` (RGB) on a canvas of `size`.

    The sides say where it lies. A canvas that is a few pixels larger, so as to hold whole latents, is continued there
    too. A picture of another size than the canvas was made for is brought to that size first.
    """
    picture = _fit(picture, size, start)
    box = _place(picture.size, size, start)
    whole = _continue_edges(picture, box, size)
    filled = whole
    if start.content != "original":
        filled = masks.fill_masked(whole, _outside(box, size))
    inner = _shrink(box, size, start.overlap)
    return Extended(whole, filled, _outside(_whole_cells(inner), size), _make_overlay(box, size, start.overlap))


def _fit(picture: Image.Image, size: Size, start: FromExtendedImage) -> Image.Image:
    room = size[0] - start.left - start.right, size[1] - start.up - start.down
    if all(0 <= space - length < CELL for space, length in zip(room, picture.size, strict=True)):
        return picture
    return resize(picture, *room, start.resize)


def _place(inner: Size, size: Size, start: FromExtendedImage) -> Box:
    """Return where a picture of size `inner` lies. What was rounded up goes to a side that grows, else to the end."""
    left = start.left if start.right or not start.left else size[0] - inner[0]
    top = start.up if start.down or not start.up else size[1] - inner[1]
    return left, top, left + inner[0], top + inner[1]


def _continue_edges(picture: Image.Image, box: Box, size: Size) -> Image.Image:
    left, top, right, bottom = box
    margins = ((top, size[1] - bottom), (left, size[0] - right), (0, 0))
    return Image.fromarray(np.pad(np.asarray(picture.convert("RGB")), margins, "edge"))


def _shrink(box: Box, size: Size, overlap: int) -> Box:
    """Return what no new side comes near."""
    left, top, right, bottom = box
    return (
        left + overlap * (left > 0),
        top + overlap * (top > 0),
        right - overlap * (right < size[0]),
        bottom - overlap * (bottom < size[1]),
    )


def _whole_cells(box: Box) -> Box:
    """Return the latents that lie in `box` with all their pixels."""
    left, top, right, bottom = box
    return -(-left // CELL) * CELL, -(-top // CELL) * CELL, right // CELL * CELL, bottom // CELL * CELL


def _outside(box: Box, size: Size) -> Image.Image:
    """Return a mask that is black in `box` and white around it."""
    mask = Image.new("L", size, 255)
    if box[0] < box[2] and box[1] < box[3]:
        mask.paste(0, box)
    return mask


def _make_overlay(box: Box, size: Size, overlap: int) -> Image.Image:
    """Return white around `box`, falling to black within `overlap` pixels inside it, along the new sides alone."""
    across = _ramp(box[0], box[2], size[0], overlap)
    down = _ramp(box[1], box[3], size[1], overlap)
    return Image.fromarray((np.maximum(across[None, :], down[:, None]) * 255).round().astype(np.uint8))


def _ramp(start: int, end: int, length: int, overlap: int) -> np.ndarray:
    """Return [length] shares of what is new: 1 outside `start` … `end`, less and less inside, 0 beyond `overlap`."""
    places = np.arange(length) + 0.5
    to_start = places - start if start > 0 else np.full(length, np.inf)
    to_end = end - places if end < length else np.full(length, np.inf)
    inside = np.minimum(to_start, to_end)  # pixels to the nearest new side, negative outside
    shares: np.ndarray = np.where(inside < 0, 1.0, (1 - inside / max(overlap, 0.5)).clip(0, 1))
    return shares
