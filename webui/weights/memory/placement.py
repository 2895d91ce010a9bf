"""The memory plan of a checkpoint in torch's terms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from webui.weights.checkpoint import Checkpoint
from webui.weights.memory.devices import choose_device, describe_device
from webui.weights.memory_plan.facts import CheckpointFacts, EngineOptions, JobFacts, MemoryMode
from webui.weights.memory_plan.plan import MemoryPlan, plan_memory


@dataclass(frozen=True)
class Placement:
    """The device, the precision of each component, and how many components share the device's memory.

    `elsewhere`: the devices of components that compute on another one. `streamed`: the components that come to the
    device layer by layer, besides the denoiser in lowvram.
    """

    device: torch.device
    dtypes: Mapping[str, torch.dtype]
    mode: MemoryMode = "normal"
    elsewhere: Mapping[str, torch.device] = field(default_factory=dict)
    streamed: tuple[str, ...] = ()
    pinned: bool = True  # streamed networks keep a page-locked copy in RAM

    @classmethod
    def of(cls, plan: MemoryPlan, ram_free: int) -> Placement:
        """Return `plan` in torch's terms."""
        return cls(
            torch.device(plan.device),
            {name: getattr(torch, precision) for name, precision in plan.precisions.items()},
            plan.mode,
            {name: torch.device(kind) for name, kind in plan.devices.items() if kind != plan.device},
            plan.streamed,
            plan.ram < ram_free,
        )

    def device_of(self, component: str) -> torch.device:
        """Return the device that `component` computes on."""
        return self.elsewhere.get(component, self.device)

    def place(self, tensor: Tensor) -> Tensor:
        """Return `tensor` on the device."""
        return tensor.to(self.device)


def choose_placement(options: EngineOptions, checkpoint: Checkpoint, job: JobFacts | None = None) -> Placement:
    """Return where and how the networks of `checkpoint` should compute on this machine (`job`: what is asked first)."""
    device = describe_device(choose_device(options))
    plan = plan_memory(options, device, CheckpointFacts.of(checkpoint), job)
    return Placement.of(plan, device.ram_free)
