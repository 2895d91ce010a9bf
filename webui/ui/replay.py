"""The request that makes one image of a job again, and the one that goes on from it."""

from __future__ import annotations

from typing import TypeVar

from webui.domain.jobs import JobView
from webui.domain.passes import GuidanceOptions, Hires, Refiner
from webui.domain.plan import HiresPlan, ImagePlan, Plan, PreprocessPlan, UpscalePlan
from webui.domain.request import GenerationRequest
from webui.domain.sampling_options import SamplingOptions, Variation
from webui.domain.start import FromImage, FromNoise, Start
from webui.errors import BadRequest, NotFound

Value = TypeVar("Value")

LEAST_SIDE, MOST_SIDE = 64, 4096  # pixels of a request


def request_of(job: JobView, index: int) -> GenerationRequest:
    """Return the request that makes image `index` of `job` again; for a sheet, that which made all its images.

    Raises `BadRequest` when the image was not generated but enlarged.
    """
    asked = job.request
    if isinstance(job.plan, UpscalePlan | PreprocessPlan) or not isinstance(asked, GenerationRequest):
        raise BadRequest(
            "This picture was made of another, not generated.", hint="Send the picture itself.", field="image"
        )
    if any(image.index == index and image.role == "sheet" for image in job.images):
        return asked
    plan = job.plan.part(index)
    image = plan.image(index)
    return asked.replace(
        prompt=image.prompt,
        negative_prompt=image.negative_prompt,
        styles=(),
        model=plan.model.name,
        sampler=plan.sampler,
        schedule=plan.schedule,
        steps=plan.steps,
        guidance=plan.guidance,
        distilled_guidance=plan.distilled_guidance,
        width=plan.width,
        height=plan.height,
        seed=image.seed,
        variation=_variation(plan, image),
        sampling=SamplingOptions.model_validate(plan.sampling.model_dump()),
        batch_size=1,
        batch_count=1,
        clip_skip=plan.clip_skip,
        emphasis=plan.emphasis,
        vae=plan.vae.name if plan.vae else asked.vae,
        modules=tuple(part.name for part in plan.model.parts),
        tiling=plan.tiling,
        guiding=GuidanceOptions.model_validate(plan.guiding.model_dump()),
        hires=_hires(plan.hires, plan, image) if plan.hires else None,
        refiner=Refiner(model=plan.refiner.model.name, switch_at=plan.refiner.switch_at) if plan.refiner else None,
        start=_start(plan.start, index),
        script=None,
    )


def onward_request(job: JobView, index: int) -> GenerationRequest:
    """Return what to ask for when img2img goes on from a finished image; the start itself is the page's."""
    width, height = _size(job, index)
    asked = request_of(job, index)
    return asked.replace(
        start=FromNoise(), width=width, height=height, seed=-1, variation=None, hires=None, script=None
    )


def upscale_request(job: JobView, index: int, reference: str, hires: Hires) -> GenerationRequest:
    """Return the request that gives a finished image a second pass; `reference` is the image in the input store."""
    width, height = _size(job, index)
    start = FromImage(images=(reference,), strength=hires.strength)
    return request_of(job, index).replace(hires=hires, start=start, width=width, height=height)


def _size(job: JobView, index: int) -> tuple[int, int]:
    """Return width and height of a finished image as a request may name them: pixels, divisible by 8."""
    for image in job.images:
        if image.index == index:
            width, height = (min(MOST_SIDE, max(LEAST_SIDE, side // 8 * 8)) for side in (image.width, image.height))
            return width, height
    raise NotFound(f"Job {job.id} has no image {index}.", hint="Reload the page.")


def _variation(plan: Plan, image: ImagePlan) -> Variation | None:
    planned = plan.variation
    if image.variation_seed is None and planned.resize_from is None:
        return None
    width, height = planned.resize_from or (None, None)
    seed = -1 if image.variation_seed is None else image.variation_seed
    return Variation(seed=seed, strength=planned.strength, resize_from_width=width, resize_from_height=height)


def _hires(plan: HiresPlan, first: Plan, image: ImagePlan) -> Hires:
    """Return the second pass; what is as in the first one stays blank, and a size stays a factor if it was one."""
    sized = Hires(width=plan.width, height=plan.height) if plan.scale is None else Hires(scale=plan.scale)
    return sized.replace(
        upscaler=plan.upscaler.name,
        steps=_unless(plan.steps, first.steps),
        strength=plan.strength,
        sampler=_unless(plan.sampler, first.sampler),
        schedule=_unless(plan.schedule, first.schedule),
        guidance=_unless(plan.guidance, first.guidance),
        model=plan.model.name if plan.model else None,
        prompt=image.hires_prompt or "",
        negative_prompt=image.hires_negative_prompt or "",
    )


def _unless(value: Value, same: Value) -> Value | None:
    return None if value == same else value


def _start(start: Start, index: int) -> Start:
    """Return where one image began: with one of the job's pictures."""
    if isinstance(start, FromNoise):
        return start
    return start.replace(images=(start.images[index % len(start.images)],))
