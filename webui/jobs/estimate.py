"""What a job will take of the worker's memory, known before it runs. Torch is not needed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from webui.domain.models import Family
from webui.domain.plan import AnyPlan, ModelRef, Plan, PreprocessPlan, SeriesPlan, UpscalePlan
from webui.errors import BadRequest, Busy
from webui.weights.memory_plan.facts import CheckpointFacts, DeviceFacts, EngineOptions, JobFacts
from webui.weights.memory_plan.plan import MemoryPlan, plan_memory
from webui.weights.recognition.identify import identify
from webui.weights.recognition.parts import complete

if TYPE_CHECKING:
    from webui.config import Config


class MemoryEstimate(MemoryPlan):
    """The memory plan of a job's most demanding model, and what the device has; see `MemoryPlan`. Bytes."""

    model: str
    free: int
    total: int
    ram_free: int
    ram_total: int


def engine_options(config: Config) -> EngineOptions:
    """Return what the engine may know of the flags."""
    return EngineOptions(
        use_cpu=config.use_cpu,
        memory_mode=config.memory_mode,
        medvram_sdxl=config.medvram_sdxl,
        cache_budget=config.cache_budget,
        most_models=config.most_models,
        half=config.half,
        half_vae=config.half_vae,
        precision=config.precision,
    )


def estimate(options: EngineOptions, facts: Mapping[str, object], plan: AnyPlan) -> MemoryEstimate:
    """Return what `plan` takes on the worker that says `facts` of itself.

    Raises `Busy` while it has said nothing yet, `BadRequest` for a plan that loads no checkpoint or a whole pipeline,
    `BadFile` when the checkpoint cannot be used.
    """
    if isinstance(plan, UpscalePlan | PreprocessPlan):
        raise BadRequest(
            "Only what a checkpoint generates can be estimated.",
            hint="Enlarging works in small tiles, a preprocessor on one picture.",
        )
    told = facts.get("device_facts")
    if not isinstance(told, dict):
        raise Busy("The worker has not told its device yet.", hint="Ask again in a few seconds.")
    device, job = DeviceFacts(**told), JobFacts.of(plan)
    plans = [(model, _plan(options, device, model, job)) for model in _models(plan)]
    model, most = max(plans, key=lambda entry: entry[1].peak)
    return MemoryEstimate(
        **dict(most),
        model=model.name,
        free=device.free,
        total=device.total,
        ram_free=device.ram_free,
        ram_total=device.ram_total,
    )


def _plan(options: EngineOptions, device: DeviceFacts, model: ModelRef, job: JobFacts) -> MemoryPlan:
    checkpoint = complete(identify(model.path), model.parts, model.tokenizer)
    return plan_memory(options, device, CheckpointFacts.of(checkpoint), job)


def _models(plan: Plan | SeriesPlan) -> list[ModelRef]:
    """Return the models that a plan uses, each once."""
    parts = plan.parts if isinstance(plan, SeriesPlan) else (plan,)
    models: dict[tuple[str, str], ModelRef] = {}
    for part in parts:
        hires = part.hires.model if part.hires is not None else None
        refiner = part.refiner.model if part.refiner is not None else None
        for model in (part.model, hires, refiner):
            if model is None:
                continue
            if model.family is Family.OTHER:
                raise BadRequest(f"What {model.name} takes is not known beforehand.", field="model")
            models[str(model.path), model.sha256] = model
    return list(models.values())
