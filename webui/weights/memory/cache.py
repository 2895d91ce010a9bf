"""The models in memory: as many as have room, the one that was not used for longest goes first."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from webui.domain.plan import ModelRef
from webui.weights.checkpoint import Checkpoint
from webui.weights.loading.load import load
from webui.weights.memory.devices import choose_device, describe_device, free_unused, measure_room
from webui.weights.memory.placement import Placement, choose_placement
from webui.weights.memory.resident import Resident
from webui.weights.memory_plan.facts import CheckpointFacts, EngineOptions, JobFacts
from webui.weights.memory_plan.plan import MemoryPlan, plan_memory

log = logging.getLogger(__name__)

# Latents, activations and the caches of libraries, roughly; on top of the weights.
_WORKING_MEMORY = 2 * 2**30


@dataclass(frozen=True)
class _Kept:
    """A model in memory, its name, and the bytes it takes in RAM beyond what is mapped from its files."""

    name: str
    resident: Resident
    own: int
    sizes: Mapping[Path, int]  # of its files

    def is_cut_off(self) -> bool:
        """Tell whether a file became smaller: to touch what was mapped from it would end the process.

        One that was replaced or deleted does no harm, what is mapped stays.
        """
        return any(file.exists() and file.stat().st_size < size for file, size in self.sizes.items())


class ModelCache:
    """Keeps the models that were used last, as many as the budget allows: switching back to one of them costs nothing.

    Weights that are merely mapped from their files count for nothing, since the system takes them back when it likes.
    On a GPU without room for all, those that wait are sent home.
    """

    def __init__(self, options: EngineOptions) -> None:
        self._options = options
        self._kept: OrderedDict[tuple[str, ...], _Kept] = OrderedDict()  # by key; the latest comes last

    @property
    def residents(self) -> Sequence[tuple[str, Resident]]:
        """The models in memory, with their names; the one that was used last comes last."""
        return [(kept.name, kept.resident) for kept in self._kept.values()]

    def holds(self, model: ModelRef) -> bool:
        """Tell whether `model` is in memory."""
        return _key(model) in self._kept

    def use(self, model: ModelRef) -> Resident | None:
        """Return `model`, ready to compute, if it is in memory and its files are what they were."""
        if not self.holds(model):
            return None
        if self._kept[_key(model)].is_cut_off():
            del self._kept[_key(model)]
            return None
        self._kept.move_to_end(_key(model))
        resident = self._kept[_key(model)].resident
        if resident.placement.mode != "normal" or not (resident.is_awake or _has_room(resident)):
            self._send_others_home(resident)
        resident.wake()
        return resident

    def adapt(self, resident: Resident, job: JobFacts) -> None:
        """Let `resident` share the device's memory in the way that suits `job` best."""
        placement = choose_placement(self._options, resident.checkpoint, job)
        if placement.mode != "normal":
            self._send_others_home(resident)
        resident.change_placement(placement)

    def predict(self, resident: Resident, job: JobFacts) -> MemoryPlan:
        """Return what `job` takes with `resident`."""
        device = describe_device(choose_device(self._options))
        return plan_memory(self._options, device, CheckpointFacts.of(resident.checkpoint), job)

    def make_room(self, checkpoint: Checkpoint) -> None:
        """Let go of the models that the budget does not hold beside that of `checkpoint`.

        What they take is free when nobody else refers to them any more.
        """
        needed = _weigh_own(checkpoint, choose_placement(self._options, checkpoint))
        missing = needed + _WORKING_MEMORY - psutil.virtual_memory().available
        if self._options.cache_budget is not None:
            taken = sum(kept.own for kept in self._kept.values())
            missing = max(missing, taken + needed - self._options.cache_budget)
        most = self._options.most_models
        while self._kept and (missing > 0 or (most is not None and len(self._kept) >= most)):
            _, gone = self._kept.popitem(last=False)
            missing -= gone.own
            log.info("%s leaves memory.", gone.name)

    def load(self, model: ModelRef, checkpoint: Checkpoint, forget: Callable[[], None] = lambda: None) -> Resident:
        """Return `model`, freshly loaded from the files of `checkpoint`; raise `BadFile` when they do not fit.

        Others leave memory only once the files are known to be good; then `forget` lets go of what belongs to them.
        """
        placement = choose_placement(self._options, checkpoint)

        def make_room() -> None:
            self.make_room(checkpoint)
            forget()
            if placement.mode != "normal":
                self._send_others_home(None)
            free_unused()

        sizes = {file: file.stat().st_size for file in checkpoint.weight_files}
        resident = Resident(load(checkpoint, placement.dtypes, make_room), placement, self._send_others_home)
        self._kept[_key(model)] = _Kept(model.name, resident, _weigh_own(checkpoint, placement), sizes)
        log.info("Loaded %s on %s (%s).", model.name, placement.device, placement.dtypes[checkpoint.denoiser])
        return resident

    def release(self) -> None:
        """Let go of all models and give their memory back."""
        self._kept.clear()
        free_unused()

    def _send_others_home(self, active: Resident | None) -> bool:
        """Send all models but one home; tell whether there were any on the device."""
        others = [resident for _, resident in self.residents if resident is not active and resident.is_awake]
        for resident in others:
            resident.rest()
        if others:  # to look for what nothing refers to takes a third of a second
            free_unused()
        return bool(others)


def _key(model: ModelRef) -> tuple[str, ...]:
    parts = (f"{part.component} {part.sha256}" for part in model.parts)
    return str(model.path), model.sha256, "8 bits" if model.eight_bit else "", *parts


def _weigh_own(checkpoint: Checkpoint, placement: Placement) -> int:
    """Return the bytes that the weights of `checkpoint` will take in RAM beyond what is mapped from its files."""
    parts = CheckpointFacts.of(checkpoint).parts
    dtypes = placement.dtypes
    return sum(
        part.copied(str(dtypes[name]).removeprefix("torch."), dtypes[name].itemsize) for name, part in parts.items()
    )


def _has_room(resident: Resident) -> bool:
    """Tell whether a model that rests fits on the device beside what is there."""
    if resident.placement.device.type == "cpu":
        return True
    free_unused()
    return resident.weigh() + _WORKING_MEMORY <= measure_room(resident.placement.device)
