"""DPM-Solver and DPM-Solver++ in single steps: several network calls within a step, none remembered."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from webui.engine.denoise import Denoise
from webui.engine.noise import NoiseSource
from webui.engine.samplers.step import FULL, PLAIN, Setup, Step, churned, split_ancestral


def _middle(sigma: float, sigma_next: float) -> float:
    """Return the sigma halfway between two on the logarithmic scale."""
    return math.sqrt(sigma * sigma_next)


def _midpoint_step(denoise: Denoise, latents: Tensor, denoised: Tensor, sigma: float, sigma_next: float) -> Tensor:
    """Return the latents at `sigma_next` along the slope at the logarithmic middle (DPM-Solver-2 with r = 1/2)."""
    middle = _middle(sigma, sigma_next)
    slope = (latents - denoised) / sigma
    between = latents + slope * (middle - sigma)
    slope = (between - denoise(between, middle)) / middle
    return latents + slope * (sigma_next - sigma)


@torch.inference_mode()
def dpm_2(
    denoise: Denoise, latents: Tensor, sigmas: Sequence[float], noise: NoiseSource, setup: Setup = PLAIN
) -> Iterator[Step]:
    """DPM-Solver-2 (Lu et al. 2022, arXiv:2206.00927, algorithm 1) with the churn of Karras et al. 2022."""
    for index, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        latents, sigma_hat = churned(latents, sigma, len(sigmas) - 1, noise, setup)
        denoised = denoise(latents, sigma_hat)
        latents = _midpoint_step(denoise, latents, denoised, sigma_hat, sigma_next) if sigma_next > 0 else denoised
        yield Step(index, latents, denoised)


@torch.inference_mode()
def dpm_2_ancestral(
    denoise: Denoise, latents: Tensor, sigmas: Sequence[float], noise: NoiseSource, setup: Setup = FULL
) -> Iterator[Step]:
    """DPM-Solver-2's steps to a lower sigma, then back up with fresh noise (k-diffusion)."""
    for index, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        denoised = denoise(latents, sigma)
        down, up = split_ancestral(sigma, sigma_next, setup.eta)
        if down == 0:
            latents = denoised
        else:
            latents = _midpoint_step(denoise, latents, denoised, sigma, down)
            latents = latents + noise.draw() * (setup.noise * up)
        yield Step(index, latents, denoised)


@torch.inference_mode()
def dpmpp_2s_ancestral(
    denoise: Denoise, latents: Tensor, sigmas: Sequence[float], noise: NoiseSource, setup: Setup = FULL
) -> Iterator[Step]:
    """DPM-Solver++(2S) (Lu et al. 2022, arXiv:2211.01095, algorithm 1, r = 1/2) with ancestral noise (k-diffusion)."""
    for index, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        denoised = denoise(latents, sigma)
        down, up = split_ancestral(sigma, sigma_next, setup.eta)
        if down == 0:
            latents = denoised
        else:
            middle = _middle(sigma, down)
            between = denoised + (latents - denoised) * (middle / sigma)
            ahead = denoise(between, middle)
            latents = ahead + (latents - ahead) * (down / sigma)
        if sigma_next > 0:
            latents = latents + noise.draw() * (setup.noise * up)
        yield Step(index, latents, denoised)


class _Solver:
    """DPM-Solver-1, -2 and -3 from one point: Lu et al. 2022, arXiv:2206.00927, algorithms 1 and 2.

    Time is t = -log sigma. Network calls that two orders share are made once.
    """

    def __init__(self, denoise: Denoise, latents: Tensor, start: float) -> None:
        self._denoise = denoise
        self._latents = latents
        self._start = start
        self._after: dict[float, Tensor] = {}
        sigma = math.exp(-start)
        self.denoised = denoise(latents, sigma)
        self._slope = (latents - self.denoised) / sigma

    def first(self, end: float) -> Tensor:
        return self._latents - self._slope * (math.exp(-end) * math.expm1(end - self._start))

    def second(self, end: float, share: float = 0.5) -> Tensor:
        length = end - self._start
        change = self._slope_at(share, length, lambda: self.first(self._start + share * length)) - self._slope
        return self.first(end) - change * (math.exp(-end) * math.expm1(length) / (2 * share))

    def third(self, end: float) -> Tensor:
        length = end - self._start
        early, late = 1 / 3, 2 / 3
        change = self._slope_at(early, length, lambda: self.first(self._start + early * length)) - self._slope

        def between() -> Tensor:
            to = self._start + late * length
            curve = math.expm1(late * length) / (late * length) - 1
            return self.first(to) - change * (math.exp(-to) * (late / early) * curve)

        change_late = self._slope_at(late, length, between) - self._slope
        curve = math.expm1(length) / length - 1
        return self.first(end) - change_late * (math.exp(-end) / late * curve)

    def _slope_at(self, share: float, length: float, latents: Callable[[], Tensor]) -> Tensor:
        if share not in self._after:
            there = latents()
            sigma = math.exp(-(self._start + share * length))
            self._after[share] = (there - self._denoise(there, sigma)) / sigma
        return self._after[share]


def _ends(sigmas: Sequence[float]) -> tuple[float, float]:
    """Return the times -log sigma of the highest and the lowest noise level above 0."""
    return -math.log(sigmas[0]), -math.log(min(sigma for sigma in sigmas if sigma > 0))


def _split_times(time: float, time_next: float, end: float, eta: float) -> tuple[float, float]:
    """Return (time to go to without noise, spread of the noise that leads back to `time_next`)."""
    if not eta:
        return time_next, 0.0
    down, _ = split_ancestral(math.exp(-time), math.exp(-time_next), eta)
    further = min(end, -math.log(down)) if down > 0 else end
    return further, math.sqrt(max(math.exp(-2 * time_next) - math.exp(-2 * further), 0.0))


@torch.inference_mode()
def dpm_fast(
    denoise: Denoise, latents: Tensor, sigmas: Sequence[float], noise: NoiseSource, setup: Setup = FULL
) -> Iterator[Step]:
    """DPM-Solver-fast: third-order steps and a rest, one network call for each interval of `sigmas`.

    Lu et al. 2022, arXiv:2206.00927, section 3.4, with ancestral noise (k-diffusion). Only the ends of `sigmas` count:
    the times between are evenly spaced. It ends at the lowest sigma above 0.
    """
    calls = len(sigmas) - 1
    start, end = _ends(sigmas)
    if start >= end:  # one level above 0: nothing to divide
        denoised = denoise(latents, sigmas[0])
        yield Step(calls - 1, denoised, denoised)
        return
    rest = [2, 1] if calls % 3 == 0 else [calls % 3]
    orders = [3] * (calls // 3 + 1 - len(rest)) + rest
    done = 0
    for index, order in enumerate(orders):
        time = start + (end - start) * index / len(orders)
        time_next = start + (end - start) * (index + 1) / len(orders)
        down, up = _split_times(time, time_next, end, setup.eta)
        solver = _Solver(denoise, latents, time)
        latents = (solver.first, solver.second, solver.third)[order - 1](down)
        if setup.eta:
            latents = latents + noise.draw() * (setup.noise * up)
        done += order
        yield Step(done - 1, latents, solver.denoised)


@torch.inference_mode()
def dpm_adaptive(
    denoise: Denoise, latents: Tensor, sigmas: Sequence[float], noise: NoiseSource, setup: Setup = FULL
) -> Iterator[Step]:
    """DPM-Solver-23 with steps as long as the error allows. Lu et al. 2022, arXiv:2206.00927, appendix C.

    Tolerances, first step and step control are k-diffusion's. The error is measured over the whole batch. Only the ends
    of `sigmas` count, and how many there are only measures the progress.
    """
    absolute, relative, safety = 0.0078, 0.05, 0.81
    start, end = _ends(sigmas)
    if start >= end:  # one level above 0: nothing to divide
        denoised = denoise(latents, sigmas[0])
        yield Step(len(sigmas) - 2, denoised, denoised)
        return
    order = 1.5 if setup.eta else 3.0
    time, length, before = start, 0.05, latents
    while time < end - 1e-5:
        time_next = min(end, time + length)
        down, up = _split_times(time, time_next, end, setup.eta)
        solver = _Solver(denoise, latents, time)
        low, high = solver.second(down, share=1 / 3), solver.third(down)
        allowed = torch.clamp(relative * torch.maximum(low.abs(), before.abs()), min=absolute)
        error = float(((low - high) / allowed).square().mean().sqrt())
        factor = 1 + math.atan((1 / (error + 1e-8)) ** (1 / order) - 1)
        length *= factor
        if factor >= safety:
            before, latents, time = low, high, time_next
            if setup.eta:
                latents = latents + noise.draw() * (setup.noise * up)
        share = min((time - start) / (end - start), 1.0)
        yield Step(max(math.ceil(share * (len(sigmas) - 1)) - 1, 0), latents, solver.denoised)
