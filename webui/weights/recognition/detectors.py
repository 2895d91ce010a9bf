"""Detectors on the disk: networks in the form of ONNX, which OpenCV computes."""

from __future__ import annotations

from pathlib import Path

from webui.errors import BadFile
from webui.weights.catalog.model_facts import ModelFacts

_VERSION_FIELD = 0x08  # protobuf: field 1, a number; with the version of the form every ONNX file begins
_MOST_VERSION = 0x7F


def identify_detector(path: Path) -> ModelFacts:
    """Return that a file is an ONNX network; raise `BadFile` for what it is otherwise, with how to get one.

    What is in it, whoever computes it finds out.
    """
    if path.suffix.lower() == ".pt":
        raise BadFile(
            f"{path.name}: ultralytics' .pt files are programs, and Easel carries out none.",
            hint=f"If you trust it, make it ONNX with ultralytics: yolo export model={path.name} format=onnx – and put "
            "the .onnx into models/adetailer.",
            field="detector",
        )
    with path.open("rb") as file:
        start = file.read(2)
    if len(start) < 2 or start[0] != _VERSION_FIELD or not 0 < start[1] <= _MOST_VERSION:
        raise BadFile(f"{path.name}: this is no ONNX network.", hint="Download it again, or export it anew.",
                      field="detector")  # fmt: skip
    return ModelFacts()
