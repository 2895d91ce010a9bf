"""Masks: white is painted anew, black stays. Always mode L, 0 to 255."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageChops, ImageFilter

Box = tuple[int, int, int, int]
"""left, top, right, bottom in pixels; right and bottom are outside."""

OPAQUE = 128  # an alpha above it belongs to the mask


def read_mask(image: Image.Image, *, soft: bool) -> Image.Image:
    """Return what an uploaded picture says as a mask: its alpha where anything is transparent, else its brightness.

    An alpha is rounded to all or nothing unless the mask is `soft`.
    """
    if image.mode == "RGBA" and image.getchannel("A").getextrema() != (255, 255):
        alpha = image.getchannel("A")
        return alpha if soft else alpha.point([0] * (OPAQUE + 1) + [255] * (255 - OPAQUE))
    return image.convert("RGB").convert("L")


def invert(mask: Image.Image) -> Image.Image:
    return ImageChops.invert(mask)


def blur(mask: Image.Image, radius: int) -> Image.Image:
    """Return `mask` with soft edges; `radius` is the standard deviation in pixels."""
    return mask.filter(ImageFilter.GaussianBlur(radius)) if radius else mask


def widen(mask: Image.Image, factor: int) -> Image.Image:
    """Return `mask` that many times as white: what was black stays black."""
    return mask.point([min(255, factor * value) for value in range(256)])


def surroundings(mask: Image.Image, padding: int, aspect: float) -> Box | None:
    """Return the box around everything that is not black, `padding` pixels wider on each side and then widened to
    `aspect` (width / height) as far as the picture reaches; None for a mask that is black all over."""
    box = mask.getbbox()
    if box is None:
        return None
    left, top, right, bottom = box
    left, right = max(0, left - padding), min(mask.width, right + padding)
    top, bottom = max(0, top - padding), min(mask.height, bottom + padding)
    width, height = right - left, bottom - top
    if width / height > aspect:
        top, bottom = _widened(top, bottom, round(width / aspect), mask.height)
    else:
        left, right = _widened(left, right, round(height * aspect), mask.width)
    return left, top, right, bottom


def _widened(start: int, end: int, length: int, limit: int) -> tuple[int, int]:
    """Return the span widened to `length` around its middle, moved or cut to lie within 0 … `limit`."""
    length = max(end - start, min(length, limit))
    start -= (length - (end - start)) // 2
    start = min(max(0, start), limit - length)
    return start, start + length


def fill_masked(image: Image.Image, mask: Image.Image) -> Image.Image:
    """Return `image` with its masked part replaced by the colours around it, smoothly.

    Gortler et al. 1996, The Lumigraph, section 4 (push-pull): the picture is halved again and again, each time without
    counting what is masked, and each hole takes its colours from the first smaller picture that has some.
    """
    weights = 1 - np.asarray(mask, np.float32)[:, :, None] / 255
    colours = np.asarray(image.convert("RGB"), np.float32)
    filled = _push_pull(colours * weights, weights)
    return Image.fromarray((filled + 0.5).clip(0, 255).astype(np.uint8))


def _push_pull(weighted: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return [H,W,3] without holes; `weighted` is colour · weight, `weights` [H,W,1] in 0 … 1."""
    height, width = weights.shape[:2]
    if height == width == 1:
        return weighted / weights if weights[0, 0, 0] > 0 else np.full_like(weighted, 127.5)
    coarse_weights = _halve(weights)
    coarse = _push_pull(_halve(weighted), coarse_weights)
    behind = Image.fromarray(coarse.clip(0, 255).astype(np.uint8)).resize((width, height), Image.Resampling.BILINEAR)
    filled: np.ndarray = weighted + (1 - weights) * np.asarray(behind, np.float32)
    return filled


def _halve(pixels: np.ndarray) -> np.ndarray:
    """Return the means of 2×2 pixels; an odd last row or column is repeated."""
    padded = np.pad(pixels, ((0, pixels.shape[0] % 2), (0, pixels.shape[1] % 2), (0, 0)), "edge")
    height, width, channels = padded.shape
    means: np.ndarray = padded.reshape(height // 2, 2, width // 2, 2, channels).mean((1, 3), dtype=np.float32)
    return means
