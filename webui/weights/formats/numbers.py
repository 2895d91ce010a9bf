"""A few numbers out of a weight file, where names and shapes leave a question open. Torch is not needed."""

from __future__ import annotations

from math import prod
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open

from webui.weights.formats.pickles import find_tensors, is_pickle

MOST = 100_000
_DTYPES = {"F16": np.float16, "F32": np.float32, "F64": np.float64}


def read_numbers(file: Path, name: str) -> list[float]:
    """Return the numbers of a small tensor that `file` has; none where they are stored in a way that is not read
    here."""
    with file.open("rb") as opened:
        start = opened.read(512)
    if is_pickle(start):
        return _read_pickled(file, name)
    try:
        with safe_open(file, framework="np") as content:
            piece = content.get_slice(name)
            if piece.get_dtype() not in _DTYPES or prod(piece.get_shape()) > MOST:
                return []
            return np.asarray(content.get_tensor(name), np.float64).ravel().tolist()
    except SafetensorError:  # the header's own reader says what is wrong with the file
        return []


def _read_pickled(file: Path, name: str) -> list[float]:
    place = find_tensors(file)[name]
    if place.dtype not in _DTYPES or place.reach != prod(place.shape) or place.reach > MOST:
        return []
    numbers = np.fromfile(file, _DTYPES[place.dtype], place.reach, offset=place.begin)
    return numbers.astype(np.float64).tolist()
