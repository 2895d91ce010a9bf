"""The tensors of a weight file, memory-mapped where its format allows it."""

from __future__ import annotations

from pathlib import Path

from safetensors import safe_open
from torch import Tensor

Weights = dict[str, Tensor]


def read_tensors(file: Path, prefix: str = "") -> Weights:
    """Return the tensors of `file` whose names begin with `prefix`, under their full names, on the CPU.

    They stay in the page cache until they are used. Raises `SafetensorError` or `OSError` when they cannot be read.
    """
    with safe_open(file, framework="pt", device="cpu") as content:
        return {name: content.get_tensor(name) for name in content.keys() if name.startswith(prefix)}  # noqa: SIM118
