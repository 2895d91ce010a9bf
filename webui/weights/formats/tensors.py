"""The tensors of a weight file, memory-mapped whatever its format."""

from __future__ import annotations

import mmap
from collections.abc import Mapping
from math import prod
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from webui.weights.formats.gguf_files import MAGIC, GgufTensor, find_gguf_tensors
from webui.weights.formats.pickles import Place, Value, find_tensors, find_values, is_pickle
from webui.weights.formats.scaled_fp8 import find_scales, without_scales
from webui.weights.formats.tensor_facts import TensorFacts
from webui.weights.loading.quantised import dequantise, eight_bit, quantised

Weights = dict[str, Tensor]

_DTYPES = {
    "BOOL": torch.bool, "U8": torch.uint8, "I8": torch.int8, "I16": torch.int16, "U16": torch.uint16,
    "I32": torch.int32, "U32": torch.uint32, "I64": torch.int64, "U64": torch.uint64,
    "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2, "F16": torch.float16, "BF16": torch.bfloat16,
    "F32": torch.float32, "F64": torch.float64,
}  # fmt: skip
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}
_EIGHT_BIT = (torch.float8_e4m3fn, torch.float8_e5m2)


def read_tensors(file: Path, prefix: str = "", *, keep_eight_bit: bool = False) -> Weights:
    """Return the tensors of `file` whose names begin with `prefix`, under their full names, on the CPU.

    They stay in the page cache until they are used. Those of GGUF files stay quantised (`load_quantised`), and 8-bit
    matrices if `keep_eight_bit`; without it, such that have a scale become bfloat16. Raises `BadFile` as `read_header`
    does for pickles and GGUF files, and `SafetensorError` or `OSError` when they cannot be read.
    """
    with file.open("rb") as opened:
        start = opened.read(512)
    if start.startswith(MAGIC):
        content, found = _map(file), find_gguf_tensors(file).items()
        return {name: _view_gguf(content, tensor) for name, tensor in found if name.startswith(prefix)}
    if is_pickle(start):
        content, places = _map(file), find_tensors(file).items()
        weights = {name: _view(content, place) for name, place in places if name.startswith(prefix)}
    else:
        with safe_open(file, framework="pt", device="cpu") as opened:
            weights = {name: opened.get_tensor(name) for name in opened.keys() if name.startswith(prefix)}  # noqa: SIM118
    return _scale_eight_bit(weights, keep_eight_bit)


def read_values(file: Path) -> Mapping[str, Value]:
    """Return the plain values that stand beside the tensors in a pickled file, such as a name; none for others.

    Raises `BadFile` as `read_tensors` does.
    """
    with file.open("rb") as opened:
        start = opened.read(512)
    return find_values(file) if is_pickle(start) else {}


def _scale_eight_bit(weights: Weights, keep: bool) -> Weights:
    """Return the weights without scales beside them: multiplied, or as parameters that know them."""
    if not any(tensor.dtype in _EIGHT_BIT for tensor in weights.values()):
        return weights
    header = {name: TensorFacts(_NAMES[tensor.dtype], tuple(tensor.shape)) for name, tensor in weights.items()}
    scales = find_scales(header)
    return {name: _scale(weights[name], weights.get(scales.get(name, "")), keep) for name in without_scales(header)}


def _scale(tensor: Tensor, scale: Tensor | None, keep: bool) -> Tensor:
    if tensor.dtype not in _EIGHT_BIT:
        return tensor
    if keep and tensor.dim() == 2 and (scale is None or scale.numel() == 1):
        return eight_bit(tensor, 1.0 if scale is None else scale.item())
    if scale is None:
        return tensor
    rows = scale.float().view(-1, *[1] * (tensor.dim() - 1))  # one for all, or one for each row
    return (tensor.float() * rows).bfloat16()


def _map(file: Path) -> mmap.mmap:
    """Return the content of a file: copied on writing, so that what changes a tensor in memory never reaches it."""
    with file.open("rb") as opened:
        return mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_COPY)


def _view(content: mmap.mmap, place: Place) -> Tensor:
    dtype = _DTYPES[place.dtype]
    if not prod(place.shape):
        return torch.empty(place.shape, dtype=dtype)
    stored = _bytes(content, place.begin, place.reach * dtype.itemsize, dtype.itemsize)
    return stored.view(dtype).as_strided(place.shape, place.strides)


def _view_gguf(content: mmap.mmap, tensor: GgufTensor) -> Tensor:
    if not prod(tensor.shape):
        return torch.empty(tensor.shape, dtype=_DTYPES.get(tensor.dtype, torch.float32))
    if tensor.dtype in _DTYPES:
        dtype = _DTYPES[tensor.dtype]
        return _bytes(content, tensor.begin, tensor.size, dtype.itemsize).view(dtype).view(tensor.shape)
    blocks = quantised(_bytes(content, tensor.begin, tensor.size, 1).view(*tensor.stored[:-1], -1), tensor.dtype)
    # What was reshaped to be quantised is no matrix in its network and would be made plain there anyway.
    return blocks if tensor.shape == tensor.stored else dequantise(blocks, torch.float16).view(tensor.shape)


def _bytes(content: mmap.mmap, begin: int, count: int, alignment: int) -> Tensor:
    stored = torch.frombuffer(content, dtype=torch.uint8, count=count, offset=begin)
    return stored.clone() if begin % alignment else stored  # torch's older stream aligns nothing
