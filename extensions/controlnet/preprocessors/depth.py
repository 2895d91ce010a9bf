"""Depth, and normals from depth, by a network of transformers (DPT, Depth Anything, ZoeDepth). Runs in the worker."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from extensions.controlnet.preprocessors.annotators import load_network
from extensions.controlnet.preprocessors.sizes import Pixels, to_picture

METRIC = ("zoedepth", "prompt_depth_anything")  # they say how far away something is, the others how near


def find_nearness(preprocessor: str, folder: Path, picture: Pixels) -> NDArray[np.float32]:
    """Return how near everything is [height, width], from 0 (the farthest) to 1 (the nearest)."""
    from transformers import AutoConfig, AutoModelForDepthEstimation

    predicted = load_network(preprocessor, folder, AutoModelForDepthEstimation)(to_picture(picture))
    values = predicted.predicted_depth[0].float().numpy()
    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    if config.model_type in METRIC or getattr(config, "depth_estimation_type", "relative") == "metric":
        values = 1 / np.maximum(values, 1e-3)  # metres
    values = cv2.resize(values, (picture.shape[1], picture.shape[0]), interpolation=cv2.INTER_CUBIC)
    low, high = float(values.min()), float(values.max())
    return np.asarray((values - low) / ((high - low) or 1), np.float32)


def to_map(nearness: NDArray[np.float32]) -> Pixels:
    """Return nearness as grey, the nearest white."""
    return np.asarray(np.round(nearness * 255), np.uint8)


def to_normals(nearness: NDArray[np.float32], background: float) -> Pixels:
    """Return which way surfaces face: red to the left, green upwards, blue to the viewer (as ScanNet has it).

    The depth of the scene is taken as half its shorter side. What is nearer than `background` (0 to 1) only; the rest
    faces the viewer.
    """
    deep = cv2.GaussianBlur(nearness, (0, 0), 1.0) * (min(nearness.shape) / 2)
    left = cv2.Sobel(deep, cv2.CV_32F, 1, 0, scale=1 / 8)
    up = cv2.Sobel(deep, cv2.CV_32F, 0, 1, scale=1 / 8)
    is_far = nearness < background
    left[is_far] = up[is_far] = 0
    normals = np.stack([left, up, np.ones_like(left)], axis=2)
    normals /= np.linalg.norm(normals, axis=2, keepdims=True)
    return np.asarray(np.round(normals * 127.5 + 127.5), np.uint8)
