"""The samplers and schedules by name. The engine implements exactly these; the server lists them without torch."""

from __future__ import annotations

from webui.domain.frozen import Data
from webui.errors import NotFound


class SamplerInfo(Data):
    """One sampler: its name as users know it, the names it also answers to, and how many network calls a step costs."""

    name: str
    aliases: tuple[str, ...] = ()
    calls_per_step: int = 1
    stochastic: bool = False
    default_schedule: str = "Uniform"


class ScheduleInfo(Data):
    """One schedule: `name` is A1111's short name (`karras`), `label` what the user sees (`Karras`)."""

    name: str
    label: str


SAMPLERS: tuple[SamplerInfo, ...] = (
    SamplerInfo(name="DPM++ 2M", aliases=("k_dpmpp_2m",), default_schedule="Karras"),
    SamplerInfo(name="Euler a", aliases=("k_euler_a", "k_euler_ancestral"), stochastic=True),
    SamplerInfo(name="Euler", aliases=("k_euler",)),
    SamplerInfo(name="Heun", aliases=("k_heun",), calls_per_step=2),
    SamplerInfo(name="DDIM", aliases=("ddim",)),
)

SCHEDULES: tuple[ScheduleInfo, ...] = (
    ScheduleInfo(name="automatic", label="Automatic"),
    ScheduleInfo(name="uniform", label="Uniform"),
    ScheduleInfo(name="karras", label="Karras"),
)


def find_sampler(name: str) -> SamplerInfo:
    """Return the sampler called `name` (any case, or an alias); raise `NotFound` naming what exists."""
    wanted = name.strip().lower()
    for sampler in SAMPLERS:
        if wanted == sampler.name.lower() or wanted in sampler.aliases:
            return sampler
    known = ", ".join(sampler.name for sampler in SAMPLERS)
    raise NotFound(f"Sampler not found: {name!r}.", hint=f"Use one of: {known}.", field="sampler")


def find_schedule(name: str) -> ScheduleInfo:
    """Return the schedule called `name` (short name or label, any case); raise `NotFound` naming what exists."""
    wanted = name.strip().lower()
    for schedule in SCHEDULES:
        if wanted in (schedule.name, schedule.label.lower()):
            return schedule
    known = ", ".join(schedule.label for schedule in SCHEDULES)
    raise NotFound(f"Schedule not found: {name!r}.", hint=f"Use one of: {known}.", field="schedule")


def split_combined(sampler: str, schedule: str = "Automatic") -> tuple[str, str]:
    """Split an old combined name: `DPM++ 2M Karras` → (`DPM++ 2M`, `Karras`). Others pass through unchanged."""
    for info in SCHEDULES:
        suffix = f" {info.label}"
        if sampler.lower().endswith(suffix.lower()) and schedule.strip().lower() in ("", "automatic"):
            return sampler[: -len(suffix)], info.label
    return sampler, schedule
