"""One plan from prompt to pictures, in a straight line: encode, draw noise, denoise step by step, decode."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor

from webui.domain.events import ImageSkipped, Stepped
from webui.domain.plan import ImagePlan, Plan
from webui.domain.sampling import find_sampler
from webui.engine import previews, samplers, starts
from webui.engine.conditioning import Encoding, Prompts
from webui.engine.control import Control
from webui.engine.denoise import make_denoiser
from webui.engine.families import sd1
from webui.engine.guidance import guide, needs_negative
from webui.engine.noise import NoiseSource
from webui.engine.samplers import Step
from webui.engine.schedules import find_sigmas
from webui.engine.vae import decode
from webui.images.canvas import Canvas, prepare
from webui.weights.memory import Resident


@dataclass(frozen=True)
class PreviewImage:
    """The first image of the running batch as far as it has come, at most the plan's preview size."""

    image: Image.Image


@dataclass(frozen=True)
class ImageReady:
    """Image `index` of the plan."""

    index: int
    image: Image.Image


Output = Stepped | PreviewImage | ImageReady | ImageSkipped


def generate(
    plan: Plan, model: Resident, prompts: Prompts, control: Control, inputs: Mapping[str, Image.Image]
) -> Iterator[Output]:
    """Yield what happens while `plan` is carried out; `inputs` are the pictures it begins with, by reference.

    An interrupted batch yields its images as far as they have come, and the plan ends there. A skipped batch yields
    `ImageSkipped` for each image, and the next one begins.
    """
    for number, images in enumerate(plan.batches):
        if control.interrupted:
            return
        control.skipped = False
        last: Step | None = None
        canvases = [canvas for image in images if (canvas := prepare(plan, image, inputs)) is not None]
        for step in _sample(plan, images, canvases, model, prompts):
            last = step
            done = step.index + 1
            yield Stepped(batch=number, batches=len(plan.batches), step=done, steps=plan.run_steps)
            if control.interrupted or control.skipped:
                break
            if previews.is_due(done, plan.run_steps, plan.preview.every):
                preview = previews.render(model, step.denoised, plan.preview.size)
                if preview is not None:
                    yield PreviewImage(preview)
        if control.skipped and not control.interrupted:
            yield from (ImageSkipped(index=image.index) for image in images)
            continue
        if last is not None:
            yield from _decode(model, images, canvases, _result(last, plan.run_steps))


@torch.inference_mode()
def _sample(
    plan: Plan, images: Sequence[ImagePlan], canvases: Sequence[Canvas], model: Resident, prompts: Prompts
) -> Iterator[Step]:
    """Yield the steps of one batch."""
    calls = plan.steps * find_sampler(plan.sampler).calls_per_step
    encoding = Encoding.of(plan)
    positive = [prompts.positive(image.prompt, calls, encoding) for image in images]
    negative = (
        [prompts.negative(image.negative_prompt, calls, encoding) for image in images]
        if needs_negative(positive, plan.guidance)
        else []
    )
    levels = sd1.noise_levels(model)
    sigmas = find_sigmas(plan.sampler, plan.schedule, plan.schedule_steps, levels)[-plan.run_steps - 1 :]
    sampler = samplers.find(plan.sampler)
    noise = NoiseSource([image.seed for image in images], sd1.latent_shape(plan.width, plan.height), model.place)
    begin = starts.begin(model, plan, canvases, noise.draw(), sampler, sigmas[0])
    with model.on_device("unet") as unet:
        denoise = make_denoiser(sd1.make_predict(model, unet), levels, sigmas, model.placement.device)
        guided = begin.wrap(guide(denoise, positive, negative, plan.guidance), sigmas)
        yield from sampler.sample(guided, begin.latents, sigmas, noise)


def _result(step: Step, steps: int) -> Tensor:
    """Return the finished latents, or what the network made of the unfinished ones."""
    return step.latents if step.index + 1 == steps else step.denoised


def _decode(
    model: Resident, images: Sequence[ImagePlan], canvases: Sequence[Canvas], latents: Tensor
) -> Iterator[ImageReady]:
    for number, (image, each) in enumerate(zip(images, latents, strict=True)):
        picture = decode(model, each)
        yield ImageReady(image.index, canvases[number].finish(picture) if canvases else picture)
