"""The passes of a plan: what each run of a sampler is made of, whether it is the only one, the first or the second."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import Tensor

from webui.domain.plan import HiresPlan, ImagePlan, ModelRef, Plan, RefinerPlan, SamplingPlan
from webui.domain.sampling import find_sampler
from webui.images.canvas import Canvas


@dataclass(frozen=True)
class Pass:
    """One run of a sampler over a batch: the last `steps` of a schedule of `schedule_steps`.

    It begins with noise alone, with `canvases`, or with clean latents, `enlarged` [B,C,h,w]. Prompts hold for `calls`
    of the network, `behind` such calls of the pass before it.
    """

    plan: Plan
    images: Sequence[ImagePlan]
    model: ModelRef
    refiner: RefinerPlan | None
    width: int
    height: int
    sampler: str
    schedule: str
    schedule_steps: int
    steps: int
    guidance: float
    sampling: SamplingPlan
    prompts: Sequence[tuple[str, str]]  # each image's and its negative one
    calls: int
    behind: int = 0
    canvases: Sequence[Canvas] = ()
    enlarged: Tensor | None = field(default=None, repr=False)


def first_pass(plan: Plan, images: Sequence[ImagePlan], canvases: Sequence[Canvas]) -> Pass:
    """Return the pass that begins with noise or with `canvases`."""
    return Pass(
        plan=plan,
        images=images,
        model=plan.model,
        refiner=None if plan.hires else plan.refiner,
        width=plan.width,
        height=plan.height,
        sampler=plan.sampler,
        schedule=plan.schedule,
        schedule_steps=plan.schedule_steps,
        steps=plan.run_steps,
        guidance=plan.guidance,
        sampling=plan.sampling,
        prompts=[(image.prompt, image.negative_prompt) for image in images],
        calls=_count_calls(plan.sampler, plan.steps),
        canvases=canvases,
    )


def second_pass(plan: Plan, hires: HiresPlan, images: Sequence[ImagePlan], enlarged: Tensor) -> Pass:
    """Return the pass over what the first one made, `enlarged` [B,C,h,w]. It draws its noise from the seeds anew."""
    return Pass(
        plan=plan,
        images=images,
        model=hires.model or plan.model,
        refiner=plan.refiner,
        width=hires.width,
        height=hires.height,
        sampler=hires.sampler,
        schedule=hires.schedule,
        schedule_steps=hires.schedule_steps,
        steps=hires.steps,
        guidance=hires.guidance,
        sampling=hires.sampling,
        prompts=[_second_prompts(image) for image in images],
        calls=_count_calls(hires.sampler, hires.steps),
        behind=_count_calls(plan.sampler, plan.steps),
        enlarged=enlarged,
    )


def _second_prompts(image: ImagePlan) -> tuple[str, str]:
    return (
        image.prompt if image.hires_prompt is None else image.hires_prompt,
        image.negative_prompt if image.hires_negative_prompt is None else image.hires_negative_prompt,
    )


def _count_calls(sampler: str, steps: int) -> int:
    return steps * find_sampler(sampler).calls_per_step
