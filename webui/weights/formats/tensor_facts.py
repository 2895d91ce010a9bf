"""What the headers of weight files tell, in whichever format."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from types import MappingProxyType

from webui.errors import BadFile

MAX_TENSORS = 50_000

PLAIN: Mapping[str, int] = MappingProxyType(
    {
        "BOOL": 1, "U8": 1, "I8": 1, "F8_E4M3": 1, "F8_E5M2": 1, "I16": 2, "U16": 2, "F16": 2, "BF16": 2,
        "I32": 4, "U32": 4, "F32": 4, "I64": 8, "U64": 8, "F64": 8,
    }
)  # fmt: skip
"""Dtypes that store every number by itself, under safetensors' names → bytes of a number."""

BLOCKS: Mapping[str, tuple[int, int]] = MappingProxyType(
    {
        "Q4_0": (32, 18), "Q4_1": (32, 20), "Q5_0": (32, 22), "Q5_1": (32, 24), "Q8_0": (32, 34), "Q2_K": (256, 84),
        "Q3_K": (256, 110), "Q4_K": (256, 144), "Q5_K": (256, 176), "Q6_K": (256, 210), "IQ4_NL": (32, 18),
        "IQ4_XS": (256, 136),
    }
)  # fmt: skip
"""Quantised dtypes that can be used, under GGUF's names → numbers that share a scale, bytes that they take together."""


@dataclass(frozen=True)
class TensorFacts:
    """One tensor of a file: `dtype` is a name of `PLAIN` or `BLOCKS`, `shape` that of the numbers."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """How many bytes it takes as it is stored."""
        numbers, stored = BLOCKS.get(self.dtype) or (1, PLAIN[self.dtype])
        return prod(self.shape) // numbers * stored

    @property
    def stays(self) -> bool:
        """Tell whether it is kept in memory as it is stored, whatever its network computes in."""
        return self.dtype in BLOCKS or (self.dtype.startswith("F8") and len(self.shape) == 2)


Header = Mapping[str, TensorFacts]


def bad_model(path: Path, problem: str, hint: str = "") -> BadFile:
    """Return the refusal of a model file in one sentence."""
    return BadFile(f"{path.name}: {problem}.", hint=hint, field="model")
