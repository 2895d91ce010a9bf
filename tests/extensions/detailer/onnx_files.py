"""Tiny ONNX networks, written by hand: OpenCV reads them, and nothing else is needed."""

from __future__ import annotations

from pathlib import Path

import numpy as np


def write_yolo(path: Path, *, side: int = 32, cell: int = 8) -> Path:
    """Write a network that finds what is red (class 0) or blue (class 1) in the cells of a square picture of `side`
    pixels, in the form of YOLOv8's output [1, 4 + 2, N]; return its path."""
    across = side // cell
    count = across * across
    weights = np.zeros((6, 3, cell, cell), np.float32)
    for row, colour in ((4, 0), (5, 2)):
        weights[row] = -1 / cell**2
        weights[row, colour] = 1 / cell**2
    boxes = np.zeros((1, 6, count), np.float32)
    for number in range(count):
        boxes[0, :4, number] = (number % across * cell + cell / 2, number // across * cell + cell / 2, cell, cell)
    nodes = [
        _node("Conv", ["images", "weights"], "cells", strides=cell, kernel_shape=cell),
        _node("Reshape", ["cells", "shape"], "flat"),
        _node("Add", ["flat", "boxes"], "output0"),
    ]
    tensors = [
        _tensor("weights", weights),
        _tensor("shape", np.array([1, 6, count], np.int64)),
        _tensor("boxes", boxes),
    ]
    return _write(path, nodes, tensors, (1, 3, side, side), (1, 6, count))


def write_other(path: Path) -> Path:
    """Write a network whose output is a picture, and return its path."""
    weights = np.ones((1, 3, 1, 1), np.float32)
    node = _node("Conv", ["images", "weights"], "output0", strides=1, kernel_shape=1)
    return _write(path, [node], [_tensor("weights", weights)], (1, 3, 32, 32), (1, 1, 32, 32))


def _write(
    path: Path, nodes: list[bytes], tensors: list[bytes], taken: tuple[int, ...], given: tuple[int, ...]
) -> Path:
    parts = [*(_field(1, node) for node in nodes), _field(2, "network"), *(_field(5, each) for each in tensors)]
    graph = b"".join([*parts, _field(11, _value("images", taken)), _field(12, _value("output0", given))])
    path.write_bytes(_field(1, 8) + _field(7, graph) + _field(8, _field(1, "") + _field(2, 13)))
    return path


def _varint(number: int) -> bytes:
    low, rest = number & 127, number >> 7
    return bytes([low | 128]) + _varint(rest) if rest else bytes([low])


def _field(number: int, value: int | str | bytes) -> bytes:
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    content = value.encode() if isinstance(value, str) else value
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _tensor(name: str, values: np.ndarray) -> bytes:
    kind = 1 if values.dtype == np.float32 else 7
    sizes = b"".join(_field(1, size) for size in values.shape)
    return sizes + _field(2, kind) + _field(8, name) + _field(9, values.tobytes())


def _value(name: str, shape: tuple[int, ...]) -> bytes:
    sizes = b"".join(_field(1, _field(1, size)) for size in shape)
    return _field(1, name) + _field(2, _field(1, _field(1, 1) + _field(2, sizes)))


def _node(kind: str, taken: list[str], given: str, **pairs: int) -> bytes:
    ends = b"".join(_field(1, name) for name in taken) + _field(2, given) + _field(4, kind)
    return ends + b"".join(
        _field(5, _field(1, name) + _field(20, 7) + _field(8, number) * 2) for name, number in pairs.items()
    )
