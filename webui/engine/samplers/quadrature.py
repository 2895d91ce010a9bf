"""Integrals of smooth functions, and what a polynomial through known points integrates to."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy

_NODES, _WEIGHTS = (values.tolist() for values in numpy.polynomial.legendre.leggauss(16))


def integrate(function: Callable[[float], float], start: float, end: float) -> float:
    """Return the integral from `start` to `end` by Gauss-Legendre quadrature with 16 nodes: exact up to degree 31."""
    half, middle = (end - start) / 2, (end + start) / 2
    return half * sum(weight * function(middle + half * node) for node, weight in zip(_NODES, _WEIGHTS, strict=True))


def lagrange(points: Sequence[float], chosen: int, at: float) -> float:
    """Return the polynomial that is 1 at `points[chosen]` and 0 at the others, at `at`."""
    value = 1.0
    for number, point in enumerate(points):
        if number != chosen:
            value *= (at - point) / (points[chosen] - point)
    return value
