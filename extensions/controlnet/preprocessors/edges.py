"""Maps of edges and lines that need no network: white on black.

Pictures are RGB [height, width, 3], maps [height, width]; both 0 to 255.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from extensions.controlnet.preprocessors.sizes import Pixels, thin

LINE_WIDTH = 3  # pixels of drawn scribbles at any resolution: what scribble networks were trained with


def canny(picture: Pixels, low: float, high: float) -> Pixels:
    """Canny 1986: a gradient above `high` starts an edge, above `low` continues it."""
    return np.asarray(cv2.Canny(picture, low, high), np.uint8)


def scribble_xdog(picture: Pixels, threshold: float) -> Pixels:
    """Winnemöller et al. 2012, "XDoG": lines where the picture is darker than its surroundings, in any channel."""
    values = picture.astype(np.float32)
    surroundings = cv2.GaussianBlur(values, (0, 0), 5.0)
    itself = cv2.GaussianBlur(values, (0, 0), 0.5)
    darker = np.clip((surroundings - itself).min(axis=2), 0, 255)
    return np.where(2 * darker > threshold, 255, 0).astype(np.uint8)


def soft_edges(picture: Pixels) -> Pixels:
    """Return how steep the picture is at two scales, over all channels together (Di Zenzo 1986), in L*a*b*."""
    lab = cv2.cvtColor(picture, cv2.COLOR_RGB2LAB).astype(np.float32)
    steepness = sum(_steepness(cv2.GaussianBlur(lab, (0, 0), sigma)) * sigma for sigma in (1.5, 3.0))
    return _stretch_contrast(np.asarray(steepness, np.float32), least=20.0)


def _steepness(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the root of the larger eigenvalue of the colour structure tensor, [height, width]."""
    across = cv2.Sobel(values, cv2.CV_32F, 1, 0, scale=1 / 8)
    down = cv2.Sobel(values, cv2.CV_32F, 0, 1, scale=1 / 8)
    xx, yy, xy = (across**2).sum(axis=2), (down**2).sum(axis=2), (across * down).sum(axis=2)
    larger = (xx + yy + np.sqrt((xx - yy) ** 2 + 4 * xy**2)) / 2
    return np.asarray(np.sqrt(larger), np.float32)


def _stretch_contrast(values: NDArray[np.float32], least: float) -> Pixels:
    """Return values as 0 to 255 so that the strongest hundredth is white; `least` keeps faint noise faint."""
    top = max(least, float(np.percentile(values, 99)))
    return np.asarray(np.clip(values / top * 255, 0, 255), np.uint8)


def scribble_edges(picture: Pixels, threshold: float) -> Pixels:
    """Return the crests of the soft edges above `threshold`, drawn with a thick pen."""
    strong = (soft_edges(picture) > threshold).astype(np.uint8)
    pen = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (LINE_WIDTH, LINE_WIDTH))
    return np.asarray(cv2.dilate(thin(strong), pen) * np.uint8(255), np.uint8)


def lineart(picture: Pixels) -> Pixels:
    """Return dark strokes on light ground as light strokes on black, as strong as they stand out from the ground."""
    values = picture.astype(np.float32)
    darker = np.clip((cv2.GaussianBlur(values, (0, 0), 6.0) - values).min(axis=2), 0, None)
    return _stretch_contrast(darker, least=16.0)


def straight_lines(picture: Pixels, length: float, gap: float) -> Pixels:
    """Return the straight lines of at least `length` per cent of the shorter side (Matas et al. 2000).

    Breaks of up to `gap` pixels are bridged.
    """
    least = max(2.0, length / 100 * min(picture.shape[:2]))
    votes = max(5, round(least / 2))
    found = cv2.HoughLinesP(canny(picture, 50, 150), 1, np.pi / 360, votes, minLineLength=least, maxLineGap=gap)
    drawn = np.zeros(picture.shape[:2], np.uint8)
    for x1, y1, x2, y2 in [] if found is None else found.reshape(-1, 4):
        cv2.line(drawn, (int(x1), int(y1)), (int(x2), int(y2)), 255, 1)
    return drawn


def binary(picture: Pixels, threshold: float) -> Pixels:
    """Return white where the picture is brighter than `threshold`."""
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    return np.where(grey > threshold, 255, 0).astype(np.uint8)


def invert(picture: Pixels) -> Pixels:
    return 255 - picture
