"""The networks of units: read once for a job, on the device while they are needed."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from torch import nn

from extensions.controlnet.facts import ControlRef, UnitFacts
from extensions.controlnet.families import UNETS, refuse_other_family, refuse_uncontrolled
from extensions.controlnet.networks.adapters import load_adapter
from extensions.controlnet.networks.lite import load_lite
from extensions.controlnet.networks.rank_files import load_control_lora
from extensions.controlnet.networks.reading import ControlFile, blaming, read_control
from extensions.controlnet.networks.transformers import load_flux, load_sd3
from extensions.controlnet.networks.unets import load_controlnet
from webui.extending.api import Family, Kind
from webui.extending.computing import Run

Lodged = Callable[[], AbstractContextManager[nn.Module]]
"""Gives the network on the device for the length of a block."""


@dataclass
class Lodgings:
    """The networks of the last job that had some, on the CPU: the next one often needs the same."""

    _read: dict[tuple[Path, Hashable, Path, Hashable], nn.Module] = field(default_factory=dict)

    def begin(self, units: Sequence[UnitFacts]) -> None:
        """Forget what these units of a job do not need."""
        needed = {unit.model.path for unit in units if unit.model is not None}
        self._read = {key: network for key, network in self._read.items() if key[0] in needed}

    def find(self, model: ControlRef, run: Run) -> nn.Module:
        """Return the network of a unit for the checkpoint of `run`; raise `BadFile` if it is not for that one."""
        key = (model.path, model.sha256, run.model.checkpoint.path, run.dtype)
        if key not in self._read:
            self._read[key] = load_network(model, run)
        return self._read[key]


def load_network(model: ControlRef, run: Run) -> nn.Module:
    """Return the network of a control file for the checkpoint of `run`, in its denoiser's precision."""
    refuse_uncontrolled(run.family)
    refuse_other_family(model, run.family)
    file = read_control(model.path)
    with blaming(model.path.name):
        return _load(model, file, run)


def _load(model: ControlRef, file: ControlFile, run: Run) -> nn.Module:
    config, dtype = dict(run.network.config), run.dtype
    if run.family in UNETS:
        if model.kind == Kind.T2I_ADAPTER:
            return load_adapter(file, dtype)
        if model.variant == "lllite":
            return load_lite(file, run.network, dtype)
        if model.variant == "control-lora":
            return load_control_lora(file, config, run.model.own_weights(run.model.denoiser), dtype)
        return load_controlnet(file, config, dtype)
    if run.family == Family.FLUX:
        return load_flux(file, config, dtype)
    return load_sd3(file, config, dtype)


@contextmanager
def lodging(name: str, network: nn.Module, run: Run, *, low_memory: bool) -> Iterator[Lodged]:
    """Give `network` a place on the device for the length of the block, or with `low_memory` each time anew."""
    with ExitStack() as stay:
        if low_memory:
            yield lambda: run.lodge(name, network)
        else:
            there = stay.enter_context(run.lodge(name, network))
            yield lambda: _given(there)


@contextmanager
def _given(network: nn.Module) -> Iterator[nn.Module]:
    yield network
