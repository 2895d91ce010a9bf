"""A1111's `info`: a JSON text about all images of a job."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import webui
from webui.domain.events import ImageDone
from webui.domain.jobs import JobView
from webui.domain.plan import Plan, PreprocessPlan, SeriesPlan, UpscalePlan
from webui.domain.request import GenerationRequest
from webui.domain.start import FromNoise

OF_EVERY_IMAGE = frozenset(
    {
        "Steps", "Sampler", "CFG scale", "Image CFG scale", "Seed", "Face restoration", "Size", "Model hash", "Model",
        "VAE hash", "VAE", "Variation seed", "Variation seed strength", "Seed resize from", "Denoising strength",
        "Conditional mask weight", "Clip skip", "ENSD", "Token merging ratio", "Token merging ratio hr",
        "Init image hash", "RNG", "Tiling", "Version", "User", "Batch size", "Batch pos",
    }
)  # fmt: skip
"""Parameters that A1111 keeps under names of their own, or leaves out; all others are extra ones."""

TEXTS = ("prompt", "Prompt", "Template", "upscaler", "checkpoint", "sampler", "Refiner")
"""How the names of extra parameters end whose values stay text even if they look like numbers."""

ReadParameters = Callable[[str], Mapping[str, str]]


def in_order(job: JobView) -> list[ImageDone]:
    """Return the images as A1111 sends them: sheets first. Those that were made for the sheets alone are left out."""
    images = sorted(job.images, key=lambda image: (image.role != "sheet", image.index))
    if isinstance(job.plan, SeriesPlan) and job.plan.only_sheets:
        return [image for image in images if image.role == "sheet"]
    return images


def to_info(job: JobView, read_parameters: ReadParameters) -> str:
    """Return the text; `read_parameters` splits an infotext."""
    assert not isinstance(job.plan, UpscalePlan | PreprocessPlan) and isinstance(job.request, GenerationRequest)
    first, images = job.plan.images[0], job.plan.images
    plan = job.plan.part(first.index)
    subseeds = [image.seed if image.variation_seed is None else image.variation_seed for image in images]
    resize_from = plan.variation.resize_from or (-1, -1)
    done = in_order(job)
    info = {
        "prompt": first.prompt,
        "all_prompts": [image.prompt for image in images],
        "negative_prompt": first.negative_prompt,
        "all_negative_prompts": [image.negative_prompt for image in images],
        "seed": first.seed,
        "all_seeds": [image.seed for image in images],
        "subseed": subseeds[0],
        "all_subseeds": subseeds,
        "subseed_strength": plan.variation.strength,
        "width": plan.width,
        "height": plan.height,
        "sampler_name": plan.sampler,
        "cfg_scale": plan.guidance,
        "steps": plan.steps,
        "batch_size": plan.batch_size,
        "restore_faces": False,
        "face_restoration_model": None,
        "sd_model_name": plan.model.name,
        "sd_model_hash": plan.model.short_hash,
        "sd_vae_name": plan.vae.path.name if plan.vae else None,
        "sd_vae_hash": plan.vae.short_hash if plan.vae else None,
        "seed_resize_from_w": resize_from[0],
        "seed_resize_from_h": resize_from[1],
        "denoising_strength": _strength(plan),
        "extra_generation_params": _extra_parameters(done, plan, read_parameters),
        "index_of_first_image": sum(image.role == "sheet" for image in done),
        "infotexts": [image.infotext for image in done],
        "styles": list(job.request.styles),
        "job_timestamp": timestamp(job.started or job.created),
        "clip_skip": plan.clip_skip,
        "is_using_inpainting_conditioning": False,
        "version": f"easel-{webui.__version__}",
    }
    return json.dumps(info)


def _strength(plan: Plan) -> float | None:
    if plan.hires is not None:
        return plan.hires.strength
    return None if isinstance(plan.start, FromNoise) else plan.start.strength


def _extra_parameters(done: Sequence[ImageDone], plan: Plan, read_parameters: ReadParameters) -> dict[str, Any]:
    """Return what the first image's text says besides the parameters every image has."""
    texts = [image.infotext for image in done if image.role == "image"] or [image.infotext for image in done]
    said = read_parameters(texts[0]) if texts else {}
    extra = {key: _value(key, value) for key, value in said.items() if key not in OF_EVERY_IMAGE}
    return {"Schedule type": plan.schedule, **extra}


def _value(key: str, text: str) -> object:
    if key.endswith(TEXTS):
        return text
    if text in ("True", "False"):
        return text == "True"
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            continue
    return text


def timestamp(moment: float) -> str:
    """Return a time as A1111 writes it: 20260131235959."""
    return time.strftime("%Y%m%d%H%M%S", time.localtime(moment))
