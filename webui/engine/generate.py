"""One plan from prompt to pictures, in a straight line: encode, draw noise, denoise step by step, decode."""

from __future__ import annotations

import functools
import math
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor

from webui.domain.events import ImageFailed, ImageSkipped, Stepped
from webui.domain.plan import ImagePlan, Plan
from webui.domain.sampling import find_sampler
from webui.engine import previews, samplers, starts
from webui.engine.broken import sample_twice
from webui.engine.conditioning import Encoding, Prompts
from webui.engine.control import Control
from webui.engine.denoise import NoiseLevels, make_denoiser
from webui.engine.families import sd1
from webui.engine.guidance import Shaping, guide, needs_negative
from webui.engine.inpainting import see_beside
from webui.engine.noise import NoiseSource, Origin
from webui.engine.samplers import Setup, Step
from webui.engine.schedules import find_sigmas
from webui.engine.vae import decode
from webui.errors import GenerationError
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


Output = Stepped | PreviewImage | ImageReady | ImageSkipped | ImageFailed


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
        sigmas = _noise_levels(plan, model)
        run = sigmas[min(plan.schedule_steps - plan.run_steps, len(sigmas) - 2) :]
        steps = len(run) - 1
        canvases = [canvas for image in images if (canvas := prepare(plan, image, inputs)) is not None]
        sample = functools.partial(_sample, plan, images, canvases, model, prompts, sigmas, run)
        for step in sample_twice(model, sample):
            last = step
            done = step.index + 1
            yield Stepped(batch=number, batches=len(plan.batches), step=done, steps=steps)
            if control.interrupted or control.skipped:
                break
            if previews.is_due(done, steps, plan.preview.every):
                preview = previews.render(model, step.denoised, plan.preview.size)
                if preview is not None:
                    yield PreviewImage(preview)
        if control.skipped and not control.interrupted:
            yield from (ImageSkipped(index=image.index) for image in images)
            continue
        if last is not None:
            yield from _decode(model, images, canvases, _result(last, steps))


def _noise_levels(plan: Plan, model: Resident) -> list[float]:
    """Return the sigmas of the whole schedule, of which a plan that begins with a picture runs the end."""
    levels = samplers.find(plan.sampler).levels(sd1.noise_levels(model))
    return find_sigmas(plan.sampler, plan.schedule, plan.schedule_steps, levels, plan.sampling, plan.model.family)


@torch.inference_mode()
def _sample(
    plan: Plan,
    images: Sequence[ImagePlan],
    canvases: Sequence[Canvas],
    model: Resident,
    prompts: Prompts,
    schedule: Sequence[float],
    sigmas: Sequence[float],
) -> Iterator[Step]:
    """Yield the steps of one batch along `sigmas`, the end of the whole `schedule`."""
    sampler = samplers.find(plan.sampler)
    guidance = plan.guidance * sampler.guidance_share
    calls = plan.steps * find_sampler(plan.sampler).calls_per_step
    encoding = Encoding.of(plan)
    positive = [prompts.positive(image.prompt, calls, encoding) for image in images]
    negative = (
        [prompts.negative(image.negative_prompt, calls, encoding) for image in images]
        if needs_negative(positive, guidance)
        else []
    )
    levels = sampler.levels(sd1.noise_levels(model))
    noise = _noise_source(plan, images, model, schedule)
    begin = starts.begin(model, plan, canvases, noise.begin(), sampler, sigmas[0])
    height, width = begin.latents.shape[-2:]
    beside = see_beside(model, plan, canvases, len(images), (height, width))
    shaping = Shaping(plan.guiding, sigmas, levels)
    unguided: deque[Tensor] = deque(maxlen=1)
    with model.on_device("unet") as unet:
        denoise = make_denoiser(sd1.make_predict(model, unet), levels, sigmas, model.placement.device)
        guided = begin.wrap(guide(denoise, positive, negative, guidance, unguided.append, shaping, beside), sigmas)
        setup = _setup(plan, levels, unguided)
        yield from sampler.sample(guided, begin.latents, sigmas, noise, setup)


def _setup(plan: Plan, levels: NoiseLevels, unguided: deque[Tensor]) -> Setup:
    options = plan.sampling
    return Setup(
        eta=options.eta or 0.0,
        churn=options.churn,
        tmin=options.tmin,
        tmax=options.tmax or math.inf,
        noise=options.noise,
        levels=levels,
        unguided=unguided,
    )


def _noise_source(plan: Plan, images: Sequence[ImagePlan], model: Resident, schedule: Sequence[float]) -> NoiseSource:
    resize_from = plan.variation.resize_from
    size = sd1.latent_shape(*resize_from)[1:] if resize_from else None
    origins = [Origin(image.seed, image.variation_seed or 0, plan.variation.strength, size) for image in images]
    uses_delta = find_sampler(plan.sampler).uses_seed_delta and plan.sampling.eta
    return NoiseSource(
        origins,
        sd1.latent_shape(plan.width, plan.height),
        model.place,
        source=plan.sampling.noise_source,
        device=model.placement.device,
        seed_delta=plan.sampling.seed_delta if uses_delta else 0,
        path_range=(min(sigma for sigma in schedule if sigma > 0), max(schedule)),
    )


def _result(step: Step, steps: int) -> Tensor:
    """Return the finished latents, or what the network made of the unfinished ones."""
    return step.latents if step.index + 1 == steps else step.denoised


def _decode(
    model: Resident, images: Sequence[ImagePlan], canvases: Sequence[Canvas], latents: Tensor
) -> Iterator[ImageReady | ImageFailed]:
    """Yield the pictures of one batch, each image that cannot be decoded as failed."""
    for number, (image, each) in enumerate(zip(images, latents, strict=True)):
        try:
            picture = decode(model, each)
        except GenerationError as error:
            yield ImageFailed(index=image.index, message=error.message, hint=error.hint)
            continue
        yield ImageReady(image.index, canvases[number].finish(picture) if canvases else picture)
