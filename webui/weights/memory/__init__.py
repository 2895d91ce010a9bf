"""Where weights live and in which precision they compute: the only place that moves anything between devices."""

from __future__ import annotations

from webui.weights.memory.cache import ModelCache
from webui.weights.memory.devices import (
    choose_device,
    describe_device,
    drop_what_it_held,
    fetch,
    free_unused,
    is_out_of_memory,
    measure_room,
    settle,
)
from webui.weights.memory.placement import Placement, choose_placement
from webui.weights.memory.resident import Resident
from webui.weights.memory_plan.facts import EngineOptions, JobFacts, MemoryMode

__all__ = [
    "EngineOptions",
    "JobFacts",
    "MemoryMode",
    "ModelCache",
    "Placement",
    "Resident",
    "choose_device",
    "choose_placement",
    "describe_device",
    "drop_what_it_held",
    "fetch",
    "free_unused",
    "is_out_of_memory",
    "measure_room",
    "settle",
]
