"""The engine: carries out plans, keeps the last models loaded, and raises nothing but the product's own errors."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from types import MappingProxyType

import torch
from PIL.Image import Image

from webui.domain.events import Loading
from webui.domain.plan import AnyPlan, Plan
from webui.engine.control import Control
from webui.engine.generate import ImageReady, Output, PreviewImage, generate
from webui.engine.models import Models
from webui.errors import EaselError, GenerationError, OutOfMemory
from webui.weights.memory import EngineOptions, choose_device, free_unused, is_out_of_memory

__all__ = ["Control", "Engine", "EngineOptions", "ImageReady", "PreviewImage"]

log = logging.getLogger(__name__)

NO_INPUTS: Mapping[str, Image] = MappingProxyType({})


class Engine:
    """Runs one plan at a time on one device."""

    def __init__(self, options: EngineOptions) -> None:
        if options.threads is not None:
            torch.set_num_threads(options.threads)
        self._options = options
        self._models = Models(options)

    def run(
        self, plan: AnyPlan, control: Control, inputs: Mapping[str, Image] = NO_INPUTS
    ) -> Iterator[Loading | Output]:
        """Yield what happens while `plan` is carried out; it ends early when `control` is interrupted.

        `inputs` are the pictures the plan begins with, by reference.

        Raises `BadFile` when the model cannot be loaded, `OutOfMemory` when the device is too small for the plan, any
        other `EaselError` when the run fails. The engine can be used again after every error.
        """
        if not isinstance(plan, Plan):
            raise GenerationError(f"The engine cannot run a plan of the kind {plan.kind!r}.")
        try:
            loaded = yield from self._models.take(plan.model)
            yield from generate(plan, loaded.resident, loaded.prompts, control, inputs)
        except EaselError:
            raise
        except Exception as error:
            if is_out_of_memory(error):
                free_unused()
                raise _out_of_memory(plan) from error
            log.exception("The run failed.")
            raise GenerationError(f"The engine failed: {type(error).__name__}: {error}") from error

    def release(self) -> None:
        """Give back the memory that models take up."""
        self._models.release()

    def facts(self) -> dict[str, object]:
        """Return what there is to know: device, dtypes, memory mode, loaded model, bytes of weights."""
        device = choose_device(self._options)
        facts: dict[str, object] = {"device": _name(device), "threads": torch.get_num_threads()}
        if device.type == "cuda":
            facts["device_memory"] = torch.cuda.memory_allocated()
            facts["device_memory_peak"] = torch.cuda.max_memory_allocated()
        if self._models.latest is not None:
            name, resident = self._models.latest
            facts["model"] = name
            facts["models"] = self._models.names
            facts["weights"] = resident.weigh()
            facts["memory_mode"] = resident.placement.mode
            facts["dtypes"] = {part: str(resident.dtype(part)).removeprefix("torch.") for part in resident.parts}
            facts["dtype"] = str(resident.dtype("unet")).removeprefix("torch.")
        return facts


def _name(device: torch.device) -> str:
    return str(torch.cuda.get_device_name()) if device.type == "cuda" else device.type


def _out_of_memory(plan: Plan) -> OutOfMemory:
    return OutOfMemory(
        f"Too little memory for {plan.width}×{plan.height} in batches of {plan.batch_size}.",
        hint="Use a smaller size or batch, or start Easel with --medvram or --lowvram.",
    )
