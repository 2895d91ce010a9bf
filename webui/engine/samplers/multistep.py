"""Methods that remember earlier predictions: one network call a step, higher order."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy
import torch
from torch import Tensor

from webui.engine.denoise import Denoise
from webui.engine.noise import NoiseSource
from webui.engine.samplers.euler import restore_variance
from webui.engine.samplers.quadrature import integrate, lagrange
from webui.engine.samplers.step import PLAIN, Setup, Step

ADAMS_BASHFORTH = (
    (1.0,),
    (3 / 2, -1 / 2),
    (23 / 12, -16 / 12, 5 / 12),
    (55 / 24, -59 / 24, 37 / 24, -9 / 24),
)
"""Weights of the newest, the second newest … slope for even steps, by how many are known."""


def _sum(weights: Sequence[float], slopes: Sequence[Tensor]) -> Tensor:
    first, *others = (slope * weight for weight, slope in zip(weights, slopes, strict=True))
    return sum(others, start=first)


@torch.inference_mode()
def lms(
    denoise: Denoise, latents: Tensor, sigmas: Sequence[float], noise: NoiseSource, setup: Setup = PLAIN
) -> Iterator[Step]:
    """Linear multistep of order 4: the polynomial through the last slopes is integrated over sigma (Adams-Bashforth
    for uneven steps, in k-diffusion by K. Crowson)."""
    slopes: deque[Tensor] = deque(maxlen=4)  # newest first
    for index, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        denoised = denoise(latents, sigma)
        slopes.appendleft((latents - denoised) / sigma)
        points = [sigmas[index - age] for age in range(len(slopes))]
        weights = [
            integrate(lambda at, age=age, points=points: lagrange(points, age, at), sigma, sigma_next)  # type: ignore[misc]
            for age in range(len(slopes))
        ]
        latents = latents + _sum(weights, slopes)
        yield Step(index, latents, denoised)


@torch.inference_mode()
def deis(
    denoise: Denoise, latents: Tensor, sigmas: Sequence[float], noise: NoiseSource, setup: Setup = PLAIN
) -> Iterator[Step]:
    """DEIS of order 3: as LMS, but the polynomial is one in log sigma. Zhang & Chen 2022, arXiv:2204.13902, section 3.3
    (tAB). The step to sigma 0 takes the prediction."""
    slopes: deque[Tensor] = deque(maxlen=3)  # newest first
    for index, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        denoised = denoise(latents, sigma)
        slopes.appendleft((latents - denoised) / sigma)
        if sigma_next == 0:
            latents = denoised
        else:
            points = [math.log(sigmas[index - age]) for age in range(len(slopes))]
            weights = [_deis_weight(points, age, math.log(sigma_next)) for age in range(len(slopes))]
            latents = latents + _sum(weights, slopes)
        yield Step(index, latents, denoised)


def _deis_weight(points: Sequence[float], chosen: int, end: float) -> float:
    return integrate(lambda at: lagrange(points, chosen, at) * math.exp(at), points[0], end)


@torch.inference_mode()
def ipndm(
    denoise: Denoise, latents: Tensor, sigmas: Sequence[float], noise: NoiseSource, setup: Setup = PLAIN
) -> Iterator[Step]:
    """Improved pseudo-linear multistep of order 4: Adams-Bashforth's weights for even steps on any steps.

    Zhang & Chen 2022, arXiv:2204.13902, appendix (iPNDM), after Liu et al. 2022, arXiv:2202.09778.
    """
    slopes: deque[Tensor] = deque(maxlen=4)  # newest first
    for index, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        denoised = denoise(latents, sigma)
        slopes.appendleft((latents - denoised) / sigma)
        if sigma_next == 0:
            latents = denoised
        else:
            latents = latents + _sum(ADAMS_BASHFORTH[len(slopes) - 1], slopes) * (sigma_next - sigma)
        yield Step(index, latents, denoised)


@torch.inference_mode()
def plms(
    denoise: Denoise, latents: Tensor, sigmas: Sequence[float], noise: NoiseSource, setup: Setup = PLAIN
) -> Iterator[Step]:
    """Pseudo-linear multistep. Liu et al. 2022, arXiv:2202.09778, equations 12 and 22, as latent diffusion has it: the
    first step is Heun's, and the slopes it takes are those before correction."""

    def steps(latents: Tensor) -> Iterator[Step]:
        slopes: deque[Tensor] = deque(maxlen=4)  # newest first
        for index, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
            denoised = denoise(latents, sigma)
            slopes.appendleft((latents - denoised) / sigma)
            slope = _sum(ADAMS_BASHFORTH[len(slopes) - 1], slopes)
            if len(slopes) == 1 and sigma_next > 0:
                ahead = latents + slope * (sigma_next - sigma)
                slope = (slope + (ahead - denoise(ahead, sigma_next)) / sigma_next) / 2
            denoised = latents - slope * sigma
            latents = latents + slope * (sigma_next - sigma)
            yield Step(index, latents, denoised)

    yield from restore_variance(steps(latents), sigmas)


@torch.inference_mode()
def dpmpp_2m(
    denoise: Denoise, latents: Tensor, sigmas: Sequence[float], noise: NoiseSource, setup: Setup = PLAIN
) -> Iterator[Step]:
    """DPM-Solver++(2M). Lu et al. 2022, arXiv:2211.01095, algorithm 2, in the variable lambda = -log sigma."""
    previous: Tensor | None = None
    before = 0.0  # the last step's length in lambda
    for index, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        denoised = denoise(latents, sigma)
        if sigma_next == 0:
            latents = denoised
        else:
            length = math.log(sigma / sigma_next)
            target = denoised if previous is None else denoised + (denoised - previous) * (length / (2 * before))
            latents = target + (latents - target) * (sigma_next / sigma)
            before = length
        previous = denoised
        yield Step(index, latents, denoised)


@torch.inference_mode()
def unipc(
    denoise: Denoise, latents: Tensor, sigmas: Sequence[float], noise: NoiseSource, setup: Setup = PLAIN
) -> Iterator[Step]:
    """UniPC of order 3 with B(h) = h on predicted clean latents. Zhao et al. 2023, arXiv:2302.04867, algorithms 1, 2.

    Each prediction first corrects the step that led to it. The last steps have a lower order, as the authors advise.
    """

    def steps(latents: Tensor) -> Iterator[Step]:
        known: deque[tuple[float, Tensor]] = deque(maxlen=3)  # (sigma, prediction), newest first
        before = latents  # the corrected latents at the newest of them
        for index, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
            denoised = denoise(latents, sigma)
            if known:
                order = _unipc_order(index - 1, len(sigmas) - 1)
                latents = _unipc_step(before, list(known)[:order], sigma, corrected_by=denoised)
            known.appendleft((sigma, denoised))
            before = latents
            order = _unipc_order(index, len(sigmas) - 1)
            latents = _unipc_step(before, list(known)[:order], sigma_next) if sigma_next > 0 else denoised
            yield Step(index, latents, denoised)

    yield from restore_variance(steps(latents), sigmas)


def _unipc_order(index: int, steps: int) -> int:
    return min(3, index + 1, steps - index)


def _unipc_step(
    latents: Tensor, known: Sequence[tuple[float, Tensor]], sigma_next: float, corrected_by: Tensor | None = None
) -> Tensor:
    """Return the latents at `sigma_next` from those at the newest of the `known` predictions; `corrected_by` is the
    prediction at `sigma_next`, if it is there already."""
    sigma, newest = known[0]
    length = math.log(sigma / sigma_next)
    ahead = newest + (latents - newest) * (sigma_next / sigma)
    shares = [math.log(sigma / earlier) / length for earlier, _ in known[1:]]
    changes = [(prediction - newest) / share for share, (_, prediction) in zip(shares, known[1:], strict=True)]
    if corrected_by is not None:
        shares, changes = [*shares, 1.0], [*changes, corrected_by - newest]
    if not changes:
        return ahead
    return ahead + _sum([length * weight for weight in _unipc_weights(shares, length)], changes)


def _unipc_weights(shares: Sequence[float], length: float) -> list[float]:
    """Return the solution of the paper's equation 10; with one point its simplified value 1/2."""
    if len(shares) == 1:
        return [0.5]
    matrix, right = [], []
    term = math.expm1(-length) / -length - 1
    factorial = 1
    for power in range(len(shares)):
        matrix.append([share**power for share in shares])
        factorial *= power + 1
        right.append(term * factorial / -length)
        term = term / -length - 1 / (factorial * (power + 2))
    return [float(weight) for weight in numpy.linalg.solve(matrix, right)]
