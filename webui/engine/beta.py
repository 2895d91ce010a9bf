"""The beta distribution's quantiles."""

from __future__ import annotations

import math

TERMS = 100  # of the continued fraction; enough for 13 digits


def beta_quantile(share: float, alpha: float, beta: float) -> float:
    """Return x with a probability of `share` below it under the beta distribution, by bisection."""
    if share <= 0:
        return 0.0
    if share >= 1:
        return 1.0
    low, high = 0.0, 1.0
    for _ in range(100):
        middle = (low + high) / 2
        if beta_probability(middle, alpha, beta) < share:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def beta_probability(x: float, alpha: float, beta: float) -> float:
    """Return the regularised incomplete beta function I_x(alpha, beta). DLMF 8.17.22, a continued fraction."""
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (alpha + 1) / (alpha + beta + 2):  # where the fraction converges slowly; DLMF 8.17.4
        return 1 - beta_probability(1 - x, beta, alpha)
    logarithm = math.lgamma(alpha + beta) - math.lgamma(alpha) - math.lgamma(beta)
    factor = math.exp(logarithm + alpha * math.log(x) + beta * math.log1p(-x)) / alpha
    return factor * _fraction(x, alpha, beta)


def _fraction(x: float, alpha: float, beta: float) -> float:
    """Return the continued fraction 1 / (1 + d1 / (1 + d2 / (1 + …))), from its end."""
    value = 1.0
    for number in range(TERMS, 0, -1):
        value = 1 + _coefficient(number, x, alpha, beta) / value
    return 1 / value


def _coefficient(number: int, x: float, alpha: float, beta: float) -> float:
    half = number // 2
    if number % 2 == 0:
        return half * (beta - half) * x / ((alpha + 2 * half - 1) * (alpha + 2 * half))
    return -(alpha + half) * (alpha + beta + half) * x / ((alpha + 2 * half) * (alpha + 2 * half + 1))
