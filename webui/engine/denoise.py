"""The one form every network is brought into: noisy latents and their sigma → the clean latents it sees in them."""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable, Sequence
from copy import copy

import torch
from torch import Tensor

from webui.engine.condition import Condition
from webui.weights.checkpoint import EdmSchedule, FlowSchedule, NoiseSchedule

Denoise = Callable[[Tensor, float], Tensor]
"""(latents [B,C,h,w], sigma) → predicted clean latents, same shape."""

DenoiseGiven = Callable[[Tensor, float, Condition], Tensor]
"""The same under a batch's condition: (latents [B,C+k,h,w], sigma, condition) → predicted clean latents [B,C,h,w].

The last k channels (usually none) carry no noise: they are what the network sees beside the latents.
"""

Predict = Callable[[Tensor, Tensor, Condition], Tensor]
"""A family's network call: (scaled latents [B,C+k,h,w], timestep [], condition) → the raw output [B,C,h,w]."""

Limit = Callable[[Tensor, Tensor], Tensor]
"""(guided, unguided output of a network, or multiples of them [B,C,h,w]) → the guided one as a family wants it."""

ALMOST_NOTHING = 4.8973451890853435e-08  # of a picture's variance at the highest level, where 0 is meant (A1111)
_LEAST = 1e-4  # of a stretched level, to a share of all: the lowest would fall below 0
EDM_LEVELS = 1000  # in the table of those that know every level
DISTILLED_LEVELS = 50  # noise levels on which LCM networks are trained


class NoiseLevels:
    """The sigmas a network was trained on, and what its output means at a sigma.

    Latents at noise level sigma are clean + sigma · noise. Between the trained levels the logarithm of sigma is
    interpolated, so that timesteps may be fractions (as in k-diffusion).
    """

    def __init__(self, schedule: NoiseSchedule) -> None:
        steps, start, end = schedule.train_steps, schedule.beta_start, schedule.beta_end
        if schedule.beta_schedule == "scaled_linear":
            betas = torch.linspace(start**0.5, end**0.5, steps, dtype=torch.float64) ** 2
        else:
            betas = torch.linspace(start, end, steps, dtype=torch.float64)
        kept = torch.cumprod(1 - betas, 0)
        if schedule.zero_terminal:
            kept = _end_in_noise(kept)
        self._logarithms: list[float] = ((1 - kept) / kept).sqrt().log().tolist()
        self._predicts_velocity = schedule.prediction == "v_prediction"

    @property
    def count(self) -> int:
        """How many levels were trained."""
        return len(self._logarithms)

    @property
    def lowest(self) -> float:
        return math.exp(self._logarithms[0])

    @property
    def highest(self) -> float:
        return math.exp(self._logarithms[-1])

    def planned(self, steps: int) -> NoiseLevels:
        """Return the levels for a run of `steps`: the same, unless they were trained otherwise."""
        return self

    def sigma(self, timestep: float) -> float:
        """Return the noise level of a timestep in 0 … count - 1."""
        low = min(int(timestep), self.count - 2)
        share = timestep - low
        return math.exp((1 - share) * self._logarithms[low] + share * self._logarithms[low + 1])

    def timestep(self, sigma: float) -> float:
        """Return the (fractional) timestep of a noise level; levels outside the trained range get the nearest end."""
        return self.position(sigma)

    def position(self, sigma: float) -> float:
        """Return the (fractional) place of a noise level in the table of levels, 0 … count - 1."""
        wanted = math.log(sigma)
        high = min(max(bisect.bisect_left(self._logarithms, wanted), 1), self.count - 1)
        lower, upper = self._logarithms[high - 1], self._logarithms[high]
        return min(max(high - 1 + (wanted - lower) / (upper - lower), 0.0), self.count - 1.0)

    def distilled(self) -> NoiseLevels:
        """Return every 20th level, the highest among them: those that consistency distillation trains (LCM)."""
        return _DistilledLevels(self)

    def noised(self, clean: Tensor, noise: Tensor, sigma: float, extra: float = 0.0) -> Tensor:
        """Return `clean` latents at noise level `sigma`, with `extra` noise on top that the network does not expect."""
        return clean + noise * (sigma + extra)

    def scale(self, sigma: float) -> float:
        """Return the factor that brings noisy latents to unit variance, as the network expects them."""
        return 1 / math.sqrt(sigma * sigma + 1)

    def clean(self, latents: Tensor, output: Tensor, sigma: float) -> Tensor:
        """Return the clean latents that the network's `output` for `latents` stands for."""
        factor = sigma / math.sqrt(sigma * sigma + 1) if self._predicts_velocity else sigma
        return self.anchor(latents, sigma) - output * factor

    def anchor(self, latents: Tensor, sigma: float) -> Tensor:
        """Return the clean latents that an output of zero stands for."""
        return latents / (sigma * sigma + 1) if self._predicts_velocity else latents


class FlowLevels(NoiseLevels):
    """The same for networks of flow matching: latents at noise level sigma are (1 - sigma) · clean + sigma · noise.

    The network tells the velocity noise - clean (Lipman et al. 2022, arXiv:2210.02747; Liu et al. 2022,
    arXiv:2209.03003), at sigma itself times the number of training steps. Every level from 0 to 1 was trained. They lie
    the denser towards 1 the larger the picture is: its `tokens` decide, where the model says so (Esser et al. 2024,
    arXiv:2403.03206, section 5.3.2, as Flux has it). Some are stretched so that a run's last step begins at a level of
    its own, or shifted by the number of steps (as diffusers' schedulers and pipelines do it).
    """

    def __init__(self, schedule: FlowSchedule, tokens: int) -> None:
        self._schedule = schedule
        self._tokens = tokens
        self._steps = schedule.train_steps
        self._stretch = 1.0  # of what is left of a picture
        self._shift = schedule.shift
        if schedule.dynamic:
            rise = (schedule.max_shift - schedule.base_shift) / (schedule.max_tokens - schedule.base_tokens)
            self._shift = math.exp(schedule.base_shift + rise * (tokens - schedule.base_tokens))

    def planned(self, steps: int) -> NoiseLevels:
        planned = copy(self)
        if self._schedule.by_steps:
            planned._shift = math.exp(_shift_by_steps(self._tokens, steps))
        if self._schedule.terminal and steps > 1:
            planned._stretch = (1 - self._schedule.terminal) / (1 - planned.sigma(self._steps / steps - 1))
        return planned

    @property
    def count(self) -> int:
        return self._steps

    @property
    def lowest(self) -> float:
        return self.sigma(0)

    @property
    def highest(self) -> float:
        return 1.0

    def sigma(self, timestep: float) -> float:
        """Return the noise level of a place in the table of levels, -1 (no noise) … count - 1."""
        share = (timestep + 1) / self._steps
        shifted = self._shift * share / (1 + (self._shift - 1) * share)
        return max(1 - (1 - shifted) * self._stretch, share * _LEAST)

    def timestep(self, sigma: float) -> float:
        return sigma * self._steps

    def position(self, sigma: float) -> float:
        shifted = 1 - (1 - sigma) / self._stretch
        share = shifted / (self._shift - (self._shift - 1) * shifted)
        return min(max(share * self._steps - 1, 0.0), self._steps - 1.0)

    def noised(self, clean: Tensor, noise: Tensor, sigma: float, extra: float = 0.0) -> Tensor:
        return clean * (1 - sigma) + noise * (sigma + extra)

    def raised(self, latents: Tensor, low: float, high: float, noise: Tensor) -> Tensor:
        """Return latents at noise level `low` brought up to `high` by fresh `noise`; `high` is below 1."""
        kept = (1 - high) / (1 - low)
        return latents * kept + noise * math.sqrt(max(high**2 - (low * kept) ** 2, 0.0))

    def scale(self, sigma: float) -> float:
        return 1.0

    def clean(self, latents: Tensor, output: Tensor, sigma: float) -> Tensor:
        return latents - output * sigma

    def anchor(self, latents: Tensor, sigma: float) -> Tensor:
        return latents


class EdmLevels(NoiseLevels):
    """The same for networks trained on every level between two, in latents that spread by `sigma_data`.

    (Karras et al. 2022, arXiv:2206.00364, table 1, "EDM".) The table of levels is even in the logarithm.
    """

    def __init__(self, schedule: EdmSchedule) -> None:
        lowest, highest = math.log(schedule.sigma_min), math.log(schedule.sigma_max)
        self._logarithms = torch.linspace(lowest, highest, EDM_LEVELS, dtype=torch.float64).tolist()
        self._predicts_velocity = schedule.prediction == "v_prediction"
        self._spread = schedule.sigma_data

    def timestep(self, sigma: float) -> float:
        return math.log(sigma) / 4

    def distilled(self) -> NoiseLevels:
        """Return all levels: no network of this kind was distilled to know a few of them."""
        return self

    def scale(self, sigma: float) -> float:
        return 1 / math.hypot(sigma, self._spread)

    def clean(self, latents: Tensor, output: Tensor, sigma: float) -> Tensor:
        factor = sigma * self._spread / math.hypot(sigma, self._spread)
        return self.anchor(latents, sigma) + output * (-factor if self._predicts_velocity else factor)

    def anchor(self, latents: Tensor, sigma: float) -> Tensor:
        return latents * (self._spread**2 / (sigma**2 + self._spread**2))


def _shift_by_steps(tokens: int, steps: int) -> float:
    """Return the logarithm of Flux.2's shift: a line through what was found best for 10 and for 200 steps.

    (Black Forest Labs 2025, github.com/black-forest-labs/flux2, `compute_empirical_mu`.)
    """
    many = 0.00016927 * tokens + 0.45666666
    if tokens > 4300:
        return many
    few = 8.73809524e-05 * tokens + 1.89833333
    return few + (many - few) * (steps - 10) / 190


def _end_in_noise(kept: Tensor) -> Tensor:
    """Return the share of a picture's variance that is left at each level, stretched to end in (almost) nothing.

    (Lin et al. 2023, arXiv:2305.08891, algorithm 1.)
    """
    roots = kept.sqrt()
    stretched = ((roots - roots[-1]) * roots[0] / (roots[0] - roots[-1])) ** 2
    stretched[-1] = ALMOST_NOTHING
    return stretched


class _DistilledLevels(NoiseLevels):
    """A part of the levels; the network is asked at their timesteps only, though sigma is taken as it is."""

    def __init__(self, levels: NoiseLevels) -> None:
        self._every = max(levels.count // DISTILLED_LEVELS, 1)
        self._logarithms = levels._logarithms[self._every - 1 :: self._every]
        self._predicts_velocity = levels._predicts_velocity

    def timestep(self, sigma: float) -> float:
        return float(round(self.position(sigma)) * self._every + self._every - 1)


def make_denoiser(
    predict: Predict, levels: NoiseLevels, sigmas: Sequence[float], device: torch.device, channels: int = 4
) -> DenoiseGiven:
    """Return the network as a function from noisy to clean latents; `sigmas` are those it will mostly be asked for.

    Of what it is given, the first `channels` are latents.
    """
    wanted = [sigma for sigma in sigmas if sigma > 0]
    # One transfer before the loop instead of one in each step.
    table = torch.tensor([levels.timestep(sigma) for sigma in wanted], dtype=torch.float32, device=device)
    timesteps = dict(zip(wanted, table.unbind(), strict=True))

    def denoise(latents: Tensor, sigma: float, condition: Condition) -> Tensor:
        timestep = timesteps.get(sigma)
        if timestep is None:
            timestep = timesteps[sigma] = torch.tensor(levels.timestep(sigma), dtype=torch.float32, device=device)
        noisy, beside = latents[:, :channels], latents[:, channels:]
        scaled = noisy * levels.scale(sigma)
        output = predict(torch.cat([scaled, beside], 1) if beside.shape[1] else scaled, timestep, condition)
        return levels.clean(noisy, output, sigma)

    return denoise
