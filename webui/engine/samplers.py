"""From noise to latents: one generator per algorithm, which yields after each step and ends when it is closed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from webui.engine.denoise import Denoise
from webui.engine.noise import NoiseSource
from webui.errors import NotFound


@dataclass(frozen=True)
class Step:
    """Step `index` (from 0) is done: the latents it left and the clean latents that were predicted in it, [B,C,h,w]."""

    index: int
    latents: Tensor
    denoised: Tensor


Sample = Callable[[Denoise, Tensor, Sequence[float], NoiseSource], Iterator[Step]]
"""(denoise, latents at sigmas[0], falling sigmas, noise) → steps; the last one's latents are the result."""


# inference_mode is a decorator everywhere: as a `with` inside a generator it would leak to whoever iterates.


@torch.inference_mode()
def euler(denoise: Denoise, latents: Tensor, sigmas: Sequence[float], noise: NoiseSource) -> Iterator[Step]:
    """Karras et al. 2022, arXiv:2206.00364, algorithm 2 without churn and correction."""
    for index, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        denoised = denoise(latents, sigma)
        latents = denoised + (latents - denoised) * (sigma_next / sigma)
        yield Step(index, latents, denoised)


@torch.inference_mode()
def euler_ancestral(denoise: Denoise, latents: Tensor, sigmas: Sequence[float], noise: NoiseSource) -> Iterator[Step]:
    """Euler steps that go further down than asked and come back up with fresh noise (k-diffusion, eta 1)."""
    for index, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        denoised = denoise(latents, sigma)
        up = min(sigma_next, math.sqrt(sigma_next**2 * (sigma**2 - sigma_next**2) / sigma**2))
        down = math.sqrt(sigma_next**2 - up**2)
        latents = denoised + (latents - denoised) * (down / sigma)
        if sigma_next > 0:
            latents = latents + noise.draw() * up
        yield Step(index, latents, denoised)


@torch.inference_mode()
def heun(denoise: Denoise, latents: Tensor, sigmas: Sequence[float], noise: NoiseSource) -> Iterator[Step]:
    """Karras et al. 2022, arXiv:2206.00364, algorithm 2 without churn: two network calls a step, second order."""
    for index, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        denoised = denoise(latents, sigma)
        slope = (latents - denoised) / sigma
        ahead = latents + slope * (sigma_next - sigma)
        if sigma_next > 0:
            slope_ahead = (ahead - denoise(ahead, sigma_next)) / sigma_next
            ahead = latents + (slope + slope_ahead) * ((sigma_next - sigma) / 2)
        latents = ahead
        yield Step(index, latents, denoised)


@torch.inference_mode()
def dpmpp_2m(denoise: Denoise, latents: Tensor, sigmas: Sequence[float], noise: NoiseSource) -> Iterator[Step]:
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
def ddim(denoise: Denoise, latents: Tensor, sigmas: Sequence[float], noise: NoiseSource) -> Iterator[Step]:
    """DDIM with eta 0. Song et al. 2020, arXiv:2010.02502, equation 12.

    In sigma's terms that is Euler's method. Its own schedule ends above sigma 0; DDIM's latents then keep unit
    variance, which the last step restores.
    """
    last = 1 / math.sqrt(sigmas[-1] ** 2 + 1)
    for step in euler(denoise, latents, sigmas, noise):
        at_end = step.index == len(sigmas) - 2
        yield Step(step.index, step.latents * last, step.denoised) if at_end else step


@dataclass(frozen=True)
class Sampler:
    """An algorithm and how it starts: from noise · sigma, or from noise of the variance that trained latents have."""

    sample: Sample
    starts_at_unit_variance: bool = False

    def start(self, noise: Tensor, sigma: float) -> Tensor:
        """Return the latents of pure `noise` at the first noise level."""
        return noise * (math.sqrt(sigma**2 + 1) if self.starts_at_unit_variance else sigma)


SAMPLERS: dict[str, Sampler] = {
    "DPM++ 2M": Sampler(dpmpp_2m),
    "Euler a": Sampler(euler_ancestral),
    "Euler": Sampler(euler),
    "Heun": Sampler(heun),
    "DDIM": Sampler(ddim, starts_at_unit_variance=True),
}


def find(name: str) -> Sampler:
    """Return the sampler of a plan; raise `NotFound` when the engine has none of that name."""
    if name not in SAMPLERS:
        raise NotFound(f"Sampler not found: {name!r}.", field="sampler")
    return SAMPLERS[name]
