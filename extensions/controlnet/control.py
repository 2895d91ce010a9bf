"""ControlNet at work: before each call of the denoiser, the networks of the units are asked what to add to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from extensions.controlnet.colour_fixing import fix_colours
from extensions.controlnet.facts import ControlFacts, ControlRef, UnitFacts
from extensions.controlnet.families import UNETS
from extensions.controlnet.hints import Hints, region_of
from extensions.controlnet.lite_hooks import steering_lite
from extensions.controlnet.lodgings import Lodged, Lodgings, lodging
from extensions.controlnet.reference import Look, Looking, referring
from extensions.controlnet.steering import (
    DOUBLE,
    MIDDLE,
    SINGLE,
    WITHIN,
    Steer,
    steer_adapter,
    steer_flux,
    steer_sd3,
    steer_unet,
)
from extensions.controlnet.strength import (
    Region,
    Residuals,
    acts_in_pass,
    acts_now,
    adapter_scales,
    choose_rows,
    scales,
    weigh,
)
from webui.extending.api import Family, Kind
from webui.extending.computing import Combine, Run

_POSITIONS = {
    "UNet2DConditionModel": ("sample", "timestep", "encoder_hidden_states"),
}  # what a denoiser is told without a name
_NOT_FOR_ROWS = ("img_ids", "txt_ids")  # tensors that are the same for all rows


@dataclass(frozen=True, eq=False)
class _Unit:
    """A unit whose network adds residuals; `pooled`: it tells what is in its picture, not where."""

    facts: UnitFacts
    steer: Steer
    region: Region | None
    pooled: bool

    def ask(self, given: Mapping[str, Any], run: Run) -> Residuals:
        """Return what is added to the denoiser's own for all rows of a call; nothing where the unit does not act."""
        rows = choose_rows(run.moment.rows, self.facts.control_mode, self.pooled)
        if not rows or not acts_now(self.facts, run.moment):
            return {}
        count = len(run.moment.rows)
        images = [run.moment.rows[row].image for row in rows]
        residuals = self.steer(given if len(rows) == count else _pick(given, rows, count), images)
        fading = adapter_scales if WITHIN in residuals else scales
        factors = fading(self.facts.control_mode, sum(len(tensors) for tensors in residuals.values()))
        weighed = weigh(residuals, [factor * self.facts.weight for factor in factors], self.region)
        return {name: [_spread(each, rows, count) for each in tensors] for name, tensors in weighed.items()}


@dataclass
class Control:
    """The hook that extensions have for a denoising model, with what is kept between batches of one job."""

    _hints: Hints = field(default_factory=Hints)
    _lodgings: Lodgings = field(default_factory=Lodgings)

    @contextmanager
    def enter(self, run: Run) -> Iterator[None]:
        """Let the units of a plan steer the denoiser of `run` while the block runs."""
        facts = ControlFacts.model_validate(run.facts)
        if _is_refiner(run):
            run.note("ControlNet does not act on the refiner.")
            yield
            return
        self._hints.begin(facts.units)
        self._lodgings.begin(facts.units)
        with ExitStack() as open_:
            looks, units = self._prepare(facts.units, run, open_)
            hook = _make_hook(looks, units, run)
            open_.callback(run.network.register_forward_pre_hook(hook, with_kwargs=True).remove)
            yield

    def wrap_guidance(self, combine: Combine, run: Run) -> Combine:
        """Return how predictions are combined, as units change it that fix colours."""
        return combine if _is_refiner(run) else fix_colours(combine, run, self._hints)

    def _prepare(self, facts: Sequence[UnitFacts], run: Run, open_: ExitStack) -> tuple[list[Look], list[_Unit]]:
        looks, units = [], []
        lodged: dict[tuple[ControlRef, bool], tuple[nn.Module, Lodged]] = {}
        has_second, looking = run.plan.hires is not None, Looking()
        for unit in facts:
            if not acts_in_pass(unit, run.is_second, has_second):
                continue
            if unit.model is None:
                looks.append(open_.enter_context(referring(unit, self._hints, run, looking)))
                continue
            key = unit.model, unit.low_memory
            if key not in lodged:  # two units may share a network
                network = self._lodgings.find(unit.model, run)
                name, low = f"controlnet {unit.number}", unit.low_memory
                lodged[key] = network, open_.enter_context(lodging(name, network, run, low_memory=low))
            network, given = lodged[key]
            if unit.model.variant == "lllite":
                open_.enter_context(self._steer_lite(unit, network, given, run, looking))
            else:
                units.append(self._steered(unit, network, given, run))
        return looks, units

    @contextmanager
    def _steer_lite(
        self, unit: UnitFacts, network: nn.Module, lodged: Lodged, run: Run, looking: Looking
    ) -> Iterator[None]:
        with lodged() as there, steering_lite(unit, there, self._hints, run, looking):
            yield

    def _steered(self, unit: UnitFacts, network: nn.Module, lodged: Lodged, run: Run) -> _Unit:
        assert unit.model is not None
        make = _find_steer(unit.model, run.family)
        steer = make(unit, network, lodged, self._hints, run)
        pooled = bool(getattr(network.config, "global_pool_conditions", False))
        return _Unit(unit, steer, region_of(unit, self._hints, run), pooled)


def _is_refiner(run: Run) -> bool:
    """Tell whether a refiner of another family than the checkpoint's denoises."""
    return run.family == Family.SDXL_REFINER != run.plan.model.family


def _find_steer(model: ControlRef, family: Family) -> Callable[[UnitFacts, nn.Module, Lodged, Hints, Run], Steer]:
    if family in UNETS:
        return steer_adapter if model.kind == Kind.T2I_ADAPTER else steer_unet
    return {Family.FLUX: steer_flux, Family.SD3: steer_sd3}[family]


def _make_hook(looks: Sequence[Look], units: Sequence[_Unit], run: Run) -> Callable[..., Any]:
    def hook(network: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> tuple[tuple[()], dict[str, Any]]:
        names = _POSITIONS.get(type(network).__name__, ())
        told = {**dict(zip(names, given, strict=False)), **named}
        for look in looks:
            look(told)
        found = [unit.ask(told, run) for unit in units]
        return (), _put(told, found)

    return hook


def _put(told: Mapping[str, Any], found: Sequence[Residuals]) -> dict[str, Any]:
    """Return a denoiser's arguments with the sums of all residuals, and of what others added before."""
    sums: dict[str, list[Tensor]] = {}
    for residuals in found:
        for name, tensors in residuals.items():
            if name in sums:
                sums[name] = [one + other for one, other in zip(sums[name], tensors, strict=True)]
            else:
                sums[name] = list(tensors)
    for name, tensors in sums.items():
        before = told.get(name)
        if before is not None:
            own = [before] if name == MIDDLE else before
            sums[name] = [one + other for one, other in zip(own, tensors, strict=True)]
        if name in (DOUBLE, SINGLE):  # tokens of pictures that are looked at besides get nothing
            missing = told["hidden_states"].shape[1] - sums[name][0].shape[1]
            sums[name] = [functional.pad(each, (0, 0, 0, missing)) for each in sums[name]]
    return {**told, **{name: tensors[0] if name == MIDDLE else tensors for name, tensors in sums.items()}}


def _pick(given: Any, rows: Sequence[int], count: int) -> Any:
    """Return the arguments of some rows of a batch of `count`."""
    if isinstance(given, Mapping):
        return {name: value if name in _NOT_FOR_ROWS else _pick(value, rows, count) for name, value in given.items()}
    if isinstance(given, torch.Tensor) and given.dim() > 0 and len(given) == count:
        return given[list(rows)]
    return given


def _spread(residual: Tensor, rows: Sequence[int], count: int) -> Tensor:
    """Return a residual of some rows for all of them: zero for the others."""
    if len(rows) == count:
        return residual
    spread = residual.new_zeros(count, *residual.shape[1:])
    spread[list(rows)] = residual
    return spread
