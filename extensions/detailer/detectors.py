"""Networks that find things in pictures: YuNet for faces, YOLO for whatever it was trained on; both by OpenCV."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from extensions.detailer.options import Unit, read_classes
from extensions.detailer.regions import Box, Mask, draw_box
from webui.extending.api import BadFile

Numbers = NDArray[np.float32]
_OVERLAP = 0.7  # of two boxes from which they are taken for one, as ultralytics does
_FACE_OVERLAP = 0.3
_GREY = 114  # around a picture that is no square, as YOLO was trained with


def find(path: Path, picture: Mask, unit: Unit) -> list[Mask]:
    """Return what the network in `path` finds in `picture` [H,W,3] (red, green, blue), the surest first.

    Raises `BadFile` for a file that OpenCV cannot read or whose outputs are of another sort.
    """
    network = _load(path)
    names = tuple(network.getUnconnectedOutLayersNames())
    if any(name.startswith(("cls_", "conf", "loc")) for name in names):
        return find_faces(path, picture, unit.confidence)
    square, scale, left, top = fit(picture, unit.resolution)
    network.setInput(cv2.dnn.blobFromImage(square, 1 / 255))  # it is in the order of colours that YOLO wants
    try:
        outputs = network.forward(names)
    except cv2.error as error:
        raise BadFile(
            f"The detector {path.name} does not take pictures of {unit.resolution} pixels: {_last_line(error)}",
            hint="Set the size the detector sees to that of its export (imgsz).",
            field="extensions.detailer.units",
        ) from error
    found = read_yolo([np.asarray(output, np.float32) for output in outputs], unit, path.name)
    height, width = picture.shape[:2]
    return [
        draw_box(_back(box, scale, left, top), width, height)
        if mask is None
        else _uncover(mask, box, unit.resolution, scale, (left, top), (width, height))
        for box, mask in found
    ]


def find_faces(path: Path, picture: Mask, confidence: float) -> list[Mask]:
    """Return the faces that YuNet finds as rectangles."""
    height, width = picture.shape[:2]
    detector = cv2.FaceDetectorYN.create(str(path), "", (width, height), confidence, _FACE_OVERLAP, 5000)
    _, faces = detector.detect(np.ascontiguousarray(picture[:, :, ::-1]))
    boxes = [] if faces is None else [face[:4] for face in sorted(faces, key=lambda face: -float(face[-1]))]
    return [draw_box((int(x), int(y), int(x + w), int(y + h)), width, height) for x, y, w, h in boxes]


def fit(picture: Mask, side: int) -> tuple[Mask, float, int, int]:
    """Return `picture` scaled into a grey square of so many pixels, the scale, and where it lies: left and top."""
    height, width = picture.shape[:2]
    scale = side / max(height, width)
    small = cv2.resize(picture, (max(round(width * scale), 1), max(round(height * scale), 1)))
    square = np.full((side, side, 3), _GREY, np.uint8)
    top, left = (side - small.shape[0]) // 2, (side - small.shape[1]) // 2
    square[top : top + small.shape[0], left : left + small.shape[1]] = small
    return square, scale, left, top


def read_yolo(outputs: Sequence[Numbers], unit: Unit, name: str) -> list[tuple[Numbers, Numbers | None]]:
    """Return the boxes (centre x, centre y, width, height) in the square that the network saw, the surest first, each
    with its shape as a mask [h,w] of logits where the network tells shapes.

    The form is that of YOLOv8 and later as ultralytics exports them without `nms`: [1, 4 + classes, N], and for shapes
    [1, 4 + classes + 32, N] with [1, 32, h, w]. Raises `BadFile` for other forms.
    """
    flat = [output for output in outputs if output.ndim == 3]
    shapes = [output for output in outputs if output.ndim == 4]
    inner = shapes[0].shape[1] if shapes else 0
    if len(flat) != 1 or flat[0].shape[0] != 1 or flat[0].shape[1] <= 4 + inner or flat[0].shape[1] > flat[0].shape[2]:
        raise BadFile(
            f"The detector {name} gives {', '.join(str(output.shape) for output in outputs)}: not what YOLO gives.",
            hint="Export YOLOv8 or later with: yolo export model=….pt format=onnx. YuNet works as it is.",
            field="extensions.detailer.units",
        )
    rows = flat[0][0].T  # [N, 4 + classes + inner]
    scores = rows[:, 4 : rows.shape[1] - inner]
    classes, sure = scores.argmax(1), scores.max(1)
    wanted = read_classes(unit.classes)
    kept = [n for n in range(len(rows)) if sure[n] >= unit.confidence and (not wanted or int(classes[n]) in wanted)]
    corners = [[float(x - w / 2), float(y - h / 2), float(w), float(h)] for x, y, w, h in rows[kept, :4]]
    chosen = cv2.dnn.NMSBoxes(corners, [float(sure[n]) for n in kept], unit.confidence, _OVERLAP) if kept else []
    found = [rows[kept[int(n)]] for n in np.asarray(chosen).flatten()]
    return [(row[:4], np.tensordot(row[-inner:], shapes[0][0], 1) if inner else None) for row in found]


def _load(path: Path) -> Any:
    try:
        return cv2.dnn.readNetFromONNX(str(path))
    except cv2.error as error:
        raise BadFile(
            f"The detector {path.name} cannot be read: {_last_line(error)}",
            hint="Export it again as ONNX: yolo export model=….pt format=onnx.",
            field="extensions.detailer.units",
        ) from error


def _back(box: Numbers, scale: float, left: int, top: int) -> Box:
    """Return a box of the square as one of the picture."""
    x, y, width, height = (float(number) for number in box)
    edges = (x - width / 2 - left, y - height / 2 - top, x + width / 2 - left, y + height / 2 - top)
    return tuple(round(edge / scale) for edge in edges)  # type: ignore[return-value]


def _uncover(
    mask: Numbers, box: Numbers, side: int, scale: float, corner: tuple[int, int], size: tuple[int, int]
) -> Mask:
    """Return a shape in the square as a mask for the picture, as far as it lies in its box."""
    (left, top), (width, height) = corner, size
    whole = cv2.resize(mask, (side, side))
    inside = whole[top : top + max(round(height * scale), 1), left : left + max(round(width * scale), 1)]
    shape = np.where(cv2.resize(inside, (width, height)) > 0, 255, 0).astype(np.uint8)
    return np.minimum(shape, draw_box(_back(box, scale, left, top), width, height))


def _last_line(error: Exception) -> str:
    return str(error).strip().splitlines()[-1][-200:]
