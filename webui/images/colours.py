"""Colour correction: a picture keeps its light and takes over the colours of another."""

from __future__ import annotations

import numpy as np
from PIL import Image

# CIE 1931 XYZ of linear sRGB at the white point D65 (IEC 61966-2-1), in units of the white point.
_PRIMARIES = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
_TO_XYZ = _PRIMARIES / _PRIMARIES.sum(axis=1, keepdims=True)
_FROM_XYZ = np.linalg.inv(_TO_XYZ)
_KNEE = 6 / 29


def match_colours(image: Image.Image, reference: Image.Image) -> Image.Image:
    """Return `image` (RGB) with the colour distribution of `reference` (RGB), each pixel as light as it was.

    In CIELAB the values of a and of b are mapped so that their histograms become those of the reference; L stays.
    """
    target = to_lab(reference)
    lab = to_lab(image)
    matched = [lab[..., 0], *(_match(lab[..., axis], target[..., axis]) for axis in (1, 2))]
    return from_lab(np.stack(matched, axis=-1))


def _match(values: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return `values` mapped, in order, to the values that have the same rank in `target`."""
    _, where, counts = np.unique(values.ravel(), return_inverse=True, return_counts=True)
    wanted, wanted_counts = np.unique(target.ravel(), return_counts=True)
    ranks = (np.cumsum(counts) - counts / 2) / values.size
    wanted_ranks = (np.cumsum(wanted_counts) - wanted_counts / 2) / target.size
    mapped: np.ndarray = np.interp(ranks, wanted_ranks, wanted)[where.ravel()].reshape(values.shape)
    return mapped


def to_lab(image: Image.Image) -> np.ndarray:
    """Return CIELAB [H,W,3] of an sRGB picture: L in 0 … 100."""
    encoded = np.asarray(image.convert("RGB"), np.float64) / 255
    linear = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    xyz = linear @ _TO_XYZ.T
    bent = np.where(xyz > _KNEE**3, np.cbrt(xyz), xyz / (3 * _KNEE**2) + 4 / 29)
    x, y, z = np.moveaxis(bent, -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def from_lab(lab: np.ndarray) -> Image.Image:
    """Return the sRGB picture of CIELAB [H,W,3]; colours that sRGB does not have are cut off."""
    y = (lab[..., 0] + 16) / 116
    bent = np.stack([y + lab[..., 1] / 500, y, y - lab[..., 2] / 200], axis=-1)
    xyz = np.where(bent > _KNEE, bent**3, 3 * _KNEE**2 * (bent - 4 / 29))
    linear = (xyz @ _FROM_XYZ.T).clip(0, 1)
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return Image.fromarray((encoded * 255 + 0.5).astype(np.uint8))
