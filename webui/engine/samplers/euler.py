"""Euler's and Heun's methods and what is built of such steps: DDIM, DDPM, Restart, LCM, TCD."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from webui.engine.denoise import Denoise, FlowLevels
from webui.engine.noise import NoiseSource
from webui.engine.samplers.step import FULL, PLAIN, Setup, Step, churned, split_ancestral

# inference_mode is a decorator everywhere: as a `with` inside a generator it would leak to whoever iterates.


@torch.inference_mode()
def euler(
    denoise: Denoise, latents: Tensor, sigmas: Sequence[float], noise: NoiseSource, setup: Setup = PLAIN
) -> Iterator[Step]:
    """Karras et al. 2022, arXiv:2206.00364, algorithm 2 without correction."""
    for index, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        latents, sigma_hat = churned(latents, sigma, len(sigmas) - 1, noise, setup)
        denoised = denoise(latents, sigma_hat)
        latents = denoised + (latents - denoised) * (sigma_next / sigma_hat)
        yield Step(index, latents, denoised)


@torch.inference_mode()
def euler_ancestral(
    denoise: Denoise, latents: Tensor, sigmas: Sequence[float], noise: NoiseSource, setup: Setup = FULL
) -> Iterator[Step]:
    """Euler steps that go further down than asked and come back up with fresh noise (k-diffusion).

    Where noise is mixed in (flow matching), coming back up takes away from the picture what it adds to the noise.
    """
    for index, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        denoised = denoise(latents, sigma)
        down, up = split_ancestral(sigma, sigma_next, setup.eta)
        latents = denoised + (latents - denoised) * (down / sigma)
        if sigma_next > 0 and isinstance(setup.levels, FlowLevels):
            latents = setup.levels.raised(latents, down, sigma_next, noise.draw() * setup.noise)
        elif sigma_next > 0:
            latents = latents + noise.draw() * (setup.noise * up)
        yield Step(index, latents, denoised)


@torch.inference_mode()
def heun(
    denoise: Denoise, latents: Tensor, sigmas: Sequence[float], noise: NoiseSource, setup: Setup = PLAIN
) -> Iterator[Step]:
    """Karras et al. 2022, arXiv:2206.00364, algorithm 2: two network calls a step, second order."""
    for index, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        latents, sigma_hat = churned(latents, sigma, len(sigmas) - 1, noise, setup)
        latents, denoised = _heun_step(denoise, latents, sigma_hat, sigma_next)
        yield Step(index, latents, denoised)


def _heun_step(denoise: Denoise, latents: Tensor, sigma: float, sigma_next: float) -> tuple[Tensor, Tensor]:
    """Return the latents at `sigma_next` and the clean latents predicted at `sigma`."""
    denoised = denoise(latents, sigma)
    slope = (latents - denoised) / sigma
    ahead = latents + slope * (sigma_next - sigma)
    if sigma_next == 0:
        return ahead, denoised
    slope_ahead = (ahead - denoise(ahead, sigma_next)) / sigma_next
    return latents + (slope + slope_ahead) * ((sigma_next - sigma) / 2), denoised


@torch.inference_mode()
def restart(
    denoise: Denoise, latents: Tensor, sigmas: Sequence[float], noise: NoiseSource, setup: Setup = FULL
) -> Iterator[Step]:
    """Heun's method that goes back up with fresh noise and repeats a stretch. Xu et al. 2023, arXiv:2306.14878.

    The stretch and its repetitions are A1111's, see `restart_segments`.
    """
    reached = sigmas[0]
    for index, (sigma, sigma_next) in enumerate(restart_segments(sigmas)):
        if sigma > reached:
            latents = latents + noise.draw() * (setup.noise * math.sqrt(sigma**2 - reached**2))
        latents, denoised = _heun_step(denoise, latents, sigma, sigma_next)
        reached = sigma_next
        yield Step(index, latents, denoised)


def restart_segments(sigmas: Sequence[float]) -> list[tuple[float, float]]:
    """Return Restart's steps as (from, to), as many as `sigmas` has.

    From 20 steps on, 9 of them (from 36 on: half of them, in two runs) repeat the stretch from about sigma 2 to about
    0.1; the others follow Karras' schedule between the ends of `sigmas`.
    """
    steps = len(sigmas) - 1
    if steps < 20 or sigmas[-1] > 0:
        return list(pairwise(sigmas))
    length, times = (steps // 4, 2) if steps >= 36 else (9, 1)
    main = [*_karras(steps - length * times, sigmas[-2], sigmas[0]), 0.0]
    low = min(range(len(main)), key=lambda index: abs(main[index] - 0.1))
    high = min(range(len(main)), key=lambda index: abs(main[index] - 2.0))
    segments = list(pairwise(main))
    if high >= low:
        return segments
    again = list(pairwise(_karras(length + 1, main[low], main[high])))
    return [*segments[:low], *again * times, *segments[low:]]


def _karras(count: int, low: float, high: float) -> list[float]:
    """Return `count` levels by Karras et al. 2022, equation 5, with rho 7."""
    ends = high ** (1 / 7), low ** (1 / 7)
    return [(ends[0] + index / max(count - 1, 1) * (ends[1] - ends[0])) ** 7 for index in range(count)]


@torch.inference_mode()
def ddim(
    denoise: Denoise, latents: Tensor, sigmas: Sequence[float], noise: NoiseSource, setup: Setup = PLAIN
) -> Iterator[Step]:
    """Song et al. 2020, arXiv:2010.02502, equation 12. In sigma's terms these are Euler's (ancestral) steps."""
    steps = (
        euler_ancestral(denoise, latents, sigmas, noise, setup) if setup.eta else euler(denoise, latents, sigmas, noise)
    )
    yield from restore_variance(steps, sigmas)


def restore_variance(steps: Iterator[Step], sigmas: Sequence[float]) -> Iterator[Step]:
    """Yield `steps`, the last one's latents scaled as an algorithm leaves them whose latents have unit variance.

    It only matters for schedules that end above sigma 0.
    """
    last = 1 / math.sqrt(sigmas[-1] ** 2 + 1)
    for step in steps:
        at_end = step.index == len(sigmas) - 2
        yield Step(step.index, step.latents * last, step.denoised) if at_end else step


@torch.inference_mode()
def ddim_cfgpp(
    denoise: Denoise, latents: Tensor, sigmas: Sequence[float], noise: NoiseSource, setup: Setup = PLAIN
) -> Iterator[Step]:
    """DDIM that takes the guided picture and the unguided noise. Chung et al. 2024, CFG++, arXiv:2406.08070, alg. 2."""

    def steps(latents: Tensor) -> Iterator[Step]:
        for index, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
            denoised = denoise(latents, sigma)
            unguided = setup.unguided[-1] if setup.unguided else denoised
            down, up = split_ancestral(sigma, sigma_next, setup.eta)
            latents = denoised + (latents - unguided) * (down / sigma)
            if up > 0:
                latents = latents + noise.draw() * (setup.noise * up)
            yield Step(index, latents, denoised)

    yield from restore_variance(steps(latents), sigmas)


@torch.inference_mode()
def ddpm(
    denoise: Denoise, latents: Tensor, sigmas: Sequence[float], noise: NoiseSource, setup: Setup = FULL
) -> Iterator[Step]:
    """Ho et al. 2020, arXiv:2006.11239, algorithm 2 with the posterior's variance (equation 7), in sigma's terms."""

    def steps(latents: Tensor) -> Iterator[Step]:
        for index, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
            denoised = denoise(latents, sigma)
            kept = (sigma_next / sigma) ** 2
            latents = denoised + (latents - denoised) * kept
            if sigma_next > 0:
                latents = latents + noise.draw() * (setup.noise * sigma_next * math.sqrt(1 - kept))
            yield Step(index, latents, denoised)

    yield from restore_variance(steps(latents), sigmas)


@torch.inference_mode()
def lcm(
    denoise: Denoise, latents: Tensor, sigmas: Sequence[float], noise: NoiseSource, setup: Setup = FULL
) -> Iterator[Step]:
    """Multistep consistency sampling: forget all but the prediction. Luo et al. 2023, arXiv:2310.04378, algorithm 3."""
    for index, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        latents = denoised = denoise(latents, sigma)
        if sigma_next > 0:
            latents = denoised + noise.draw() * (setup.noise * sigma_next)
        yield Step(index, latents, denoised)


@torch.inference_mode()
def tcd(
    denoise: Denoise, latents: Tensor, sigmas: Sequence[float], noise: NoiseSource, setup: Setup = FULL
) -> Iterator[Step]:
    """Strategic stochastic sampling. Zheng et al. 2024, TCD, arXiv:2402.19159, algorithm 4; `eta` is its gamma.

    Each step goes down to the share 1 - eta of the next timestep and comes back up with fresh noise.
    """
    for index, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        denoised = denoise(latents, sigma)
        down = _share_of_timestep(sigma_next, 1 - setup.eta, setup) if sigma_next > 0 else 0.0
        latents = denoised + (latents - denoised) * (down / sigma)
        if sigma_next > down:
            latents = latents + noise.draw() * (setup.noise * math.sqrt(sigma_next**2 - down**2))
        yield Step(index, latents, denoised)


def _share_of_timestep(sigma: float, share: float, setup: Setup) -> float:
    """Return the noise level of a share of `sigma`'s timestep; of sigma itself where there are no timesteps."""
    if setup.levels is None:
        return sigma * share
    return min(sigma, setup.levels.sigma(math.floor(setup.levels.timestep(sigma) * share + 1e-9)))
