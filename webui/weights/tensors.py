"""The tensors of a weight file, memory-mapped whatever its format."""

from __future__ import annotations

import mmap
from math import prod
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from webui.weights.pickles import Place, find_tensors, is_pickle

Weights = dict[str, Tensor]

_DTYPES = {
    "BOOL": torch.bool, "U8": torch.uint8, "I8": torch.int8, "I16": torch.int16, "U16": torch.uint16,
    "I32": torch.int32, "U32": torch.uint32, "I64": torch.int64, "U64": torch.uint64,
    "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2, "F16": torch.float16, "BF16": torch.bfloat16,
    "F32": torch.float32, "F64": torch.float64,
}  # fmt: skip


def read_tensors(file: Path, prefix: str = "") -> Weights:
    """Return the tensors of `file` whose names begin with `prefix`, under their full names, on the CPU.

    They stay in the page cache until they are used. Raises `BadFile` as `read_header` does for pickles, and
    `SafetensorError` or `OSError` when they cannot be read.
    """
    with file.open("rb") as opened:
        start = opened.read(512)
    if is_pickle(start):
        places = find_tensors(file)
        return _map(file, {name: place for name, place in places.items() if name.startswith(prefix)})
    with safe_open(file, framework="pt", device="cpu") as content:
        return {name: content.get_tensor(name) for name in content.keys() if name.startswith(prefix)}  # noqa: SIM118


def _map(file: Path, places: dict[str, Place]) -> Weights:
    with file.open("rb") as opened:
        # Copied on writing, so that what changes a tensor in memory never reaches the file.
        content = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_COPY)
    return {name: _view(content, place) for name, place in places.items()}


def _view(content: mmap.mmap, place: Place) -> Tensor:
    dtype = _DTYPES[place.dtype]
    if not prod(place.shape):
        return torch.empty(place.shape, dtype=dtype)
    stored = torch.frombuffer(content, dtype=torch.uint8, count=place.reach * dtype.itemsize, offset=place.begin)
    if place.begin % dtype.itemsize:  # torch's older stream aligns nothing
        stored = stored.clone()
    return stored.view(dtype).as_strided(place.shape, place.strides)
