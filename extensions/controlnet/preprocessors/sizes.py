"""The sizes of preprocessed pictures, and how a map comes to the size of the image without losing its lines."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from extensions.controlnet.options import ResizeMode

Pixels = NDArray[np.uint8]
"""A picture [height, width, 3] or a map [height, width], 0 to 255."""

LONGEST_SIDE = 8192  # pixels; a strip of 1×4000 at "resolution 512" would have two million columns
FEW_COLOURS = 256  # a map of labels has no more; a photo has thousands
THIN_SHARE = 0.05  # of the pixels of a drawing in lines survive an erosion


def to_pixels(picture: Image.Image) -> Pixels:
    """Return any picture as RGB [height, width, 3]; what is transparent is white."""
    if picture.has_transparency_data:
        layered = picture.convert("RGBA")
        white = Image.new("RGBA", layered.size, "white")
        picture = Image.alpha_composite(white, layered)
    return np.array(picture.convert("RGB"))


def to_picture(pixels: Pixels) -> Image.Image:
    """Return pixels or a map as an RGB picture."""
    return Image.fromarray(np.ascontiguousarray(pixels)).convert("RGB")


def working_size(width: int, height: int, resolution: int) -> tuple[int, int]:
    """Return the size at which the shorter side is `resolution`, the longer at most `LONGEST_SIDE` pixels."""
    scale = min(resolution / min(width, height), LONGEST_SIDE / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def scale_to(pixels: Pixels, resolution: int) -> Pixels:
    """Return the picture with `resolution` pixels on its shorter side."""
    height, width = pixels.shape[:2]
    return stretch(pixels, *working_size(width, height, resolution))


def stretch(pixels: Pixels, width: int, height: int) -> Pixels:
    """Return a picture at another size: averaged when it shrinks, Lanczos when it grows."""
    if pixels.shape[:2] == (height, width):
        return pixels
    shrinks = width * height < pixels.shape[0] * pixels.shape[1]
    return np.asarray(
        cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LANCZOS4), np.uint8
    )


def pixel_perfect_resolution(picture: tuple[int, int], image: tuple[int, int], mode: ResizeMode) -> int:
    """Return the resolution of a preprocessor at which its map comes to the image pixel by pixel.

    `picture` and `image` are width and height. With "fill" the whole picture is seen, else it covers the image.
    """
    scales = image[0] / picture[0], image[1] / picture[1]
    scale = min(scales) if mode == "fill" else max(scales)
    return max(1, round(scale * min(picture)))


def fit(pixels: Pixels, width: int, height: int, mode: ResizeMode) -> Pixels:
    """Return a hint [height, width, …] of the size of the image: stretched, cropped, or with borders added.

    Lines that are one pixel wide stay so, and maps of labels keep their colours. Added borders have the colour that
    the map's own border mostly has.
    """
    if pixels.shape[:2] == (height, width):
        return pixels
    if mode == "just_resize":
        return _scale_map(pixels, width, height)
    if mode == "crop":
        pixels = _without_what_is_far_out(pixels, width, height)
    old_height, old_width = pixels.shape[:2]
    scales = width / old_width, height / old_height
    if mode == "crop":
        scale = max(scales)
        scaled = _scale_map(
            pixels, max(width, math.floor(old_width * scale + 0.5)), max(height, math.floor(old_height * scale + 0.5))
        )
        left, top = (scaled.shape[1] - width) // 2, (scaled.shape[0] - height) // 2
        return scaled[top : top + height, left : left + width]
    scale = min(scales)
    scaled = _scale_map(
        pixels,
        min(width, max(1, math.floor(old_width * scale + 0.5))),
        min(height, max(1, math.floor(old_height * scale + 0.5))),
    )
    canvas = np.empty((height, width, *pixels.shape[2:]), np.uint8)
    canvas[:] = _border_colour(scaled)
    left, top = (width - scaled.shape[1]) // 2, (height - scaled.shape[0]) // 2
    canvas[top : top + scaled.shape[0], left : left + scaled.shape[1]] = scaled
    return canvas


def _without_what_is_far_out(pixels: Pixels, width: int, height: int) -> Pixels:
    """Return the middle of a strip, twice as long as cropping keeps: scaled as a whole it might have millions of rows.

    Both ends lose the same, so that the middle stays where it is.
    """
    old_height, old_width = pixels.shape[:2]
    scale = max(width / old_width, height / old_height)
    left = max(0, math.floor((old_width - 2 * width / scale) / 2) - 1)
    top = max(0, math.floor((old_height - 2 * height / scale) / 2) - 1)
    return pixels[top : old_height - top, left : old_width - left]


def _border_colour(pixels: Pixels) -> Pixels:
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    return np.asarray(np.median(border, axis=0), np.uint8)


def _scale_map(pixels: Pixels, width: int, height: int) -> Pixels:
    if pixels.shape[:2] == (height, width):
        return pixels
    if is_drawn_in_lines(pixels):
        return _scale_lines(pixels, width, height)
    if _has_few_colours(pixels):
        return np.asarray(cv2.resize(pixels, (width, height), interpolation=cv2.INTER_NEAREST_EXACT), np.uint8)
    return stretch(pixels, width, height)


def pack(pixels: Pixels) -> NDArray[np.uint32]:
    """Return the colours of a picture or map as numbers [height, width]: 0xRRGGBB, or grey as it is."""
    if pixels.ndim == 2:
        return pixels.astype(np.uint32)
    red, green, blue = (pixels[..., channel].astype(np.uint32) for channel in range(3))
    return np.asarray(red << 16 | green << 8 | blue, np.uint32)


def _has_few_colours(pixels: Pixels) -> bool:
    packed = pack(pixels)
    if len(np.unique(packed)) > min(FEW_COLOURS, packed.size // 16):
        return False
    # A grey ramp has few values too; in a map of labels nearly all neighbours are alike.
    same = (packed[:, 1:] == packed[:, :-1]).sum() + (packed[1:] == packed[:-1]).sum()
    return bool(same > 0.9 * max(1, packed.size * 2 - sum(packed.shape)))


def is_drawn_in_lines(pixels: Pixels) -> bool:
    """Whether this is a drawing in white lines of one pixel on black, as canny makes."""
    flat = pixels if pixels.ndim == 2 else pixels.max(axis=2)
    if pixels.ndim == 3 and (pixels != flat[..., None]).any():
        return False
    white = flat == 255
    if not white.any() or not (white | (flat == 0)).all():
        return False
    if min(flat.shape) < 3:
        return False
    survives = cv2.erode(white.astype(np.uint8), np.ones((3, 3), np.uint8), borderValue=0)
    return bool(survives.sum() <= THIN_SHARE * white.sum())


def _scale_lines(pixels: Pixels, width: int, height: int) -> Pixels:
    """Scale a drawing so that its lines stay whole and one pixel wide."""
    flat = pixels if pixels.ndim == 2 else pixels[..., 0]
    shrinks = width < flat.shape[1] or height < flat.shape[0]
    if shrinks:  # whatever part of a line falls into a pixel keeps it
        lines = cv2.resize(flat, (width, height), interpolation=cv2.INTER_AREA) > 0
    else:
        lines = cv2.resize(flat, (width, height), interpolation=cv2.INTER_CUBIC) > 127
    thinned = thin(lines.astype(np.uint8)) * np.uint8(255)
    return thinned if pixels.ndim == 2 else np.repeat(thinned[..., None], 3, axis=2)


def thin(lines: Pixels) -> Pixels:
    """Return a drawing [height, width] of 0 and 1 with its lines thinned to one pixel.

    Zhang and Suen 1984, "A fast parallel algorithm for thinning digital patterns". Only white pixels are looked at.
    """
    padded = np.pad(lines, 1)
    flat, row = padded.reshape(-1), padded.shape[1]
    around = np.array([-row, 1 - row, 1, row + 1, row, row - 1, -1, -row - 1])  # clockwise from the one above
    white = np.flatnonzero(flat)
    while True:
        before = len(white)
        for is_first in (True, False):
            goes = _goes(flat[white[None] + around[:, None]], is_first)
            flat[white[goes]] = 0
            white = white[~goes]
        if len(white) == before:
            return padded[1:-1, 1:-1]


def _goes(around: Pixels, is_first: bool) -> NDArray[np.bool_]:
    """Return which pixels go in this half-step, by their neighbours [8, pixels]."""
    count = around.sum(axis=0)
    transitions = (around < np.roll(around, -1, axis=0)).sum(axis=0)  # from black to white
    above, right, below, left = around[0], around[2], around[4], around[6]
    kept = right & below & (above | left) if is_first else above & left & (right | below)
    return np.asarray((count >= 2) & (count <= 6) & (transitions == 1) & (kept == 0))
