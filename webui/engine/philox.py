"""The random numbers that PyTorch draws on an Nvidia GPU, computed without one."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy
from numpy.typing import NDArray

ROUNDS = 10
MULTIPLIERS = numpy.uint64(0xD2511F53), numpy.uint64(0xCD9E8D57)
KEY_STEPS = numpy.uint32(0x9E3779B9), numpy.uint32(0xBB67AE85)
LOW = numpy.uint64(0xFFFFFFFF)

Words = NDArray[numpy.uint32]


def philox(counter: Words, key: Words) -> Words:
    """Return the random words [4,n] of the counters [4,n] under the keys [2,n]: Philox4x32-10.

    Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3", section 4.
    """
    first, second, third, fourth = counter
    keys = key.copy()
    for number in range(ROUNDS):
        if number:
            keys = keys + numpy.array(KEY_STEPS, dtype=numpy.uint32)[:, None]
        one = first.astype(numpy.uint64) * MULTIPLIERS[0]
        two = third.astype(numpy.uint64) * MULTIPLIERS[1]
        first, second, third, fourth = (
            _high(two) ^ second ^ keys[0],
            _low(two),
            _high(one) ^ fourth ^ keys[1],
            _low(one),
        )
    return numpy.stack([first, second, third, fourth])


def _high(words: NDArray[numpy.uint64]) -> Words:
    return (words >> numpy.uint64(32)).astype(numpy.uint32)


def _low(words: NDArray[numpy.uint64]) -> Words:
    return (words & LOW).astype(numpy.uint32)


class Philox:
    """A generator with a seed, as `torch.Generator("cuda")`: each draw begins where the one before ended."""

    def __init__(self, seed: int) -> None:
        self._seed = seed % 2**64
        self._draws = 0

    def normal(self, shape: Sequence[int]) -> NDArray[numpy.float32]:
        """Return standard normal numbers; one counter per number, of whose four words two are used (Box & Muller)."""
        count = math.prod(shape)
        counter = numpy.zeros((4, count), dtype=numpy.uint32)
        counter[0] = self._draws
        counter[2] = numpy.arange(count, dtype=numpy.uint32)
        key = numpy.empty((2, count), dtype=numpy.uint32)
        key[0], key[1] = self._seed & 0xFFFFFFFF, self._seed >> 32
        self._draws += 1
        words = philox(counter, key)
        return _box_muller(words[0], words[1]).reshape(tuple(shape))


def _box_muller(first: Words, second: Words) -> NDArray[numpy.float32]:
    """Return one normal number per pair of words: Box & Muller 1958, with cuRAND's way to uniform numbers."""
    width = numpy.float32(2.0**-32)
    share = first * width + width / 2
    angle = second * (width * numpy.float32(2 * math.pi)) + width * numpy.float32(math.pi)
    return (numpy.sqrt(-2 * numpy.log(share)) * numpy.sin(angle)).astype(numpy.float32)
