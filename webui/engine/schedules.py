"""From how many steps to which noise levels: one function per schedule."""

from __future__ import annotations

from collections.abc import Callable

from webui.domain.sampling import find_sampler
from webui.engine.denoise import NoiseLevels
from webui.errors import NotFound

Schedule = Callable[[int, NoiseLevels], list[float]]
"""(steps, levels) → steps + 1 falling sigmas; the last is where sampling ends, usually 0."""


def uniform(steps: int, levels: NoiseLevels) -> list[float]:
    """Timesteps evenly spaced from the last to the first (k-diffusion's `get_sigmas`)."""
    last = levels.count - 1
    return [levels.sigma(last * (1 - index / max(steps - 1, 1))) for index in range(steps)] + [0.0]


def karras(steps: int, levels: NoiseLevels) -> list[float]:
    """Denser towards low noise. Karras et al. 2022, arXiv:2206.00364, equation 5, with rho 7."""
    rho = 7.0
    low, high = levels.lowest ** (1 / rho), levels.highest ** (1 / rho)
    return [(high + index / max(steps - 1, 1) * (low - high)) ** rho for index in range(steps)] + [0.0]


def ddim(steps: int, levels: NoiseLevels) -> list[float]:
    """DDIM's own spacing: every (count // steps)-th timestep counted from 1, ending at timestep 0 and not at sigma 0.

    Song et al. 2020, arXiv:2010.02502; diffusers calls it "leading" with an offset of 1.
    """
    stride = levels.count // steps
    timesteps = [min(index * stride + 1, levels.count - 1) for index in reversed(range(steps))]
    return [levels.sigma(timestep) for timestep in [*timesteps, 0]]


_SCHEDULES: dict[str, Schedule] = {"Uniform": uniform, "Karras": karras}
_OWN_SCHEDULES: dict[str, Schedule] = {"DDIM": ddim}


def find_sigmas(sampler: str, schedule: str, steps: int, levels: NoiseLevels) -> list[float]:
    """Return the noise levels for a sampler and a schedule by their names; "Automatic" is the sampler's own choice.

    Raises `NotFound` for a schedule that does not exist.
    """
    if schedule == "Automatic":
        chosen = _OWN_SCHEDULES.get(sampler) or _SCHEDULES[find_sampler(sampler).default_schedule]
        return chosen(steps, levels)
    if schedule not in _SCHEDULES:
        raise NotFound(f"Schedule not found: {schedule!r}.", field="schedule")
    return _SCHEDULES[schedule](steps, levels)
