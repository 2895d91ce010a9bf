"""What a GGUF file declares, checked: the quantised weights of llama.cpp, stable-diffusion.cpp and ComfyUI's nodes.

The format: github.com/ggml-org/ggml/blob/master/docs/gguf.md. No weights are read, torch is not needed.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Mapping
from math import prod
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from webui.weights.formats.tensor_facts import BLOCKS, MAX_TENSORS, PLAIN, Header, TensorFacts, bad_model

MAGIC = b"GGUF"
VERSIONS = (2, 3)
MAX_HEADER = 32 * 2**20  # bytes; a vocabulary of 250,000 words has ten
_MAX_ENTRIES = 10_000
_MAX_NAME = 500  # bytes
_MAX_SIDES = 8
_LARGEST = 2**48
_MAX_ALIGNMENT = 2**20
_DEEPEST = 4  # arrays in each other
_AGAIN = "Download it again."
_OTHERS = "Take the model as Q8_0, Q6_K, Q5_K, Q4_K or another of the common types."

# By number, all that files have had.
_TYPES: Mapping[int, str] = MappingProxyType(
    {
        0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 6: "Q5_0", 7: "Q5_1", 8: "Q8_0", 9: "Q8_1", 10: "Q2_K", 11: "Q3_K",
        12: "Q4_K", 13: "Q5_K", 14: "Q6_K", 15: "Q8_K", 16: "IQ2_XXS", 17: "IQ2_XS", 18: "IQ3_XXS", 19: "IQ1_S",
        20: "IQ4_NL", 21: "IQ3_S", 22: "IQ2_S", 23: "IQ4_XS", 24: "I8", 25: "I16", 26: "I32", 27: "I64", 28: "F64",
        29: "IQ1_M", 30: "BF16", 34: "TQ1_0", 35: "TQ2_0", 39: "MXFP4", 40: "NVFP4", 41: "Q1_0",
    }
)  # fmt: skip
_SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
_STRING, _ARRAY = 8, 9
_KEPT = ("general.alignment", "general.architecture")
_SHAPE = "comfy.gguf.orig_shape."  # of tensors that were reshaped to be quantised


class GgufTensor(NamedTuple):
    """A tensor in a file: `stored` is the shape that it was quantised in, `begin` the bytes before it."""

    dtype: str
    shape: tuple[int, ...]
    stored: tuple[int, ...]
    begin: int

    @property
    def size(self) -> int:
        """How many bytes it takes."""
        return TensorFacts(self.dtype, self.stored).size


def read_gguf_header(path: Path) -> Header:
    """Return the tensors of a GGUF file; raise `BadFile` as `find_gguf_tensors` does."""
    return {name: TensorFacts(tensor.dtype, tensor.shape) for name, tensor in find_gguf_tensors(path).items()}


def find_gguf_tensors(path: Path) -> Mapping[str, GgufTensor]:
    """Return the tensors of a GGUF file and where they stand in it.

    Raises `BadFile` for a file that is damaged, or quantised in a way that is not supported.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        try:
            tensors = _Reader(path, content).read()
        except (struct.error, UnicodeDecodeError, IndexError) as error:
            raise bad_model(path, "its GGUF header is damaged or cut off", _AGAIN) from error
        _check_places(path, tensors, len(content))
    return tensors


def _check_places(path: Path, tensors: Mapping[str, GgufTensor], size: int) -> None:
    end = 0
    for tensor in sorted(tensors.values(), key=lambda tensor: tensor.begin):
        if tensor.begin < end:
            raise bad_model(path, "its GGUF header is damaged: tensors overlap")
        end = tensor.begin + tensor.size
    if end > size:
        raise bad_model(path, f"truncated: {end - size} of {end} bytes are missing", _AGAIN)


class _Reader:
    """Walks through a header; `place` is the byte to read next."""

    def __init__(self, path: Path, content: mmap.mmap) -> None:
        self._path = path
        self._content = content
        self._place = len(MAGIC)

    def read(self) -> dict[str, GgufTensor]:
        version = self._number("<I")
        if version not in VERSIONS:
            order = "big-endian" if version & 0xFFFF == 0 else f"of version {version}"
            raise bad_model(self._path, f"GGUF files {order} are not supported")
        tensors, entries = self._number("<Q"), self._number("<Q")
        if tensors > MAX_TENSORS or entries > _MAX_ENTRIES:
            raise bad_model(self._path, f"its GGUF header announces {tensors} tensors and {entries} entries")
        facts = dict(self._entry() for _ in range(entries))
        alignment = facts.get("general.alignment", 32)
        if not isinstance(alignment, int) or not 0 < alignment <= _MAX_ALIGNMENT or alignment & (alignment - 1):
            raise bad_model(self._path, f"its GGUF header asks for an alignment of {alignment} bytes")
        found = [self._tensor(facts, alignment) for _ in range(tensors)]
        start = -(-self._place // alignment) * alignment
        named = {name: tensor._replace(begin=start + tensor.begin) for name, tensor in found}
        if len(named) < len(found):
            raise bad_model(self._path, "its GGUF header is damaged: a name occurs twice")
        return named

    def _tensor(self, facts: Mapping[str, Any], alignment: int) -> tuple[str, GgufTensor]:
        name = self._text(_MAX_NAME)
        sides = self._number("<I")
        if sides > _MAX_SIDES:
            raise self._damaged(name, f"it would have {sides} dimensions")
        stored = tuple(reversed([self._number("<Q") for _ in range(sides)]))
        number, begin = self._number("<I"), self._number("<Q")
        dtype = _TYPES.get(number, f"type {number}")
        if dtype not in PLAIN and dtype not in BLOCKS:
            raise bad_model(self._path, f"it is quantised as {dtype}, which is not supported", _OTHERS)
        together, _ = BLOCKS.get(dtype, (1, 0))
        if prod(stored) > _LARGEST or (stored and stored[-1] % together) or (together > 1 and not stored):
            raise self._damaged(name, "its shape does not fit its type")
        if begin % alignment or begin > _LARGEST:
            raise self._damaged(name, "it is not aligned")
        shape = facts.get(f"{_SHAPE}{name}", stored)
        if not isinstance(shape, tuple) or prod(shape) != prod(stored) or any(side < 0 for side in shape):
            raise self._damaged(name, "its original shape has another size")
        return name, GgufTensor(dtype, shape, stored, begin)

    def _entry(self) -> tuple[str, Any]:
        key = self._text(_MAX_NAME)
        kind = self._number("<I")
        if kind == _STRING and key in _KEPT:
            return key, self._text(_MAX_NAME)
        if kind in _SCALARS and key in _KEPT:
            return key, self._number(_SCALARS[kind])
        if kind == _ARRAY and key.startswith(_SHAPE):
            return key, self._shape()
        self._skip(kind, 0)
        return key, None

    def _shape(self) -> tuple[int, ...] | None:
        kind, count = self._number("<I"), self._number("<Q")
        if kind not in (4, 5, 10, 11) or count > _MAX_SIDES:
            raise bad_model(self._path, "its GGUF header is damaged: a shape is none")
        return tuple(self._number(_SCALARS[kind]) for _ in range(count))

    def _skip(self, kind: int, depth: int) -> None:
        if kind in _SCALARS:
            self._advance(struct.calcsize(_SCALARS[kind]))
        elif kind == _STRING:
            self._advance(self._number("<Q"))
        elif kind == _ARRAY and depth < _DEEPEST:
            inner, count = self._number("<I"), self._number("<Q")
            if inner in _SCALARS:
                self._advance(count * struct.calcsize(_SCALARS[inner]))
                return
            while count:  # each takes some bytes, so that the largest header ends it
                self._skip(inner, depth + 1)
                count -= 1
        else:
            raise bad_model(self._path, f"its GGUF header is damaged: an entry has the type {kind}")

    def _number(self, form: str) -> Any:
        (number,) = struct.unpack_from(form, self._content, self._place)
        self._advance(struct.calcsize(form))
        return number

    def _text(self, most: int) -> str:
        length = self._number("<Q")
        if length > most:
            raise bad_model(self._path, f"its GGUF header is damaged: a name would be {length} bytes long")
        begin = self._place
        self._advance(length)
        return self._content[begin : self._place].decode("utf-8")

    def _advance(self, count: int) -> None:
        self._place += count
        if self._place > len(self._content):
            raise IndexError("the file ends")
        if self._place > MAX_HEADER:
            raise bad_model(self._path, f"its GGUF header is larger than {MAX_HEADER >> 20} MB")

    def _damaged(self, name: str, why: str) -> Exception:
        return bad_model(self._path, f"its GGUF header is damaged at {name[:80]!r}: {why}")
