"""Detectors on the disk: ONNX networks, and pickles that are refused with the way out."""

from __future__ import annotations

from pathlib import Path

import pytest

from webui.errors import BadFile
from webui.weights.recognition.detectors import identify_detector


def test_an_onnx_network_is_one(tmp_path: Path) -> None:
    path = tmp_path / "face.onnx"
    path.write_bytes(b"\x08\x08\x3a\x00")
    assert identify_detector(path).problem is None


@pytest.mark.parametrize("content", [b"", b"\x08", b"PK\x03\x04", b"\x08\x00", b"text"])
def test_another_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "face.onnx"
    path.write_bytes(content)
    with pytest.raises(BadFile, match="no ONNX"):
        identify_detector(path)


def test_a_pickle_is_refused_with_the_way_out(tmp_path: Path) -> None:
    path = tmp_path / "face_yolov8n.pt"
    path.write_bytes(b"PK\x03\x04")
    with pytest.raises(BadFile, match="programs") as refused:
        identify_detector(path)
    assert "yolo export model=face_yolov8n.pt" in str(refused.value.hint)
