"""Segmentation by a network of transformers that knows ADE20K's classes. Runs in the worker."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from torch.nn import functional

from extensions.controlnet.preprocessors.annotators import load_network
from extensions.controlnet.preprocessors.palette import ADE_COLOURS
from extensions.controlnet.preprocessors.sizes import Pixels, to_picture
from webui.extending.api import BadFile

MOST_PIXELS = 2**19  # at which 150 classes are compared; more would take gigabytes


def find_segments(preprocessor: str, folder: Path, picture: Pixels) -> Pixels:
    """Return the picture with each pixel in the colour of its class.

    Raises `BadFile` for a network that knows other classes.
    """
    from transformers import AutoModelForSemanticSegmentation

    logits = load_network(preprocessor, folder, AutoModelForSemanticSegmentation)(to_picture(picture)).logits
    if logits.shape[1] != len(ADE_COLOURS):
        raise BadFile(
            f"Preprocessor {preprocessor}: the network in {folder} knows {logits.shape[1]} classes, not ADE20K's 150.",
            hint="Put one for ADE20K there.",
            field="preprocessor",
        )
    height, width = picture.shape[:2]
    scale = min(1.0, (MOST_PIXELS / (height * width)) ** 0.5)
    size = max(1, round(height * scale)), max(1, round(width * scale))
    classes = functional.interpolate(logits, size, mode="bilinear", align_corners=False)[0].argmax(dim=0)
    colours = np.array(ADE_COLOURS, np.uint8)[classes.numpy()]
    return np.asarray(cv2.resize(colours, (width, height), interpolation=cv2.INTER_NEAREST_EXACT), np.uint8)
