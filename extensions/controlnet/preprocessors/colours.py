"""Hints made of a picture's colours, without a network. Pictures are RGB [height, width, 3], 0 to 255."""

from __future__ import annotations

import cv2
import numpy as np

from extensions.controlnet.preprocessors.palette import ADE_COLOURS
from extensions.controlnet.preprocessors.sizes import Pixels, pack

GRID = 64  # pixels of one square of the colour grid
SHUFFLE_SCALE = 256  # pixels: the width of the waves that a shuffled picture is moved by
CHUNK = 16_384  # colours that are compared with the palette at once


def blur(picture: Pixels, sigma: float) -> Pixels:
    """Gaussian blur; `sigma` in pixels."""
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), sigma), np.uint8)


def tile(picture: Pixels, rate: float) -> Pixels:
    """Return the picture `rate` times as small: what a tile network fills with detail."""
    height, width = picture.shape[:2]
    size = max(1, round(width / rate)), max(1, round(height / rate))
    return picture if rate == 1 else np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)


def luminance(picture: Pixels, gamma: float) -> Pixels:
    """Return CIE L* as grey [height, width], raised to `gamma`."""
    return _correct(cv2.cvtColor(picture, cv2.COLOR_RGB2LAB)[..., 0], gamma)


def intensity(picture: Pixels, gamma: float) -> Pixels:
    """Return HSV's V as grey [height, width], raised to `gamma`."""
    return _correct(picture.max(axis=2), gamma)


def _correct(grey: Pixels, gamma: float) -> Pixels:
    table = np.round(255 * (np.arange(256) / 255) ** gamma).astype(np.uint8)
    return np.asarray(table[grey], np.uint8)


def colour_grid(picture: Pixels) -> Pixels:
    """Return the picture in squares of 64 pixels, each of its average colour."""
    height, width = picture.shape[:2]
    size = max(1, width // GRID), max(1, height // GRID)
    small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_NEAREST), np.uint8)


def shuffle(picture: Pixels, seed: int) -> Pixels:
    """Return the picture moved about in random waves: its colours and textures without its shapes.

    The content shuffle of ControlNet 1.1. One seed gives one picture.
    """
    height, width = picture.shape[:2]
    draw = np.random.default_rng(seed)
    moved_x, moved_y = (_waves(draw, width, height) * (side - 1) for side in (width, height))
    moved = cv2.remap(
        picture, moved_x.astype(np.float32), moved_y.astype(np.float32), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT
    )
    return np.asarray(moved, np.uint8)


def _waves(draw: np.random.Generator, width: int, height: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Return smooth noise [height, width] from 0 to 1."""
    shape = height // SHUFFLE_SCALE + 2, width // SHUFFLE_SCALE + 2
    waves = cv2.resize(draw.random(shape), (width, height), interpolation=cv2.INTER_CUBIC)
    low, high = float(waves.min()), float(waves.max())
    return np.asarray((waves - low) / ((high - low) or 1))


def to_palette(picture: Pixels) -> Pixels:
    """Return every pixel in the colour of ADE20K's palette that is nearest to it."""
    palette = np.array(ADE_COLOURS, np.int32)
    packed, places = np.unique(pack(picture), return_inverse=True)
    colours = np.stack([packed >> 16, packed >> 8 & 255, packed & 255], axis=1).astype(np.int32)
    nearest = np.concatenate(
        [
            ((part[:, None] - palette[None]) ** 2).sum(axis=2).argmin(axis=1)
            for part in np.array_split(colours, max(1, len(colours) // CHUNK))
        ]
    )
    return np.asarray(palette[nearest][places.reshape(-1)], np.uint8).reshape(picture.shape)
