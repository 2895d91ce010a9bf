"""The engine: carries out plans, keeps the last models loaded, and raises nothing but the product's own errors."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import torch
from PIL.Image import Image

from webui.domain.models import Family
from webui.domain.plan import AnyPlan, Plan, PreprocessPlan, SeriesPlan, UpscalePlan
from webui.engine.adapter import Pipelines, generate_by_pipeline
from webui.engine.control import Control
from webui.engine.extras import enlarge
from webui.engine.finishing import finish
from webui.engine.generate import ImageReady, Output, PreviewImage, generate
from webui.engine.models import Models
from webui.engine.run import Modifier
from webui.engine.series import run_series
from webui.engine.tiles import generate_tiles
from webui.errors import EaselError, GenerationError, OutOfMemory
from webui.weights.memory import EngineOptions, choose_device, describe_device, free_unused, is_out_of_memory

__all__ = ["Control", "Engine", "EngineOptions", "ImageReady", "PreviewImage"]

log = logging.getLogger(__name__)

NO_INPUTS: Mapping[str, Image] = MappingProxyType({})


class Engine:
    """Runs one plan at a time on one device."""

    def __init__(
        self,
        options: EngineOptions,
        modifiers: Sequence[Modifier] = (),
        preprocessors: Sequence[Any] = (),
    ) -> None:
        """`modifiers` and `preprocessors` (`webui.extending.offers.Preprocessor`) are what extensions do here."""
        if options.threads is not None:
            torch.set_num_threads(options.threads)
        self._options = options
        self._models = Models(options, modifiers, preprocessors)
        self._pipelines = Pipelines(options)

    def run(self, plan: AnyPlan, control: Control, inputs: Mapping[str, Image] = NO_INPUTS) -> Iterator[Output]:
        """Yield what happens while `plan` is carried out; it ends early when `control` is interrupted.

        `inputs` are the pictures the plan begins with, by reference.

        Raises `BadFile` when the model cannot be loaded, `OutOfMemory` when the device is too small for the plan, any
        other `EaselError` when the run fails. The engine can be used again after every error.
        """
        try:
            match plan:
                case Plan():
                    yield from self._generate(plan, control, inputs)
                case SeriesPlan():
                    yield from run_series(plan, self._generate, control, inputs)
                case UpscalePlan():
                    yield from enlarge(plan, self._models.upscalers, control, inputs)
                case PreprocessPlan():
                    yield ImageReady(0, self._preprocess(plan, inputs))
        except EaselError:
            raise
        except Exception as error:
            if is_out_of_memory(error):
                free_unused()
                raise self._out_of_memory(plan) from error
            log.exception("The run failed.")
            raise GenerationError(f"The engine failed: {type(error).__name__}: {error}") from error

    def _generate(self, plan: Plan, control: Control, inputs: Mapping[str, Image]) -> Iterator[Output]:
        if plan.model.family is Family.OTHER:
            self._models.release()
            yield from generate_by_pipeline(plan, self._pipelines, control)
            return
        self._pipelines.release()
        with self._models.fitted(plan, inputs):
            make = generate_tiles if plan.tiles else generate
            for happened in make(plan, self._models, control, inputs):
                if plan.extensions and isinstance(happened, ImageReady):
                    happened = finish(happened, plan, self._models, control, inputs)
                yield from self._models.take_notes()
                yield happened
            yield from self._models.take_notes()

    def _preprocess(self, plan: PreprocessPlan, inputs: Mapping[str, Image]) -> Image:
        for each in self._models.preprocessors:
            if each.name == plan.preprocessor:
                made: Image = each.run(inputs[plan.images[0].picture], each.options.model_validate(plan.options))
                return made
        raise GenerationError(
            f"There is no preprocessor {plan.preprocessor!r} any more.", hint="Its extension failed; see the log."
        )

    def _out_of_memory(self, plan: AnyPlan) -> OutOfMemory:
        if isinstance(plan, PreprocessPlan):
            return OutOfMemory("Too little memory for the preprocessor.", hint="Choose a smaller resolution.")
        if isinstance(plan, UpscalePlan):
            return OutOfMemory("Too little memory to enlarge the picture.", hint="Choose a smaller scale or tile size.")
        parts = plan.parts if isinstance(plan, SeriesPlan) else (plan,)
        largest = max(parts, key=lambda part: part.size[0] * part.size[1] * part.batch_size)
        width, height = largest.size
        message = f"Too little memory for {width}×{height} in batches of {largest.batch_size}"
        if self._models.latest is not None:
            needed = self._models.predict(self._models.latest[1], plan)
            free = describe_device(choose_device(self._options)).free
            message += f": it takes about {_gigabytes(needed.peak)}, of which {_gigabytes(free)} are free"
        return OutOfMemory(
            f"{message}.", hint="Use a smaller size or batch, or start Easel with --medvram or --lowvram."
        )

    def release(self) -> None:
        """Give back the memory that models take up."""
        self._models.release()
        self._pipelines.release()

    def facts(self) -> dict[str, object]:
        """Return what there is to know: device, dtypes, memory mode, loaded model, bytes of weights."""
        device = choose_device(self._options)
        facts: dict[str, object] = {"device": _name(device), "threads": torch.get_num_threads()}
        facts["device_facts"] = describe_device(device).model_dump()
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
            facts["dtype"] = str(resident.dtype(resident.denoiser)).removeprefix("torch.")
        return facts | self._pipelines.facts()


def _name(device: torch.device) -> str:
    return str(torch.cuda.get_device_name()) if device.type == "cuda" else device.type


def _gigabytes(count: int) -> str:
    return f"{count / 10**9:.1f} GB"
