"""(request, settings, what names stand for) → plan. Pure: everything it needs is handed in, even the random seed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from webui.domain.plan import (
    AnyPlan,
    InfotextPlan,
    PicturePlan,
    Plan,
)
from webui.domain.request import AnyRequest, GenerationRequest, PreprocessRequest, UpscaleRequest
from webui.domain.sampling import find_sampler
from webui.domain.sampling_options import Variation
from webui.domain.start import FromNoise, FromTiles, Start, references_in
from webui.planner.blanks import DEFAULT_STEPS, fill
from webui.planner.flow import check_control, fit_sampling, note_distilled, plan_distilled
from webui.planner.parts import plan_model
from webui.planner.passes import note_image_guidance, plan_guidance, plan_hires, plan_refiner
from webui.planner.pipelines import fit_pipeline, without_hooks
from webui.planner.prompts import check_wordings, note_clip_skip, note_tags, plan_images, preview_prompt
from webui.planner.sampling import plan_sampling, plan_variation
from webui.planner.saving import plan_grid, plan_saving
from webui.planner.series import plan_series
from webui.planner.shelf import NO_WORDS, Shelf, Words, make_tools
from webui.planner.sizes import check_cost, check_pictures, find_size, plan_tiles
from webui.planner.taesd import note_taesd, plan_preview, plan_taesd
from webui.planner.upscaling import plan_upscaling
from webui.settings import Settings

__all__ = [
    "DEFAULT_STEPS",
    "NO_WORDS",
    "Shelf",
    "Words",
    "fill",
    "make_tools",
    "plan",
    "plan_generation",
    "plan_sampling",
    "preview_prompt",
]

DrawSeed = Callable[[], int]


def plan(
    request: AnyRequest, settings: Settings, shelf: Shelf, draw_seed: DrawSeed, words: Words = NO_WORDS
) -> AnyPlan:
    """Resolve `request`. `words` are what its prompts refer to by name.

    Image k of a job has seed + k, so any image can be made again alone. Raises `BadRequest` or `NotFound` for what
    cannot be run.
    """
    if isinstance(request, UpscaleRequest):
        return plan_upscaling(request, settings, shelf)
    if isinstance(request, PreprocessRequest):
        return shelf.features.plan_preprocessing(request)

    def plan_part(part: GenerationRequest, first_index: int, changes: Mapping[str, Any]) -> Plan:
        return plan_generation(part, settings.overridden(changes), shelf, draw_seed, words, first_index)

    if request.script is not None:
        return plan_series(request, shelf, make_tools(shelf, draw_seed, settings), plan_part)
    return plan_part(request, 0, {})


def plan_generation(
    request: GenerationRequest,
    settings: Settings,
    shelf: Shelf,
    draw_seed: DrawSeed,
    words: Words = NO_WORDS,
    first_index: int = 0,
) -> Plan:
    """Resolve a request without a script; its images are counted from `first_index`."""
    tools = make_tools(shelf, draw_seed, settings)
    request = shelf.features.change_request(request, tools)
    request, extra = shelf.features.split_sampling(request)
    checkpoint = shelf.checkpoint(request.model or settings.model)
    planned = plan_model(checkpoint, request, settings, shelf)
    model = planned.model
    request, pipeline_notes = fit_pipeline(request, checkpoint)
    full = fill(request, settings, checkpoint)
    assert full.steps and full.guidance is not None and full.clip_skip
    assert full.sampler and full.schedule and full.emphasis
    schedule = full.schedule
    check_pictures(full)
    check_control(full, checkpoint)
    width, height = size = find_size(full, shelf)
    hires = plan_hires(full, settings, model, size, shelf)
    check_cost(full, (hires.width, hires.height) if hires else size)
    sampler = find_sampler(full.sampler)
    calls = full.steps * sampler.calls_per_step
    full = _draw_seeds(full, draw_seed)
    guiding = plan_guidance(full.guiding, settings, checkpoint)
    images = tuple(plan_images(full, settings, words, full.seed, first_index))
    check_wordings(images, calls)
    taesd = plan_taesd(settings, shelf, model.family)
    refiner = plan_refiner(full, settings, model, shelf)
    distilled = plan_distilled(
        full, checkpoint, others=refiner is not None or (hires is not None and hires.model is not None)
    )
    plan = Plan(
        model=model,
        sampler=sampler.name,
        schedule=schedule,
        steps=full.steps,
        guidance=full.guidance,
        distilled_guidance=distilled,
        width=width,
        height=height,
        clip_skip=full.clip_skip,
        emphasis=full.emphasis,
        comma_backtrack=settings.comma_backtrack,
        batch_size=full.batch_size,
        images=images,
        vae=planned.vae,
        taesd=taesd,
        tiling=full.tiling,
        guiding=guiding,
        hires=hires,
        refiner=refiner,
        start=_with_background(full.start, settings),
        tiles=plan_tiles(full, full.start, settings, shelf) if isinstance(full.start, FromTiles) else None,
        sampling=fit_sampling(plan_sampling(full.sampling, settings, sampler), sampler, schedule, model.family),
        variation=plan_variation(full.variation or Variation(), width, height),
        picture=PicturePlan(
            exact_steps=settings.img2img_exact_steps,
            colour_correction=settings.img2img_colour_correction,
            noise_multiplier=settings.noise_multiplier,
            extra_noise=settings.extra_noise,
            mask_weight=settings.mask_weight,
        ),
        preview=plan_preview(settings, taesd),
        infotext=InfotextPlan(
            model_hash=settings.add_model_hash, model_name=settings.add_model_name, version=settings.add_version
        ),
        save=plan_saving(full, settings),
        sheets=plan_grid(full, settings, images),
        keep=full.keep and settings.save_images,
        pictures=references_in(request.extensions),
        extra=extra,
        notes=(
            *pipeline_notes,
            *planned.notes,
            *note_tags(images, shelf.features.tags),
            *note_clip_skip(full, model.family),
            *note_distilled(full, distilled),
            *note_image_guidance(full.guiding, guiding),
            *note_taesd(settings, taesd, model.family),
        ),
    )
    return without_hooks(shelf.features.change_plan(plan, request, tools))


def _draw_seeds(request: GenerationRequest, draw_seed: DrawSeed) -> GenerationRequest:
    """Return `request` with its seeds drawn where any will do."""
    variation = request.variation or Variation()
    if variation.strength and variation.seed == -1:
        variation = variation.replace(seed=draw_seed())
    return request.replace(seed=draw_seed() if request.seed == -1 else request.seed, variation=variation)


def _with_background(start: Start, settings: Settings) -> Start:
    if isinstance(start, FromNoise) or start.background is not None:
        return start
    return start.replace(background=settings.background)
