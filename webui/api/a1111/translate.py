"""A1111's words to ours and back: the only place where both vocabularies meet."""

from __future__ import annotations

import base64
import binascii
import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

import webui
from webui.api.a1111.schemas import (
    InternalProgressResponse,
    ProgressResponse,
    SamplerItem,
    SchedulerItem,
    SDModelItem,
    StableDiffusionProcessingTxt2Img,
)
from webui.domain.jobs import JobView, Progress
from webui.domain.models import ModelInfo
from webui.domain.request import GenerationRequest
from webui.domain.sampling import SamplerInfo, ScheduleInfo, find_sampler, find_schedule, split_combined
from webui.errors import BadFile, BadRequest
from webui.settings import ALIASES, NAMES

RUNNING_PROGRESS = 0.01  # A1111's clients read 0 as "idle", so a job that has just begun is at one percent

A1111_NAMES = {
    "guidance": "cfg_scale",
    "batch_count": "n_iter",
    "sampler": "sampler_name",
    "schedule": "scheduler",
    "model": "override_settings.sd_model_checkpoint",
    "clip_skip": "override_settings.CLIP_stop_at_last_layers",
}
"""Our request fields → A1111's, where they differ."""

NEUTRAL_OVERRIDES: Mapping[str, tuple[object, ...]] = {
    "sd_vae": (None, "", "None", "Automatic"),
    "forge_additional_modules": (None, []),
    "eta_noise_seed_delta": (None, 0),
}
"""Foreign options that common clients send along, with the values that ask for nothing."""


@dataclass(frozen=True)
class Translated:
    """A request with the settings that hold for it alone (A1111's option names)."""

    request: GenerationRequest
    overrides: Mapping[str, object]


def to_request(asked: StableDiffusionProcessingTxt2Img) -> Translated:
    """Return what `asked` means; raise `BadRequest` or `NotFound` naming the field that asks for the impossible."""
    sampler, schedule = _sampling(asked)
    _refuse_what_is_missing(asked, sampler)
    overrides = _overrides(asked)
    values = {
        "prompt": asked.prompt,
        "negative_prompt": asked.negative_prompt,
        "model": overrides.pop("sd_model_checkpoint", None) or None,
        "sampler": sampler.name,
        "schedule": schedule.label,
        "steps": asked.steps,
        "guidance": asked.cfg_scale,
        "width": asked.width,
        "height": asked.height,
        "seed": asked.seed,
        "batch_size": asked.batch_size,
        "batch_count": asked.n_iter,
        "keep": asked.save_images,
    }
    try:
        return Translated(GenerationRequest.model_validate(values), overrides)
    except ValidationError as error:
        raise _bad_field(error) from error


def _bad_field(error: ValidationError) -> BadRequest:
    first = error.errors()[0]
    name = str(first["loc"][0])
    field = A1111_NAMES.get(name, name)
    given = repr(first["input"])
    shown = given if len(given) <= 60 else f"{len(given)} characters"
    return BadRequest(f"{field}: {first['msg']} (given: {shown}).", hint="Correct it and send again.", field=field)


def _sampling(asked: StableDiffusionProcessingTxt2Img) -> tuple[SamplerInfo, ScheduleInfo]:
    name = asked.sampler_name or asked.sampler_index
    sampler, schedule = split_combined(name, asked.scheduler or "Automatic")
    return find_sampler(sampler), find_schedule(schedule)


def _overrides(asked: StableDiffusionProcessingTxt2Img) -> dict[str, object]:
    """Return the overrides under A1111's names, without foreign ones that ask for nothing."""
    wanted: dict[str, object] = {}
    for name, value in asked.override_settings.items():
        if name in NAMES:
            wanted[ALIASES[NAMES[name]]] = value
        elif name not in NEUTRAL_OVERRIDES or value not in NEUTRAL_OVERRIDES[name]:
            raise BadRequest(
                f"override_settings.{name}: there is no such setting.",
                hint="GET /sdapi/v1/options lists them; leave this one out.",
                field=f"override_settings.{name}",
            )
    model = wanted.get("sd_model_checkpoint")
    if model is not None and not isinstance(model, str):
        raise BadRequest(
            "override_settings.sd_model_checkpoint must be a text.", field="override_settings.sd_model_checkpoint"
        )
    if wanted and not asked.override_settings_restore_afterwards:
        raise BadRequest(
            "override_settings_restore_afterwards: overrides hold for one request only.",
            hint="To keep them, POST them to /sdapi/v1/options.",
            field="override_settings_restore_afterwards",
        )
    return wanted


def _refuse_what_is_missing(asked: StableDiffusionProcessingTxt2Img, sampler: SamplerInfo) -> None:
    """Raise `BadRequest` when a field asks for something Easel does not do; its neutral values pass."""
    for field, asks, without in MISSING:
        if asks(asked):
            raise BadRequest(
                f"{field}: Easel has no such feature yet (given: {str(getattr(asked, field))[:60]!r}).",
                hint=f"Leave {field} out{f' or send {without}' if without else ''}.",
                field=field,
            )
    for name in asked.alwayson_scripts:
        raise BadRequest(
            f"alwayson_scripts: always on script {name[:60]} not found.",
            hint="GET /sdapi/v1/scripts lists them.",
            field="alwayson_scripts",
        )
    _check_noise(asked, sampler)


Asks = Callable[[StableDiffusionProcessingTxt2Img], object]

MISSING: tuple[tuple[str, Asks, str], ...] = (
    ("enable_hr", lambda asked: asked.enable_hr, "false"),
    ("styles", lambda asked: any(asked.styles), "[]"),
    ("restore_faces", lambda asked: asked.restore_faces, "false"),
    ("tiling", lambda asked: asked.tiling, "false"),
    ("subseed_strength", lambda asked: asked.subseed_strength > 0, "0"),
    ("seed_resize_from_w", lambda asked: asked.seed_resize_from_w > 0, "0"),
    ("seed_resize_from_h", lambda asked: asked.seed_resize_from_h > 0, "0"),
    ("refiner_checkpoint", lambda asked: asked.refiner_checkpoint not in (None, "", "None"), ""),
    ("script_name", lambda asked: asked.script_name not in (None, "", "None"), ""),
    ("firstpass_image", lambda asked: asked.firstpass_image, ""),
    ("infotext", lambda asked: asked.infotext, ""),
    ("s_churn", lambda asked: asked.s_churn, "0"),  # without churn s_tmin and s_tmax mean nothing
    ("s_min_uncond", lambda asked: asked.s_min_uncond, "0"),
    ("s_noise", lambda asked: asked.s_noise not in (None, 1), "1"),
)
"""(field, whether it asks for something, its neutral value)."""


def _check_noise(asked: StableDiffusionProcessingTxt2Img, sampler: SamplerInfo) -> None:
    """`eta` only means something to samplers that add noise, and to DDIM; each has one value here."""
    expected = 1.0 if sampler.stochastic else 0.0 if sampler.name == "DDIM" else None
    if asked.eta is not None and expected is not None and not math.isclose(asked.eta, expected):
        raise BadRequest(
            f"eta: {sampler.name} runs at eta {expected:g} here (given: {asked.eta:g}).",
            hint=f"Leave eta out or send {expected:g}.",
            field="eta",
        )


def to_info(job: JobView) -> str:
    """Return A1111's `info`: a JSON text about all images of a job."""
    plan = job.plan
    infotexts = [image.infotext for image in sorted(job.images, key=lambda image: image.index)]
    first = plan.images[0]
    info = {
        "prompt": first.prompt,
        "all_prompts": [image.prompt for image in plan.images],
        "negative_prompt": first.negative_prompt,
        "all_negative_prompts": [image.negative_prompt for image in plan.images],
        "seed": first.seed,
        "all_seeds": [image.seed for image in plan.images],
        "subseed": first.seed,
        "all_subseeds": [image.seed for image in plan.images],
        "subseed_strength": 0,
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
        "sd_vae_name": None,
        "sd_vae_hash": None,
        "seed_resize_from_w": -1,
        "seed_resize_from_h": -1,
        "denoising_strength": None,
        "extra_generation_params": {"Schedule type": plan.schedule},
        "index_of_first_image": 0,
        "infotexts": infotexts,
        "styles": [],
        "job_timestamp": _timestamp(job.started or job.created),
        "clip_skip": plan.clip_skip,
        "is_using_inpainting_conditioning": False,
        "version": f"easel-{webui.__version__}",
    }
    return json.dumps(info)


def _timestamp(moment: float) -> str:
    return time.strftime("%Y%m%d%H%M%S", time.localtime(moment))


def to_progress(progress: Progress, job: JobView | None, preview: bytes | None) -> ProgressResponse:
    """Return A1111's progress. Idle is exactly `progress == 0` and `state.job_count == 0`."""
    is_idle = progress.state == "idle" or progress.job_id is None
    state = {
        "skipped": False,
        "interrupted": False,
        "stopping_generation": False,
        "job": "" if is_idle else f"Batch {progress.batch + 1} out of {max(1, progress.batches)}",
        "job_count": 0 if is_idle else max(1, progress.batches),
        "job_timestamp": _timestamp(job.started or job.created) if job else "0",
        "job_no": 0 if is_idle else progress.batch,
        "sampling_step": 0 if is_idle else progress.step,
        "sampling_steps": 0 if is_idle else progress.steps,
    }
    return ProgressResponse(
        progress=0.0 if is_idle else max(RUNNING_PROGRESS, progress.fraction),
        eta_relative=0.0 if is_idle else progress.eta or 0.0,
        state=state,
        current_image=None if is_idle or preview is None else base64.b64encode(preview).decode(),
        textinfo=None if is_idle else progress.text or None,
    )


def to_internal_progress(
    job: JobView | None, progress: Progress | None, preview: bytes | None
) -> InternalProgressResponse:
    """Return what A1111's own page polls for one task; a task nobody knows is neither active nor completed."""
    if job is None or progress is None:
        return InternalProgressResponse(active=False, queued=False, completed=False, textinfo="Waiting...")
    active = job.state == "running"
    return InternalProgressResponse(
        active=active,
        queued=job.state == "queued",
        completed=job.has_ended,
        progress=progress.fraction if active else None,
        eta=progress.eta if active else None,
        live_preview=f"data:image/jpeg;base64,{base64.b64encode(preview).decode()}" if preview else None,
        id_live_preview=progress.preview_number,
        textinfo=progress.text or None,
    )


def to_model_item(model: ModelInfo) -> SDModelItem:
    return SDModelItem(
        title=model.title,
        model_name=model.name,
        hash=model.short_hash,
        sha256=model.sha256,
        filename=str(model.path),
    )


def to_sampler_item(sampler: SamplerInfo) -> SamplerItem:
    return SamplerItem(name=sampler.name, aliases=list(sampler.aliases), options={})


def to_scheduler_item(schedule: ScheduleInfo) -> SchedulerItem:
    rho = 7.0 if schedule.name == "karras" else -1.0
    return SchedulerItem(name=schedule.name, label=schedule.label, default_rho=rho, need_inner_model=False)


def read_base64_image(text: str) -> bytes:
    """Return the bytes of an image sent as base64, bare or as a data: URI. Nothing is ever fetched."""
    content = text.strip()
    if content.lower().startswith(("http://", "https://", "file:", "ftp://")):
        raise BadRequest("image: an address was sent.", hint="Send the image itself as base64.", field="image")
    if content.lower().startswith("data:"):
        header, comma, content = content.partition(",")
        if not comma or not header.lower().endswith(";base64"):
            raise BadRequest("image: the data: URI is not base64.", hint="Send data:image/png;base64,…", field="image")
    try:
        decoded = base64.b64decode("".join(content.split()), validate=True)
    except (binascii.Error, ValueError):
        raise BadRequest(
            "image: this is not base64.", hint="Send the image's bytes as base64.", field="image"
        ) from None
    if not decoded:
        raise BadFile("image: it is empty.", hint="Send a PNG, JPEG or WebP image.", field="image")
    return decoded


def read_parameters(fields: Mapping[str, str], request: GenerationRequest | None) -> dict[str, Any]:
    """Return the parsed infotext as A1111 does: names to texts, the prompts among them, the size as two."""
    if request is None:
        return {}
    parameters = {"Prompt": request.prompt, "Negative prompt": request.negative_prompt, **fields}
    width, cross, height = fields.get("Size", "").partition("x")
    return {**parameters, "Size-1": width, "Size-2": height} if cross else parameters
