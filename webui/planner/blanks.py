"""Fills the blanks of a request: what was asked, else what the model proposes, else what the product does."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from webui.domain.models import Family, ModelInfo
from webui.domain.request import GenerationRequest
from webui.domain.sampling import find_sampler, find_schedule, split_combined
from webui.settings import Settings

DEFAULT_SAMPLER = "DPM++ 2M"
DEFAULT_SCHEDULE = "Automatic"
DEFAULT_STEPS = 20
DEFAULT_GUIDANCE = 7.0
DEFAULT_SIZE = 512
DEFAULT_SIZES: Mapping[Family, int] = MappingProxyType({Family.SDXL: 1024})  # what else families were trained on


def fill(request: GenerationRequest, settings: Settings, model: ModelInfo | None) -> GenerationRequest:
    """Return the request without blanks (`model` stays blank when there is none to name)."""
    proposed = model.defaults if model else None

    def first(asked: object, name: str, otherwise: object) -> object:
        proposal = getattr(proposed, name, None)
        return next(value for value in (asked, proposal, otherwise) if value is not None)

    size = DEFAULT_SIZES.get(model.family, DEFAULT_SIZE) if model and model.family else DEFAULT_SIZE
    sampler, schedule = split_combined(
        str(first(request.sampler, "sampler", DEFAULT_SAMPLER)),
        str(first(request.schedule, "schedule", DEFAULT_SCHEDULE)),
    )
    return request.replace(
        model=model.name if model else request.model,
        sampler=find_sampler(sampler).name,
        schedule=find_schedule(schedule).label,
        steps=first(request.steps, "steps", DEFAULT_STEPS),
        guidance=first(request.guidance, "guidance", DEFAULT_GUIDANCE),
        width=first(request.width, "width", size),
        height=first(request.height, "height", size),
        clip_skip=request.clip_skip if request.clip_skip is not None else settings.clip_skip,
        emphasis=request.emphasis if request.emphasis is not None else settings.emphasis,
    )
