"""The samplers and schedules by name. The engine implements exactly these; the server lists them without torch."""

from __future__ import annotations

from webui.domain.frozen import Data
from webui.errors import NotFound


class SamplerInfo(Data):
    """One sampler: its name as users know it, the names it also answers to, and how many network calls a step costs.

    `stochastic`: it adds noise unless told otherwise. `default_eta`: how much, None if that cannot be set.
    `churns`: noise can be added before its steps. `uses_seed_delta`: its noise comes from the seed plus ENSD.
    `discards_penultimate`: its schedule is made for one step more and loses the last level above the end.
    `one_at_a_time`: what it does depends on all it computes together, so images are not computed together.
    `solves_flow`: it also works where noise is mixed in and not added (flow matching). The equation is the same, so all
    that follow it without adding noise would; those are named that are tested.
    """

    name: str
    aliases: tuple[str, ...] = ()
    calls_per_step: int = 1
    stochastic: bool = False
    default_schedule: str = "Uniform"
    default_eta: float | None = None
    churns: bool = False
    uses_seed_delta: bool = False
    discards_penultimate: bool = False
    brownian: bool = False
    one_at_a_time: bool = False
    solves_flow: bool = False

    @property
    def options(self) -> dict[str, str]:
        """Return what A1111 lists about a sampler, under its names."""
        options = {"scheduler": self.default_schedule.lower()} if self.default_schedule != "Uniform" else {}
        flags = {
            "discard_next_to_last_sigma": self.discards_penultimate,
            "uses_ensd": self.uses_seed_delta,
            "second_order": self.calls_per_step == 2,
            "brownian_noise": self.brownian,
        }
        return options | {name: "True" for name, holds in flags.items() if holds}


class ScheduleInfo(Data):
    """One schedule: `name` is A1111's short name (`karras`), `label` what the user sees (`Karras`).

    `default_rho` is None where there is no rho; `uses_levels`: it is made of the network's own noise levels.
    `fits_flow`: it can be used where noise levels go from 0 to 1 (flow matching).
    """

    name: str
    label: str
    aliases: tuple[str, ...] = ()
    default_rho: float | None = None
    uses_levels: bool = False
    fits_flow: bool = True


def _ancestral(name: str, *aliases: str, calls: int = 1, schedule: str = "Uniform", **more: bool) -> SamplerInfo:
    return SamplerInfo(
        name=name, aliases=aliases, calls_per_step=calls, default_schedule=schedule, stochastic=True, default_eta=1.0,
        uses_seed_delta=True, **more,
    )  # fmt: skip


def _brownian(name: str, *aliases: str, calls: int = 1, schedule: str = "Exponential", **more: bool) -> SamplerInfo:
    return SamplerInfo(
        name=name, aliases=aliases, calls_per_step=calls, default_schedule=schedule, stochastic=True, default_eta=1.0,
        brownian=True, **more,
    )  # fmt: skip


SAMPLERS: tuple[SamplerInfo, ...] = (
    SamplerInfo(name="DPM++ 2M", aliases=("k_dpmpp_2m",), default_schedule="Karras", solves_flow=True),
    _brownian("DPM++ SDE", "k_dpmpp_sde", calls=2, schedule="Karras"),
    _brownian("DPM++ 2M SDE", "k_dpmpp_2m_sde"),
    _brownian("DPM++ 2M SDE Heun", "k_dpmpp_2m_sde_heun"),
    _ancestral("DPM++ 2S a", "k_dpmpp_2s_a", calls=2, schedule="Karras"),
    _brownian("DPM++ 3M SDE", "k_dpmpp_3m_sde", discards_penultimate=True),
    _ancestral("Euler a", "k_euler_a", "k_euler_ancestral", solves_flow=True),
    SamplerInfo(name="Euler", aliases=("k_euler",), churns=True, solves_flow=True),
    SamplerInfo(name="LMS", aliases=("k_lms",), solves_flow=True),
    SamplerInfo(name="Heun", aliases=("k_heun",), calls_per_step=2, churns=True, solves_flow=True),
    SamplerInfo(
        name="DPM2", aliases=("k_dpm_2",), calls_per_step=2, default_schedule="Karras", churns=True,
        discards_penultimate=True,
    ),
    _ancestral("DPM2 a", "k_dpm_2_a", calls=2, schedule="Karras", discards_penultimate=True),
    _ancestral("DPM fast", "k_dpm_fast"),
    _ancestral("DPM adaptive", "k_dpm_ad", one_at_a_time=True),
    SamplerInfo(name="Restart", aliases=("restart",), calls_per_step=2, default_schedule="Karras", stochastic=True),
    SamplerInfo(name="DDIM", aliases=("ddim",), default_eta=0.0),
    SamplerInfo(name="DDIM CFG++", aliases=("ddim_cfgpp",), default_eta=0.0),
    SamplerInfo(name="PLMS", aliases=("plms",)),
    SamplerInfo(name="UniPC", aliases=("unipc",)),
    SamplerInfo(name="LCM", aliases=("k_lcm",), stochastic=True),
    SamplerInfo(name="DDPM", aliases=("ddpm",), stochastic=True),
    SamplerInfo(name="TCD", aliases=("tcd",), stochastic=True, default_eta=0.3),
    SamplerInfo(name="DEIS", aliases=("deis",), solves_flow=True),
    SamplerInfo(name="IPNDM", aliases=("ipndm",), solves_flow=True),
    SamplerInfo(name="ER-SDE", aliases=("er_sde",), stochastic=True),
)  # fmt: skip

SCHEDULES: tuple[ScheduleInfo, ...] = (
    ScheduleInfo(name="automatic", label="Automatic"),
    ScheduleInfo(name="uniform", label="Uniform", uses_levels=True),
    ScheduleInfo(name="karras", label="Karras", default_rho=7.0),
    ScheduleInfo(name="exponential", label="Exponential"),
    ScheduleInfo(name="polyexponential", label="Polyexponential", default_rho=1.0),
    ScheduleInfo(name="sgm_uniform", label="SGM Uniform", aliases=("SGMUniform",), uses_levels=True),
    ScheduleInfo(name="kl_optimal", label="KL Optimal"),
    ScheduleInfo(name="align_your_steps", label="Align Your Steps", fits_flow=False),
    ScheduleInfo(name="simple", label="Simple", uses_levels=True),
    ScheduleInfo(name="normal", label="Normal", uses_levels=True),
    ScheduleInfo(name="ddim", label="DDIM", uses_levels=True),
    ScheduleInfo(name="beta", label="Beta", uses_levels=True),
    ScheduleInfo(name="turbo", label="Turbo", uses_levels=True),
)

OLD_SUFFIXES = {"_ka": "Karras", "_exp": "Exponential"}
"""Ends of A1111's old short names, such as `k_dpmpp_2m_sde_ka` → schedule."""


def find_sampler(name: str) -> SamplerInfo:
    """Return the sampler called `name` (any case, or an alias); raise `NotFound` naming what exists."""
    wanted = name.strip().lower()
    for sampler in SAMPLERS:
        if wanted == sampler.name.lower() or wanted in sampler.aliases:
            return sampler
    known = ", ".join(sampler.name for sampler in SAMPLERS)
    raise NotFound(f"Sampler not found: {name!r}.", hint=f"Use one of: {known}.", field="sampler")


def find_schedule(name: str) -> ScheduleInfo:
    """Return the schedule called `name` (short name, label or alias, any case); raise `NotFound` naming what exists."""
    wanted = name.strip().lower()
    for schedule in SCHEDULES:
        if wanted in (schedule.name, schedule.label.lower(), *map(str.lower, schedule.aliases)):
            return schedule
    known = ", ".join(schedule.label for schedule in SCHEDULES)
    raise NotFound(f"Schedule not found: {name!r}.", hint=f"Use one of: {known}.", field="schedule")


def split_combined(sampler: str, schedule: str = "Automatic") -> tuple[str, str]:
    """Split an old combined name: `DPM++ 2M Karras` → (`DPM++ 2M`, `Karras`). Others pass through unchanged."""
    if schedule.strip().lower() not in ("", "automatic"):
        return sampler, schedule
    suffixes = {f" {info.label}": info.label for info in SCHEDULES} | OLD_SUFFIXES
    for suffix in sorted(suffixes, key=len, reverse=True):
        if sampler.lower().endswith(suffix.lower()) and (suffix.startswith(" ") or sampler.startswith("k_")):
            return sampler[: -len(suffix)], suffixes[suffix]
    return sampler, schedule
