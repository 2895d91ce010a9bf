"""What every sampler is given and what it yields."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor

from webui.engine.denoise import Denoise, NoiseLevels
from webui.engine.noise import NoiseSource


@dataclass(frozen=True)
class Step:
    """Step `index` (from 0) is done: the latents it left and the clean latents that were predicted in it, [B,C,h,w].

    There are as many steps as intervals between sigmas; a sampler that divides the range itself counts in the same
    measure and may pass over numbers.
    """

    index: int
    latents: Tensor
    denoised: Tensor


@dataclass(frozen=True)
class Setup:
    """What can be set about an algorithm; each one heeds what it knows.

    `eta`: how much of the noise that could be renewed in a step is renewed. `churn`, from sigma `tmin` to `tmax`: how
    much noise is added before the steps (Karras et al. 2022, S_churn …). `noise`: a factor for all noise that is added.
    """

    eta: float = 1.0
    churn: float = 0.0
    tmin: float = 0.0
    tmax: float = math.inf
    noise: float = 1.0
    levels: NoiseLevels | None = None  # what the network was trained on, for algorithms defined on its timesteps
    unguided: Sequence[Tensor] = ()  # holds the last call's prediction without guidance, where there was one


FULL = Setup()
PLAIN = Setup(eta=0.0)

Sample = Callable[[Denoise, Tensor, Sequence[float], NoiseSource, Setup], Iterator[Step]]
"""(denoise, latents at sigmas[0], falling sigmas, noise, setup) → steps; the last one's latents are the result."""


def split_ancestral(sigma: float, sigma_next: float, eta: float) -> tuple[float, float]:
    """Return (down, up): go down to sigma `down` without noise, then back up to `sigma_next` with noise of spread `up`.

    At `eta` 1 that is DDPM's posterior (Ho et al. 2020, arXiv:2006.11239, equation 7), at 0 there is no noise. DDIM's
    eta is the same (Song et al. 2020, arXiv:2010.02502, equation 16).
    """
    up = min(sigma_next, eta * math.sqrt(sigma_next**2 * (sigma**2 - sigma_next**2)) / sigma)
    return math.sqrt(sigma_next**2 - up**2), up


def churned(latents: Tensor, sigma: float, steps: int, noise: NoiseSource, setup: Setup) -> tuple[Tensor, float]:
    """Return latents with a little more noise and their sigma. Karras et al. 2022, arXiv:2206.00364, algorithm 2.

    With churn, noise is drawn in every step, even outside `tmin` … `tmax`, as k-diffusion does.
    """
    if setup.churn <= 0:
        return latents, sigma
    drawn = noise.draw()
    if not setup.tmin <= sigma <= setup.tmax:
        return latents, sigma
    higher = sigma * (1 + min(setup.churn / steps, math.sqrt(2) - 1))
    return latents + drawn * (setup.noise * math.sqrt(higher**2 - sigma**2)), higher
