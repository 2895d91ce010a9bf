"""Noise that depends on an image's seed alone: not on the batch or the neighbours in it, nor, if wished, the device."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy
import torch
from torch import Tensor

from webui.domain.sampling_options import Source
from webui.engine.brownian import BrownianTree
from webui.engine.philox import Philox

Shape = tuple[int, int, int]
Draw = Callable[[Shape], Tensor]
"""Shape [C,h,w] → the next standard normal noise of a generator, float32."""

CPU = torch.device("cpu")
SAME_DIRECTION = 0.9995  # the mean cosine from which on two noises count as one


@dataclass(frozen=True)
class Origin:
    """Where the noise of one image comes from: its seed, and the seed it is varied towards by `strength` (0 … 1).

    `size` [h,w]: the noise of that size is put into the middle, as if the image had been that large.
    """

    seed: int
    variation_seed: int = 0
    strength: float = 0.0
    size: tuple[int, int] | None = None


def generator(seed: int, source: Source, device: torch.device) -> Draw:
    """Return a generator: PyTorch's on the CPU or on `device`, or one that draws on any machine as Nvidia's GPUs do."""
    if source == "NV":
        philox = Philox(seed)
        return lambda shape: torch.from_numpy(philox.normal(shape))
    place = device if source == "GPU" else CPU
    plain = torch.Generator(place).manual_seed(seed)
    return lambda shape: torch.randn(shape, generator=plain, device=place)


class NoiseSource:
    """Draws standard normal noise with one generator per image, as A1111 does."""

    def __init__(
        self,
        origins: Sequence[Origin | int],
        shape: Shape,
        place: Callable[[Tensor], Tensor],
        *,
        source: Source = "CPU",
        device: torch.device = CPU,
        seed_delta: int = 0,
        path_range: tuple[float, float] | None = None,
    ) -> None:
        """`origins`: one per image; a number is a seed. `shape` is one image's [C,h,w]; `place` brings the noise to the
        device that computes. After the first noise, `seed_delta` is added to the seeds. `path_range`: the lowest and
        highest sigma of the schedule, of which sampling may run only a part."""
        self._origins = [Origin(origin) if isinstance(origin, int) else origin for origin in origins]
        self._shape = shape
        self._place = place
        self._source: Source = source
        self._device = device
        self._seed_delta = seed_delta
        self._path_range = path_range
        self._draws = [self._generator(origin.seed) for origin in self._origins]

    def begin(self) -> Tensor:
        """Return the noise [B,C,h,w] that sampling starts from. To be called before any draw."""
        pairs = zip(self._origins, self._draws, strict=True)
        first = torch.stack([self._first(origin, draw) for origin, draw in pairs])
        if self._seed_delta:
            self._draws = [self._generator(origin.seed + self._seed_delta) for origin in self._origins]
        return self._place(first)

    def draw(self) -> Tensor:
        """Return the next noise [B,C,h,w], float32."""
        return self._place(torch.stack([draw(self._shape) for draw in self._draws]))

    def follow(self, sigmas: Sequence[float]) -> Path:
        """Return the Brownian paths of the images over the range of `sigmas`, or of the whole schedule if it is known.

        They depend on the seeds alone and draw nothing from the generators.
        """
        low, high = self._path_range or (min((sigma for sigma in sigmas if sigma > 0), default=0.0), max(sigmas))
        trees = [self._tree(origin.seed, low, high) for origin in self._origins]
        return Path(trees, self._place)

    def _tree(self, seed: int, low: float, high: float) -> BrownianTree:
        return BrownianTree(seed, _single(low), _single(high), lambda part: self._generator(part)(self._shape))

    def _generator(self, seed: int) -> Draw:
        return generator(seed, self._source, self._device)

    def _first(self, origin: Origin, draw: Draw) -> Tensor:
        channels, *size = self._shape
        if origin.size is None or list(origin.size) == size:
            noise = draw(self._shape)
            return self._varied(noise, origin, self._shape)
        shape = (channels, *origin.size)
        inner = self._varied(self._generator(origin.seed)(shape), origin, shape)
        return centred(inner, draw(self._shape))

    def _varied(self, noise: Tensor, origin: Origin, shape: Shape) -> Tensor:
        if origin.strength == 0:
            return noise
        return slerp(noise, self._generator(origin.variation_seed)(shape), origin.strength)


class Path:
    """One Brownian path per image, in the time sigma."""

    def __init__(self, trees: Sequence[BrownianTree], place: Callable[[Tensor], Tensor]) -> None:
        self._trees = trees
        self._place = place

    def between(self, sigma: float, sigma_next: float) -> Tensor:
        """Return the paths' move [B,C,h,w] from `sigma` down to `sigma_next`, scaled to unit variance."""
        high, low = _single(sigma), _single(sigma_next)
        moves = torch.stack([tree.between(low, high) for tree in self._trees])
        return self._place(moves / -((high - low) ** 0.5))


def _single(value: float) -> float:
    """Return `value` in single precision, as A1111 hands it to the tree, where the last digit matters."""
    return float(numpy.float32(value))


def slerp(one: Tensor, other: Tensor, share: float) -> Tensor:
    """Return the noise [C,h,w] at `share` of the way from `one` to `other`, along the arc so that its spread is kept.

    Shoemake 1985, "Animating rotation with quaternion curves". The vectors are the columns of the images (A1111).
    """
    cosine = (one / one.norm(dim=1, keepdim=True) * (other / other.norm(dim=1, keepdim=True))).sum(1, keepdim=True)
    if cosine.mean() > SAME_DIRECTION:
        return one
    angle = torch.acos(cosine)
    return (torch.sin((1 - share) * angle) * one + torch.sin(share * angle) * other) / torch.sin(angle)


def centred(inner: Tensor, outer: Tensor) -> Tensor:
    """Return `outer` [C,h,w] with `inner` [C,h',w'] in its middle, cut off where it is larger."""
    into_rows, from_rows = _overlap(inner.shape[1], outer.shape[1])
    into_columns, from_columns = _overlap(inner.shape[2], outer.shape[2])
    result = outer.clone()
    result[:, into_rows, into_columns] = inner[:, from_rows, from_columns]
    return result


def _overlap(inner: int, outer: int) -> tuple[slice, slice]:
    """Return the part of `outer` that is covered and the part of `inner` that covers it (rounded as A1111 does)."""
    margin = (outer - inner) // 2
    length = inner + 2 * min(margin, 0)
    into, taken = max(margin, 0), max(-margin, 0)
    return slice(into, into + length), slice(taken, taken + length)
