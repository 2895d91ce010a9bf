"""Solvers of the reverse stochastic differential equation. Their noise comes from one Brownian path per image, so that
the same seed leads along the same path whatever the number of steps."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from webui.engine.denoise import Denoise
from webui.engine.noise import NoiseSource, Path
from webui.engine.samplers.quadrature import integrate
from webui.engine.samplers.step import FULL, Setup, Step, split_ancestral


@torch.inference_mode()
def dpmpp_sde(
    denoise: Denoise, latents: Tensor, sigmas: Sequence[float], noise: NoiseSource, setup: Setup = FULL
) -> Iterator[Step]:
    """DPM-Solver++ (2S) for the SDE (Lu et al. 2022, arXiv:2211.01095, section 5), as k-diffusion has it, r = 1/2."""
    path = noise.follow(sigmas)
    for index, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        denoised = denoise(latents, sigma)
        if sigma_next == 0:
            latents = denoised
        else:
            middle = math.sqrt(sigma * sigma_next)
            down, up = split_ancestral(sigma, middle, setup.eta)
            between = denoised + (latents - denoised) * (down / sigma)
            between = between + path.between(sigma, middle) * (setup.noise * up)
            ahead = denoise(between, middle)
            down, up = split_ancestral(sigma, sigma_next, setup.eta)
            latents = ahead + (latents - ahead) * (down / sigma)
            latents = latents + path.between(sigma, sigma_next) * (setup.noise * up)
        yield Step(index, latents, denoised)


@torch.inference_mode()
def dpmpp_2m_sde(
    denoise: Denoise, latents: Tensor, sigmas: Sequence[float], noise: NoiseSource, setup: Setup = FULL
) -> Iterator[Step]:
    """SDE-DPM-Solver++(2M), midpoint. Lu et al. 2022, arXiv:2211.01095, equation 18, with eta as in k-diffusion."""
    yield from _two_step_sde(denoise, latents, sigmas, noise, setup, heun=False)


@torch.inference_mode()
def dpmpp_2m_sde_heun(
    denoise: Denoise, latents: Tensor, sigmas: Sequence[float], noise: NoiseSource, setup: Setup = FULL
) -> Iterator[Step]:
    """SDE-DPM-Solver++(2M) with the exact integral of the linear term (k-diffusion's solver type "heun")."""
    yield from _two_step_sde(denoise, latents, sigmas, noise, setup, heun=True)


def _two_step_sde(
    denoise: Denoise, latents: Tensor, sigmas: Sequence[float], noise: NoiseSource, setup: Setup, *, heun: bool
) -> Iterator[Step]:
    path = noise.follow(sigmas)
    previous: tuple[Tensor, float] | None = None  # the last prediction and the length of its step in log sigma
    for index, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        denoised = denoise(latents, sigma)
        if sigma_next == 0:
            latents = denoised
        else:
            length = math.log(sigma / sigma_next)
            decay = length * (1 + setup.eta)
            latents = denoised + (latents - denoised) * math.exp(-decay)
            if previous is not None:
                rise = (denoised - previous[0]) * (length / previous[1])
                latents = latents + rise * (_phi_2(decay) if heun else -math.expm1(-decay) / 2)
            latents = _with_noise(latents, path, sigma, sigma_next, setup)
            previous = denoised, length
        yield Step(index, latents, denoised)


@torch.inference_mode()
def dpmpp_3m_sde(
    denoise: Denoise, latents: Tensor, sigmas: Sequence[float], noise: NoiseSource, setup: Setup = FULL
) -> Iterator[Step]:
    """SDE-DPM-Solver++ with three remembered predictions (k-diffusion; arXiv:2211.01095, section 5, one order up)."""
    path = noise.follow(sigmas)
    past: list[tuple[Tensor, float]] = []  # predictions and the lengths of their steps, newest first
    for index, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        denoised = denoise(latents, sigma)
        if sigma_next == 0:
            latents = denoised
        else:
            length = math.log(sigma / sigma_next)
            decay = length * (1 + setup.eta)
            latents = denoised + (latents - denoised) * math.exp(-decay)
            if past:
                latents = latents + _correction(denoised, past, length, decay)
            latents = _with_noise(latents, path, sigma, sigma_next, setup)
            past = [(denoised, length), *past[:1]]
        yield Step(index, latents, denoised)


def _correction(denoised: Tensor, past: Sequence[tuple[Tensor, float]], length: float, decay: float) -> Tensor:
    """Return what the prediction's change, and the change of that, add in a step of `length`.

    The latter has half the weight of the exact integral, as in k-diffusion.
    """
    share = past[0][1] / length
    change = (denoised - past[0][0]) / share
    if len(past) == 1:
        return change * _phi_2(decay)
    share_before = past[1][1] / length
    bend = (change - (past[0][0] - past[1][0]) / share_before) / (share + share_before)
    return (change + bend * share) * _phi_2(decay) - bend * (_phi_2(decay) / decay - 0.5)


def _phi_2(decay: float) -> float:
    return math.expm1(-decay) / decay + 1


def _with_noise(latents: Tensor, path: Path, sigma: float, sigma_next: float, setup: Setup) -> Tensor:
    if not setup.eta:
        return latents
    spread = sigma_next * math.sqrt(-math.expm1(-2 * setup.eta * math.log(sigma / sigma_next)))
    return latents + path.between(sigma, sigma_next) * (setup.noise * spread)


@torch.inference_mode()
def er_sde(
    denoise: Denoise, latents: Tensor, sigmas: Sequence[float], noise: NoiseSource, setup: Setup = FULL
) -> Iterator[Step]:
    """Extended reverse-time SDE solver of third order. Cui et al. 2023, arXiv:2309.06169, algorithm 5.

    Its noise scale is phi(s) = s · (exp(s^0.3) + 10), the paper's choice for the variance-exploding case.
    """
    denoised_before: Tensor | None = None
    slope_before: Tensor | None = None
    for index, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        denoised = denoise(latents, sigma)
        if sigma_next == 0:
            latents = denoised
        else:
            scale, length = _noise_scale(sigma_next), sigma_next - sigma
            kept = scale / _noise_scale(sigma)
            latents = denoised + (latents - denoised) * kept
            if denoised_before is not None:
                slope = (denoised - denoised_before) / (sigma - sigmas[index - 1])
                latents = latents + slope * (length + scale * _over_noise_scale(sigma_next, sigma, 0))
                if slope_before is not None:
                    bend = (slope - slope_before) / ((sigma - sigmas[index - 2]) / 2)
                    weight = length**2 / 2 + scale * _over_noise_scale(sigma_next, sigma, 1)
                    latents = latents + bend * weight
                slope_before = slope
            spread = math.sqrt(max(sigma_next**2 - (sigma * kept) ** 2, 0.0))
            latents = latents + noise.draw() * (setup.noise * spread)
        denoised_before = denoised
        yield Step(index, latents, denoised)


def _noise_scale(sigma: float) -> float:
    return sigma * (math.exp(sigma**0.3) + 10)


def _over_noise_scale(low: float, high: float, power: int) -> float:
    """Return the integral of (s - high)^power / phi(s) from `low` to `high`, taken over log s, where it is smooth."""

    def over_logarithm(logarithm: float) -> float:
        sigma = math.exp(logarithm)
        return (sigma - high) ** power * sigma / _noise_scale(sigma)

    return integrate(over_logarithm, math.log(low), math.log(high))
