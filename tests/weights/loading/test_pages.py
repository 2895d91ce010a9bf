from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from webui.weights.formats.tensors import read_tensors
from webui.weights.loading.pages import MappedFiles

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the system finds out by itself")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    generator = torch.Generator().manual_seed(1)
    weights = {name: torch.randn(512, 1024, generator=generator) for name in "ab"}
    save_file(weights, tmp_path / "two of them.safetensors")
    return tmp_path / "two of them.safetensors"


def resident_bytes(tensor: Tensor) -> int:
    """Return how much of the mapping that `tensor` lies in is in memory."""
    inside = False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        head, _, rest = line.partition(" ")
        if "-" in head and not head.endswith(":"):
            begin, end = (int(edge, 16) for edge in head.split("-"))
            inside = begin <= tensor.data_ptr() < end
        elif inside and head == "Rss:":
            return int(rest.split()[0]) * 1024
    return 0


def test_pages_that_were_copied_go_and_come_back(file: Path) -> None:
    weights = read_tensors(file)
    sums = {name: float(tensor.sum()) for name, tensor in weights.items()}
    before = resident_bytes(weights["a"])
    MappedFiles([file]).drop(weights["a"])
    assert before - resident_bytes(weights["a"]) > 0.9 * weights["a"].nbytes
    assert {name: float(tensor.sum()) for name, tensor in weights.items()} == sums


def test_what_is_not_of_the_file_is_left_alone(file: Path, tmp_path: Path) -> None:
    own = torch.ones(1024, 1024)
    weights = read_tensors(file)
    before = float(weights["b"].sum()), resident_bytes(weights["b"])
    MappedFiles([file]).drop(own)
    MappedFiles([tmp_path / "another"]).drop(weights["b"])
    MappedFiles([file]).drop(weights["b"][0, :16])
    assert bool((own == 1).all())
    assert (float(weights["b"].sum()), resident_bytes(weights["b"])) == before
