"""What models that diffusers' own pipelines run can be asked for: the rest is refused, or said to have no effect."""

from __future__ import annotations

from webui.domain.models import Family, ModelInfo
from webui.domain.passes import GuidanceOptions
from webui.domain.pipelines import PipelineInfo, pipeline_of
from webui.domain.plan import Plan
from webui.domain.request import GenerationRequest
from webui.domain.sampling_options import Variation
from webui.domain.start import FromNoise
from webui.errors import BadRequest


def fit_pipeline(request: GenerationRequest, checkpoint: ModelInfo) -> tuple[GenerationRequest, tuple[str, ...]]:
    """Return `request` as the pipeline of `checkpoint` can carry it out, and what the user should know about that.

    A model of a family of ours is asked for anything. Raises `BadRequest` for what would be another kind of job.
    """
    pipeline = pipeline_of(checkpoint)
    if pipeline is None:
        return request, ()
    _refuse(request, pipeline)
    changes = {
        "sampler": "Euler", "schedule": "Automatic", "clip_skip": 1, "vae": None, "emphasis": None,
        "guiding": GuidanceOptions(), "refiner": None, "variation": None,
    }  # fmt: skip
    if not pipeline.sized and checkpoint.defaults.width and checkpoint.defaults.height:
        changes |= {"width": checkpoint.defaults.width, "height": checkpoint.defaults.height}
    if not pipeline.negative:
        changes["negative_prompt"] = ""
    if not pipeline.guidance:
        changes["guidance"] = 1.0
    return request.replace(**changes), (_describe(pipeline), *_note_ignored(request, pipeline, checkpoint))


def _refuse(request: GenerationRequest, pipeline: PipelineInfo) -> None:
    variation = request.variation or Variation()
    resized = variation.resize_from_width is not None or variation.resize_from_height is not None
    impossible = {
        "hires": (request.hires is not None, "do a second pass"),
        "refiner": (request.refiner is not None and request.refiner.switch_at < 1, "hand over to a refiner"),
        "start": (not isinstance(request.start, FromNoise), "begin with a picture"),
        "tiling": (request.tiling != "none", "draw pictures without seams"),
        "variation": (variation.strength > 0 or resized, "mix noise of two seeds or sizes"),
    }
    for field, (asked, what) in impossible.items():
        if asked:
            raise BadRequest(
                f"This model ({pipeline.words}) cannot {what}: it is run by diffusers' own pipeline.",
                hint="Switch that off, or choose a model of another family.",
                field=field,
            )


def _describe(pipeline: PipelineInfo) -> str:
    return f"{pipeline.words[:1].upper()}{pipeline.words[1:]} is run by diffusers' own pipeline, without " + (
        f"{', '.join(pipeline.lacks[:-1])} and {pipeline.lacks[-1]}."
    )


def _note_ignored(request: GenerationRequest, pipeline: PipelineInfo, checkpoint: ModelInfo) -> tuple[str, ...]:
    """Return one note for each thing that was asked for and has no effect."""
    proposed = checkpoint.defaults.width, checkpoint.defaults.height
    size = request.width or proposed[0], request.height or proposed[1]
    texts = request.prompt + request.negative_prompt
    ignored = {
        f"The sampler {request.sampler}": request.sampler is not None,
        f"The schedule {request.schedule}": request.schedule not in (None, "Automatic"),
        f"Clip skip {request.clip_skip}": request.clip_skip not in (None, 1),
        f"The VAE {request.vae}": request.vae not in (None, "Automatic", "None"),
        f"The CFG scale {request.guidance}": not pipeline.guidance and request.guidance is not None,
        "How guidance acts": request.guiding != GuidanceOptions(),
        f"The size {size[0]}×{size[1]}": not pipeline.sized and size != proposed,
        "The prompt": pipeline.reads == "nothing" and bool(request.prompt),
        "The negative prompt": not pipeline.negative and bool(request.negative_prompt),
        "The brackets in the prompt": any(bracket in texts for bracket in "(["),
        "AND in the prompt": " AND " in texts,
    }
    return tuple(f"{what} has no effect: the model is run in its own way." for what, asked in ignored.items() if asked)


def without_hooks(plan: Plan) -> Plan:
    """Return `plan` without what extensions would do in the worker, where diffusers' own pipeline runs its model."""
    if plan.model.family is not Family.OTHER or not plan.extensions:
        return plan
    note = f"{', '.join(plan.extensions)}: no effect, for diffusers' own pipeline draws with this model."
    return plan.replace(extensions={}, facts={}, notes=(*plan.notes, note))
