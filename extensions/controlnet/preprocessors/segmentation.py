"""Segmentation by a network of transformers that knows ADE20K's classes. Runs in the worker."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from extensions.controlnet.preprocessors.annotators import load_network, load_preparation
from extensions.controlnet.preprocessors.palette import ADE_COLOURS
from extensions.controlnet.preprocessors.sizes import Pixels, to_picture
from webui.extending.api import BadFile

UNIVERSAL = ("mask2former", "maskformer")  # they propose masks with classes; the others a class for each pixel


def find_segments(preprocessor: str, folder: Path, picture: Pixels) -> Pixels:
    """Return the picture with each pixel in the colour of its class."""
    from transformers import AutoConfig, AutoModelForSemanticSegmentation, AutoModelForUniversalSegmentation

    is_universal = AutoConfig.from_pretrained(folder, local_files_only=True).model_type in UNIVERSAL
    kind = AutoModelForUniversalSegmentation if is_universal else AutoModelForSemanticSegmentation
    outputs = load_network(preprocessor, folder, kind)(to_picture(picture))
    size = picture.shape[0], picture.shape[1]
    classes = _of_masks(folder, outputs, size) if is_universal else _of_pixels(outputs.logits, size)
    if int(classes.max()) >= len(ADE_COLOURS):
        raise BadFile(
            f"Preprocessor {preprocessor}: the network in {folder} knows other classes than ADE20K's 150.",
            hint="Put one for ADE20K there.",
            field="preprocessor",
        )
    return np.asarray(np.array(ADE_COLOURS, np.uint8)[classes.numpy()], np.uint8)


def _of_pixels(logits: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Return classes [height, width] of logits [1, classes, h, w]."""
    return torch.nn.functional.interpolate(logits, size, mode="bilinear", align_corners=False)[0].argmax(dim=0)


def _of_masks(folder: Path, outputs: Any, size: tuple[int, int]) -> torch.Tensor:
    classes: torch.Tensor = load_preparation(folder).post_process_semantic_segmentation(outputs, target_sizes=[size])[0]
    return classes
