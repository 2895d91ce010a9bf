"""From how many steps to which noise levels: one function per schedule."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from webui.domain.models import Family
from webui.domain.plan import SamplingPlan
from webui.domain.sampling import find_sampler
from webui.engine.beta import beta_quantile
from webui.engine.denoise import FlowLevels, NoiseLevels
from webui.errors import NotFound


@dataclass(frozen=True)
class Range:
    """What a schedule is made for: the network's noise levels, the sigmas to stay between, and what can be set."""

    levels: NoiseLevels
    low: float
    high: float
    rho: float | None = None  # None: the schedule's own
    beta: tuple[float, float] = (0.6, 0.6)
    family: Family = Family.SD1


Schedule = Callable[[int, Range], list[float]]
"""(steps, range) → about steps + 1 falling sigmas; the last is where sampling ends, usually 0."""


def spaced(start: float, end: float, count: int) -> list[float]:
    """Return `count` evenly spaced numbers from `start` to `end`; a single one is `start`."""
    return [start + (end - start) * (index / max(count - 1, 1)) for index in range(count)]


def uniform(steps: int, among: Range) -> list[float]:
    """Timesteps evenly spaced from the last to the first, whatever the range (k-diffusion's `get_sigmas`)."""
    return [*map(among.levels.sigma, spaced(among.levels.count - 1, 0, steps)), 0.0]


def normal(steps: int, among: Range) -> list[float]:
    """As Uniform, between the timesteps of the ends of the range."""
    start, end = among.levels.position(among.high), among.levels.position(among.low)
    return [*map(among.levels.sigma, spaced(start, end, steps)), 0.0]


def sgm_uniform(steps: int, among: Range) -> list[float]:
    """As Normal, with the lowest level left out and the rest spread: Stability's generative models."""
    start, end = among.levels.position(among.high), among.levels.position(among.low)
    return [*map(among.levels.sigma, spaced(start, end, steps + 1)[:-1]), 0.0]


def karras(steps: int, among: Range) -> list[float]:
    """Denser towards low noise. Karras et al. 2022, arXiv:2206.00364, equation 5, with rho 7."""
    rho = among.rho or 7.0
    return [root**rho for root in spaced(among.high ** (1 / rho), among.low ** (1 / rho), steps)] + [0.0]


def exponential(steps: int, among: Range) -> list[float]:
    """Evenly spaced logarithms (k-diffusion)."""
    return [*map(math.exp, spaced(math.log(among.high), math.log(among.low), steps)), 0.0]


def polyexponential(steps: int, among: Range) -> list[float]:
    """Logarithms spaced like t^rho, with rho 1 as in Exponential (k-diffusion)."""
    low, high = math.log(among.low), math.log(among.high)
    return [math.exp(low + share ** (among.rho or 1.0) * (high - low)) for share in spaced(1, 0, steps)] + [0.0]


def kl_optimal(steps: int, among: Range) -> list[float]:
    """Evenly spaced arctangents, down to the lowest level, not to 0. Sabour et al. 2024, arXiv:2404.14507, sec. 3."""
    return [math.tan(angle) for angle in spaced(math.atan(among.high), math.atan(among.low), steps + 1)]


_ALIGNED: Mapping[bool, Sequence[float]] = MappingProxyType(
    {
        False: (14.615, 6.475, 3.861, 2.697, 1.886, 1.396, 0.963, 0.652, 0.399, 0.152, 0.029),
        True: (14.615, 6.315, 3.771, 2.181, 1.342, 0.862, 0.555, 0.380, 0.234, 0.113, 0.029),
    }
)
"""Is it for SDXL → the levels that were found best for ten steps."""


def align_your_steps(steps: int, among: Range) -> list[float]:
    """Levels optimised for Stable Diffusion 1.5 and XL, the logarithm between them interpolated for other numbers.

    Sabour et al. 2024, arXiv:2404.14507, table 3 and section 4.
    """
    logarithms = [math.log(sigma) for sigma in _ALIGNED[among.family.latents is not Family.SD1]]
    last = len(logarithms) - 1
    sigmas = []
    for place in spaced(0, last, steps):
        before = min(int(place), last - 1)
        sigmas.append(math.exp(logarithms[before] + (place - before) * (logarithms[before + 1] - logarithms[before])))
    return [*sigmas, 0.0]


def simple(steps: int, among: Range) -> list[float]:
    """Every (count / steps)-th trained level, counted from the highest; exactly so where all levels were trained."""
    count = among.levels.count
    if isinstance(among.levels, FlowLevels):
        return [among.levels.sigma(count - 1 - index * count / steps) for index in range(steps)] + [0.0]
    return [among.levels.sigma(count - 1 - int(index * count / steps)) for index in range(steps)] + [0.0]


def ddim(steps: int, among: Range) -> list[float]:
    """Every (count // steps)-th trained level from the second lowest up, and 0. There may be more than steps."""
    stride = max(among.levels.count // steps, 1)
    return [*map(among.levels.sigma, reversed(range(1, among.levels.count, stride))), 0.0]


def beta(steps: int, among: Range) -> list[float]:
    """Sigmas spread like a beta distribution: many at both ends. Lee et al. 2024, arXiv:2407.12173, section 4."""
    shares = [beta_quantile(share, *among.beta) for share in spaced(1, 0, steps)]
    return [among.low + share * (among.high - among.low) for share in shares] + [0.0]


def turbo(steps: int, among: Range) -> list[float]:
    """The last timestep of each of as many equal parts as steps: what SDXL Turbo was distilled at (Sauer et al. 2023,
    arXiv:2311.17042, section 3)."""
    count = among.levels.count
    places = [round((steps - index) * count / steps - 1) for index in range(steps)]
    return [among.levels.sigma(min(max(place, 0), count - 1)) for place in places] + [0.0]


SCHEDULES: Mapping[str, Schedule] = MappingProxyType(
    {
        "Uniform": uniform,
        "Karras": karras,
        "Exponential": exponential,
        "Polyexponential": polyexponential,
        "SGM Uniform": sgm_uniform,
        "KL Optimal": kl_optimal,
        "Align Your Steps": align_your_steps,
        "Simple": simple,
        "Normal": normal,
        "DDIM": ddim,
        "Beta": beta,
        "Turbo": turbo,
    }
)


def timesteps(steps: int, among: Range) -> list[float]:
    """DDIM's own spacing: every (count // steps)-th timestep counted from 1, down to timestep 1 and not to sigma 0.

    Song et al. 2020, arXiv:2010.02502, as latent diffusion and A1111 have it: 20 levels for 20 steps, so 19 intervals.
    A single step goes from the top to the bottom.
    """
    last = among.levels.count - 1
    stride = max(among.levels.count // steps, 1)
    places = [min(place + 1, last) for place in reversed(range(0, among.levels.count, stride))]
    return [*map(among.levels.sigma, places if len(places) > 1 else [last, 1])]


def even_timesteps(steps: int, among: Range) -> list[float]:
    """UniPC's own spacing: even (fractional) timesteps from the last to the first, as many intervals as DDIM has
    levels. Zhao et al. 2023, arXiv:2302.04867, "time_uniform"."""
    stride = max(among.levels.count // steps, 1)
    count = len(range(0, among.levels.count, stride))
    return [*map(among.levels.sigma, spaced(among.levels.count - 1, 0, count + 1))]


def distilled_timesteps(steps: int, among: Range) -> list[float]:
    """TCD's own spacing: as evenly as possible among the 50 timesteps of distillation. Zheng et al. 2024,
    arXiv:2402.19159, section 4.3."""
    levels = among.levels.distilled()
    steps = min(steps, levels.count)
    places = [levels.count - 1 - int(index * levels.count / steps) for index in range(steps)]
    return [*map(levels.sigma, places), 0.0]


_OWN_SCHEDULES: Mapping[str, Schedule] = MappingProxyType(
    {
        "DDIM": timesteps,
        "DDIM CFG++": timesteps,
        "PLMS": timesteps,
        "DDPM": timesteps,
        "UniPC": even_timesteps,
        "TCD": distilled_timesteps,
    }
)

UNSET = SamplingPlan()


def find_sigmas(
    sampler: str, schedule: str, steps: int, levels: NoiseLevels, sampling: SamplingPlan = UNSET,
    family: Family = Family.SD1,
) -> list[float]:  # fmt: skip
    """Return the noise levels for a sampler and a schedule by their names; "Automatic" is the sampler's own choice, and
    Simple for flow-matching networks, which are made for it.

    Raises `NotFound` for a schedule that does not exist.
    """
    low, high = sampling.sigma_min or levels.lowest, sampling.sigma_max or levels.highest
    beta_shape = (sampling.beta_alpha, sampling.beta_beta)
    among = Range(levels, min(low, high), max(low, high), sampling.rho or None, beta_shape, family)
    info = find_sampler(sampler)
    discards = info.discards_penultimate or sampling.discard_penultimate
    sigmas = _find_schedule(sampler, schedule, info.default_schedule, family)(steps + discards, among)
    return [*sigmas[:-2], sigmas[-1]] if discards else sigmas


def _find_schedule(sampler: str, schedule: str, otherwise: str, family: Family) -> Schedule:
    if schedule == "Automatic" and family.is_flow:
        return simple
    if schedule == "Automatic":
        return _OWN_SCHEDULES.get(sampler) or SCHEDULES[otherwise]
    if schedule not in SCHEDULES:
        raise NotFound(f"Schedule not found: {schedule!r}.", field="schedule")
    return SCHEDULES[schedule]
