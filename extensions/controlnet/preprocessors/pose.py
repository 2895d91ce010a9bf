"""People's poses by transformers' ViTPose, drawn as OpenPose draws them. Runs in the worker."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from extensions.controlnet.preprocessors.annotators import load_network, load_weights
from extensions.controlnet.preprocessors.sizes import Pixels, to_picture

MARGIN = 1.25  # of what is looked at to the box around a person
LEAST_PERSON = 0.5  # confidence of the detector

# Points of OpenPose (COCO model, 18) among those of ViTPose (COCO, 17); the neck lies between the shoulders.
NOSE, NECK = 0, 1
POINTS = (0, None, 6, 8, 10, 5, 7, 9, 12, 14, 16, 11, 13, 15, 2, 1, 4, 3)
SHOULDERS = (5, 6)
LIMBS = ((1, 2), (1, 5), (2, 3), (3, 4), (5, 6), (6, 7), (1, 8), (8, 9), (9, 10), (1, 11), (11, 12), (12, 13), (1, 0),
         (0, 14), (14, 16), (0, 15), (15, 17))  # fmt: skip
COLOURS = ((255, 0, 0), (255, 85, 0), (255, 170, 0), (255, 255, 0), (170, 255, 0), (85, 255, 0), (0, 255, 0),
           (0, 255, 85), (0, 255, 170), (0, 255, 255), (0, 170, 255), (0, 85, 255), (0, 0, 255), (85, 0, 255),
           (170, 0, 255), (255, 0, 255), (255, 0, 170), (255, 0, 85))  # fmt: skip


class Point(NamedTuple):
    """Where a joint is, in pixels, and how sure that is (0 to 1)."""

    x: float
    y: float
    confidence: float


Pose = tuple[Point, ...]
Box = tuple[float, float, float, float]  # left, top, right, bottom


def draw_poses(preprocessor: str, folder: Path, detector: Path, picture: Pixels, confidence: float) -> Pixels:
    """Return the skeletons of all people on black.

    People are found by the network in `detector`; without that folder the picture is taken as one person's.
    """
    poses = [find_pose(preprocessor, folder, picture, box) for box in find_people(preprocessor, detector, picture)]
    return draw_skeletons(poses, picture.shape[1], picture.shape[0], confidence)


def find_people(preprocessor: str, detector: Path, picture: Pixels) -> tuple[Box, ...]:
    """Return the boxes around people, in pixels."""
    height, width = picture.shape[:2]
    if not detector.is_dir():
        return ((0.0, 0.0, float(width), float(height)),)
    from transformers import AutoModelForObjectDetection

    from extensions.controlnet.preprocessors.annotators import load_preparation

    outputs = load_network(preprocessor, detector, AutoModelForObjectDetection)(to_picture(picture))
    names = {
        int(key): name for key, name in json.loads((detector / "config.json").read_text("utf-8"))["id2label"].items()
    }
    found = load_preparation(detector).post_process_object_detection(
        outputs, threshold=LEAST_PERSON, target_sizes=[(height, width)]
    )[0]
    labels = [names.get(int(label), "") for label in found["labels"]]
    return tuple(
        (float(box[0]), float(box[1]), float(box[2]), float(box[3]))
        for box, label in zip(found["boxes"], labels, strict=True)
        if label.lower() == "person"
    )


def find_pose(preprocessor: str, folder: Path, picture: Pixels, box: Box) -> Pose:
    """Return OpenPose's 18 points of the person in `box`."""
    from transformers import VitPoseForPoseEstimation

    network = load_weights(preprocessor, folder, VitPoseForPoseEstimation)
    backbone = network.config.backbone_config
    height, width = backbone.image_size
    place = _widen(box, width / height)
    values = torch.from_numpy(_cut(picture, place, width, height))[None]
    experts = {"dataset_index": torch.zeros(1, dtype=torch.long)} if backbone.num_experts > 1 else {}
    with torch.inference_mode():
        heat = network(pixel_values=values, **experts).heatmaps[0].float().numpy()
    return to_openpose([_peak(each, place) for each in heat[:17]])


def _widen(box: Box, ratio: float) -> Box:
    """Return the box with a margin, as wide to its height as the network looks."""
    left, top, right, bottom = box
    width, height = (
        max(right - left, (bottom - top) * ratio) * MARGIN,
        max(bottom - top, (right - left) / ratio) * MARGIN,
    )
    x, y = (left + right) / 2, (top + bottom) / 2
    return x - width / 2, y - height / 2, x + width / 2, y + height / 2


def _cut(picture: Pixels, place: Box, width: int, height: int) -> NDArray[np.float32]:
    """Return what lies in `place` as the network's input [3, height, width]; outside the picture it is black."""
    left, top, right, bottom = place
    across, down = width / (right - left), height / (bottom - top)
    moved = np.array([[across, 0, -left * across], [0, down, -top * down]], np.float32)
    cut = cv2.warpAffine(picture, moved, (width, height), flags=cv2.INTER_LINEAR).astype(np.float32) / 255
    normal = (cut - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)
    return np.ascontiguousarray(normal.transpose(2, 0, 1), np.float32)


def _peak(heat: NDArray[np.float32], place: Box) -> Point:
    """Return the peak of a heat map [h, w] in the picture, moved a quarter towards its higher neighbours."""
    y, x = (int(each) for each in np.unravel_index(int(heat.argmax()), heat.shape))
    height, width = heat.shape
    dx = 0.25 * np.sign(heat[y, min(x + 1, width - 1)] - heat[y, max(x - 1, 0)])
    dy = 0.25 * np.sign(heat[min(y + 1, height - 1), x] - heat[max(y - 1, 0), x])
    left, top, right, bottom = place
    return Point(
        left + (x + dx + 0.5) / width * (right - left),
        top + (y + dy + 0.5) / height * (bottom - top),
        float(heat[y, x]),
    )


def to_openpose(points: Sequence[Point]) -> Pose:
    """Return COCO's 17 points in OpenPose's order, with the neck between the shoulders."""
    left, right = (points[index] for index in SHOULDERS)
    neck = Point((left.x + right.x) / 2, (left.y + right.y) / 2, min(left.confidence, right.confidence))
    return tuple(neck if index is None else points[index] for index in POINTS)


def draw_skeletons(poses: Sequence[Pose], width: int, height: int, confidence: float) -> Pixels:
    """Return the poses as coloured limbs and joints on black; points less sure than `confidence` are not drawn."""
    canvas = np.zeros((height, width, 3), np.uint8)
    pen = max(1, round(min(width, height) / 128))  # 4 pixels at 512, as the networks were trained with
    for pose in poses:
        sure = [point.confidence >= confidence for point in pose]
        for (one, two), colour in zip(LIMBS, COLOURS, strict=False):
            if sure[one] and sure[two]:
                _draw_limb(canvas, pose[one], pose[two], pen, [value * 6 // 10 for value in colour])
        for point, colour, is_sure in zip(pose, COLOURS, sure, strict=True):
            if is_sure:
                cv2.circle(canvas, (round(point.x), round(point.y)), pen, colour, -1)
    return canvas


def _draw_limb(canvas: Pixels, one: Point, two: Point, pen: int, colour: Sequence[int]) -> None:
    centre = round((one.x + two.x) / 2), round((one.y + two.y) / 2)
    length, angle = np.hypot(one.x - two.x, one.y - two.y), np.degrees(np.arctan2(two.y - one.y, two.x - one.x))
    cv2.ellipse(canvas, centre, (max(1, round(length / 2)), pen), float(angle), 0, 360, list(colour), -1)
