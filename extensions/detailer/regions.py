"""Regions of a picture as masks [H,W] of bytes, 0 or 255: drawn, filtered, sorted, moved, grown."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from extensions.detailer.options import Merge, Order, Rectangle, Unit

Mask = NDArray[np.uint8]
Box = tuple[int, int, int, int]
"""Left, top, right, bottom; the last two are just outside."""


def draw(rectangle: Rectangle, width: int, height: int) -> Mask:
    """Return a rectangle as a mask for a picture of `width` × `height`."""
    numbers = rectangle.x, rectangle.y, rectangle.width, rectangle.height
    across, down = (width, height) if max(map(abs, numbers)) <= 1 else (1, 1)
    left, top = rectangle.x * across, rectangle.y * down
    right, bottom = left + rectangle.width * across, top + rectangle.height * down
    return draw_box(tuple(round(edge) for edge in (left, top, right, bottom)), width, height)  # type: ignore[arg-type]


def draw_box(box: Box, width: int, height: int) -> Mask:
    """Return a box as a mask, as far as it lies inside."""
    left, top, right, bottom = box
    mask = np.zeros((height, width), np.uint8)
    mask[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)] = 255
    return mask


def separate(mask: Mask) -> list[Mask]:
    """Return the spots of a mask, those that touch as one, in reading order."""
    count, labels, facts, _ = cv2.connectedComponentsWithStats((mask > 127).astype(np.uint8), connectivity=8)
    order = sorted(range(1, count), key=lambda spot: (facts[spot, cv2.CC_STAT_TOP], facts[spot, cv2.CC_STAT_LEFT]))
    return [np.where(labels == spot, 255, 0).astype(np.uint8) for spot in order]


def box_of(mask: Mask) -> Box:
    """Return the box around what is white in a mask that is not empty."""
    left, top, width, height = cv2.boundingRect(mask)
    return left, top, left + width, top + height


def choose(masks: Sequence[Mask], unit: Unit) -> list[Mask]:
    """Return those masks that a unit wants, in its order, moved and grown as it says; empty ones are left out."""
    kept = [mask for mask in masks if unit.min_share <= _share(mask) <= unit.max_share and mask.any()]
    if unit.most and len(kept) > unit.most:
        largest = sorted(range(len(kept)), key=lambda number: -_area(kept[number]))[: unit.most]
        kept = [kept[number] for number in sorted(largest)]
    ordered = sort(kept, unit.order)
    changed = [grow(move(mask, unit.x_offset, unit.y_offset), unit.dilation) for mask in ordered]
    return combine([mask for mask in changed if mask.any()], unit.merge)


def sort(masks: Sequence[Mask], order: Order) -> list[Mask]:
    """Return `masks` by where the middle of their boxes is, or by the area of these."""
    if order == "Left to right":
        return sorted(masks, key=lambda mask: _middle(mask)[0])
    if order == "Centre to edge":
        return sorted(masks, key=_distance)
    if order == "Large to small":
        return sorted(masks, key=lambda mask: -_area(mask))
    return list(masks)


def move(mask: Mask, right: int, up: int) -> Mask:
    """Return a mask moved by so many pixels; what leaves the picture is gone."""
    if not right and not up:
        return mask
    shift = np.array([[1, 0, right], [0, 1, -up]], np.float32)
    return np.asarray(cv2.warpAffine(mask, shift, (mask.shape[1], mask.shape[0])), np.uint8)


def grow(mask: Mask, pixels: int) -> Mask:
    """Return a mask that a square of so many pixels made larger, or smaller below 0 (as A1111's users know it)."""
    if not pixels:
        return mask
    kernel = np.ones((abs(pixels), abs(pixels)), np.uint8)
    return np.asarray((cv2.dilate if pixels > 0 else cv2.erode)(mask, kernel), np.uint8)


def combine(masks: Sequence[Mask], merge: Merge) -> list[Mask]:
    """Return `masks`, or all of them as one, or what is outside all of them."""
    if merge == "None" or not masks:
        return list(masks)
    together = np.maximum.reduce(list(masks))
    return [255 - together if merge == "Merge and Invert" else together]


def _area(mask: Mask) -> int:
    left, top, right, bottom = box_of(mask)
    return (right - left) * (bottom - top)


def _share(mask: Mask) -> float:
    """Return the area of a mask's box as a share of the picture's."""
    return _area(mask) / mask.size


def _middle(mask: Mask) -> tuple[float, float]:
    left, top, right, bottom = box_of(mask)
    return (left + right) / 2, (top + bottom) / 2


def _distance(mask: Mask) -> float:
    """Return how far the middle of a mask's box is from the picture's."""
    x, y = _middle(mask)
    return float(np.hypot(x - mask.shape[1] / 2, y - mask.shape[0] / 2))
