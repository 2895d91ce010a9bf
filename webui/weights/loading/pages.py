"""Pages of mapped files: those that have been copied into another precision need not stay in memory."""

from __future__ import annotations

import bisect
import ctypes
import mmap
import os
import sys
from collections.abc import Collection
from pathlib import Path

from torch import Tensor

_MAPS = Path("/proc/self/maps")  # Linux; elsewhere the system finds out by itself


class MappedFiles:
    """Where some files are mapped into this process now."""

    def __init__(self, files: Collection[Path]) -> None:
        known = {os.path.realpath(file) for file in files}
        self._spans: list[tuple[int, int]] = []  # sorted
        if sys.platform == "linux" and _MAPS.exists():
            for line in _MAPS.read_text(errors="replace").splitlines():
                span, *_, path = line.split(maxsplit=5)
                if path in known:
                    begin, _, end = span.partition("-")
                    self._spans.append((int(begin, 16), int(end, 16)))

    def drop(self, tensor: Tensor) -> None:
        """Let the system have the whole pages of `tensor` back; they are read again if somebody wants them.

        Does nothing unless they are mapped from one of the files: nothing else could be read again.
        """
        begin = -(-tensor.data_ptr() // mmap.PAGESIZE) * mmap.PAGESIZE
        end = (tensor.data_ptr() + tensor.nbytes) // mmap.PAGESIZE * mmap.PAGESIZE
        number = bisect.bisect_right(self._spans, (begin, sys.maxsize)) - 1
        if end > begin and number >= 0 and end <= self._spans[number][1]:
            system = ctypes.CDLL(None)
            system.madvise(ctypes.c_void_p(begin), ctypes.c_size_t(end - begin), mmap.MADV_DONTNEED)
