"""Brownian motion whose values depend on a seed and on time alone, not on when and where it is asked for."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable

import numpy
from torch import Tensor

DIGITS = 6  # times are rounded to so many decimals
REMEMBERED = 64  # increments of a tree that are kept
SEED_POOL = 24  # words of numpy's seed sequence

Node = tuple[int, int, float, float]
"""(depth, position in that depth, start, end)."""


class BrownianTree:
    """One path from time `start` to `end`.

    The interval is halved until the times that are asked for are ends of a part; the increment of a half is drawn from
    the seed of its place, given that of the whole (Lévy's construction). Seeds, rounding and order of operations are
    those of torchsde's `BrownianTree` (Li et al. 2020, arXiv:2001.01328, section 4), so the values are as well.
    """

    def __init__(self, seed: int, start: float, end: float, draw: Callable[[int], Tensor]) -> None:
        """`draw` returns standard normal noise from a 32-bit seed, always in the same shape."""
        self._seed = seed
        self._draw = draw
        self._root: Node = (0, 0, _rounded(start), _rounded(end))
        whole = numpy.random.SeedSequence(seed, pool_size=SEED_POOL).generate_state(3)[0]
        self._whole = draw(int(whole)) * math.sqrt(self._root[3] - self._root[2])
        self._known: OrderedDict[Node, Tensor] = OrderedDict()

    def between(self, start: float, end: float) -> Tensor:
        """Return how far the path moves from `start` to `end`, start < end; times outside the tree are brought into it.

        Its variance is end - start.
        """
        low, high = self._root[2:]
        first, last = (min(max(_rounded(time), low), high) for time in (start, end))
        parts = self._parts(first, last)
        if not parts:
            return self._whole * 0
        increments = [self._increment(part) for part in parts]
        return sum(increments[1:], start=increments[0])

    def _parts(self, start: float, end: float) -> list[list[tuple[Node, bool]]]:
        """Return the parts that make up the interval, each as the way to it: (node above, whether it is the left)."""
        parts: list[list[tuple[Node, bool]]] = []
        waiting: list[tuple[Node, list[tuple[Node, bool]], float, float]] = [(self._root, [], start, end)]
        while waiting:
            node, way, first, last = waiting.pop()
            if first >= last:
                continue
            if first == node[2] and last == node[3]:
                parts.append(way)
                continue
            left, right = _halves(node)
            middle = left[3]
            waiting.append((right, [*way, (node, False)], max(first, middle), last))
            waiting.append((left, [*way, (node, True)], first, min(last, middle)))
        return parts

    def _increment(self, way: list[tuple[Node, bool]]) -> Tensor:
        increment = self._whole
        for node, is_left in way:
            increment = self._half(node, increment, is_left)
        return increment

    def _half(self, node: Node, whole: Tensor, is_left: bool) -> Tensor:
        left, right = _halves(node)
        half = left if is_left else right
        if half in self._known:
            self._known.move_to_end(half)
            return self._known[half]
        depth, position, start, end = node
        middle = left[3]
        before, after, share = middle - start, end - middle, 1 / (end - start)
        state = numpy.random.SeedSequence(self._seed, spawn_key=(position, depth), pool_size=SEED_POOL)
        noise = self._draw(int(state.generate_state(4)[0]))
        increment = before * whole * share + math.sqrt(before * after * share) * noise
        if not is_left:
            increment = whole - increment
        self._known[half] = increment
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        return increment


def _rounded(time: float) -> float:
    return round(time, DIGITS)


def _halves(node: Node) -> tuple[Node, Node]:
    depth, position, start, end = node
    middle = _rounded(0.5 * (end + start))
    return (depth + 1, 2 * position, start, middle), (depth + 1, 2 * position + 1, middle, end)
