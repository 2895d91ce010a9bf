"""Noise that depends on an image's seed alone: not on the device, the batch, or the neighbours in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


class NoiseSource:
    """Draws standard normal noise on the CPU, one generator per image, as A1111 does with its CPU random source."""

    def __init__(self, seeds: Sequence[int], shape: tuple[int, int, int], place: Callable[[Tensor], Tensor]) -> None:
        """`shape` is one image's [C,h,w]; `place` brings the noise to the device that computes."""
        self._generators = [torch.Generator("cpu").manual_seed(seed) for seed in seeds]
        self._shape = shape
        self._place = place

    def draw(self) -> Tensor:
        """Return the next noise [B,C,h,w], float32."""
        return self._place(torch.stack([torch.randn(self._shape, generator=each) for each in self._generators]))
