"""The second pass, the second model and the guidance of a plan."""

from __future__ import annotations

from webui.domain.models import EDITING, ModelInfo
from webui.domain.passes import GuidanceOptions, Hires
from webui.domain.plan import GuidancePlan, HiresPlan, ModelRef, RefinerPlan
from webui.domain.request import GenerationRequest
from webui.domain.sampling import find_sampler, find_schedule, split_combined
from webui.domain.start import FromImage, FromNoise
from webui.errors import BadRequest
from webui.planner.flow import fit_sampling
from webui.planner.parts import refer_other
from webui.planner.sampling import plan_sampling
from webui.planner.shelf import Shelf, about
from webui.planner.sizes import Size, find_hires_size
from webui.planner.upscaling import find_upscaler
from webui.settings import Settings

IMAGE_GUIDANCE = 1.5  # the usual of InstructPix2Pix


def plan_guidance(asked: GuidanceOptions, settings: Settings, model: ModelInfo) -> GuidancePlan:
    """Return how guidance acts with `model`; `BadRequest` for an interval that ends before it begins."""
    if asked.start > asked.end:
        raise BadRequest(
            f"Guidance cannot end ({asked.end}) before it begins ({asked.start}).",
            hint="Let its end be the greater share of the steps.",
            field="guiding.end",
        )
    minimum = settings.guidance_minimum if asked.minimum is None else asked.minimum
    image = None
    if model.variant == EDITING:
        image = IMAGE_GUIDANCE if asked.image is None else asked.image
    return GuidancePlan(rescale=asked.rescale, start=asked.start, end=asked.end, minimum=minimum, image=image)


def note_image_guidance(asked: GuidanceOptions, plan: GuidancePlan) -> tuple[str, ...]:
    """Return what the user should know: that not every model edits pictures by instruction."""
    if asked.image is None or plan.image is not None:
        return ()
    return ("The image CFG scale has no effect: this model does not edit pictures by instruction.",)


def plan_refiner(request: GenerationRequest, settings: Settings, model: ModelRef, shelf: Shelf) -> RefinerPlan | None:
    """Return the second model of `request`, whose first one is `model`; None where nothing would be left to it."""
    refiner = request.refiner
    if refiner is None or refiner.switch_at >= 1:
        return None
    with about("refiner.model"):
        found = refer_other(shelf.checkpoint(refiner.model), request, settings, shelf)
    _check_family(found, model, "refiner.model")
    return None if found == model else RefinerPlan(model=found, switch_at=refiner.switch_at)


def plan_hires(
    request: GenerationRequest, settings: Settings, model: ModelRef, size: Size, shelf: Shelf
) -> HiresPlan | None:
    """Return the second pass of `request`, whose blanks are filled and whose first pass gives images of `size`."""
    asked = request.hires
    if asked is None:
        return None
    if not isinstance(request.start, FromNoise | FromImage):
        raise BadRequest(
            "The second pass follows txt2img, or one finished picture; not a mask, an extension or tiles.",
            hint="Switch hires. fix off.",
            field="hires",
        )
    assert request.steps and request.sampler and request.schedule and request.guidance is not None
    enlarged, (width, height) = find_hires_size(asked, size)
    sampler, schedule = split_combined(asked.sampler or request.sampler, asked.schedule or request.schedule)
    found = find_sampler(sampler)
    return HiresPlan(
        width=width,
        height=height,
        enlarged=enlarged,
        scale=asked.scale if asked.width is None and asked.height is None else None,
        upscaler=find_upscaler(asked.upscaler, settings, shelf, "hires.upscaler"),
        steps=asked.steps or request.steps,
        strength=asked.strength,
        sampler=found.name,
        schedule=find_schedule(schedule).label,
        guidance=request.guidance if asked.guidance is None else asked.guidance,
        sampling=fit_sampling(
            plan_sampling(request.sampling, settings, found),
            found,
            find_schedule(schedule).label,
            model.family,
            "hires.",
        ),
        model=_find_hires_model(asked, request, settings, model, shelf),
    )


def _find_hires_model(
    asked: Hires, request: GenerationRequest, settings: Settings, model: ModelRef, shelf: Shelf
) -> ModelRef | None:
    if asked.model is None:
        return None
    with about("hires.model"):
        found = refer_other(shelf.checkpoint(asked.model), request, settings, shelf)
    _check_family(found, model, "hires.model")
    return None if found == model else found


def _check_family(found: ModelRef, model: ModelRef, field: str) -> None:
    if (found.family.latents, found.family.is_flow) != (model.family.latents, model.family.is_flow):
        raise BadRequest(
            f"{found.name} is of the family {found.family.value}, {model.name} of {model.family.value}: "
            "their latents, or the noise in them, mean different things.",
            hint="Choose two checkpoints of one family, or SDXL and its refiner.",
            field=field,
        )
