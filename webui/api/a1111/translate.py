"""A1111's words to ours and back: the only place where both vocabularies meet."""

from __future__ import annotations

import base64
import binascii
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

import webui
from webui.api.a1111.schemas import (
    InternalProgressResponse,
    Processing,
    ProgressResponse,
    SamplerItem,
    SchedulerItem,
    SDModelItem,
    StableDiffusionProcessingImg2Img,
    StableDiffusionProcessingTxt2Img,
)
from webui.domain.jobs import JobView, Progress
from webui.domain.models import ModelInfo
from webui.domain.plan import UpscalePlan
from webui.domain.request import GenerationRequest
from webui.domain.sampling import SamplerInfo, ScheduleInfo, find_sampler, find_schedule, split_combined
from webui.domain.start import FromNoise
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
    "variation.seed": "subseed",
    "variation.strength": "subseed_strength",
    "variation.resize_from_width": "seed_resize_from_w",
    "variation.resize_from_height": "seed_resize_from_h",
    "sampling.eta": "eta",
    "sampling.churn": "s_churn",
    "sampling.tmin": "s_tmin",
    "sampling.tmax": "s_tmax",
    "sampling.noise": "s_noise",
    "strength": "denoising_strength",
    "padding": "inpaint_full_res_padding",
}
"""Our request fields → A1111's, where they differ."""

RESIZE_MODES = ("just_resize", "crop", "fill", "latent")
CONTENTS = ("fill", "original", "latent_noise", "latent_nothing")
NO_PICTURE = "0" * 64
"""A reference of the right form, for checking the other fields before anything is stored."""

Store = Callable[[bytes], str]
"""Keeps a picture and returns the reference to it."""

NEUTRAL_OVERRIDES: Mapping[str, tuple[object, ...]] = {
    "sd_vae": (None, "", "None", "Automatic"),
    "forge_additional_modules": (None, []),
}
"""Foreign options that common clients send along, with the values that ask for nothing."""


@dataclass(frozen=True)
class Translated:
    """A request with the settings that hold for it alone (A1111's option names)."""

    request: GenerationRequest
    overrides: Mapping[str, object]


def to_request(asked: StableDiffusionProcessingTxt2Img) -> Translated:
    """Return what `asked` means; raise `BadRequest` or `NotFound` naming the field that asks for the impossible."""
    _refuse(MISSING_IN_TXT2IMG, asked)
    return _translate(asked)


def to_picture_request(asked: StableDiffusionProcessingImg2Img, store: Store) -> Translated:
    """The same for img2img; `store` keeps each picture that was sent and returns the reference to it."""
    _refuse(MISSING_IN_IMG2IMG, asked)
    translated = _translate(asked)  # first, so that a bad request stores nothing
    start = _start(asked, store)
    batch_size = len(start["images"]) if len(start["images"]) > 1 else asked.batch_size
    values = {**dict(translated.request), "start": start, "batch_size": batch_size}
    return Translated(_validated(values), translated.overrides)


def _start(asked: StableDiffusionProcessingImg2Img, store: Store) -> dict[str, Any]:
    """Return the fields of our start; raise `BadRequest` naming A1111's field."""
    if not asked.init_images:
        raise BadRequest("init_images: no picture was sent.", hint="Send at least one as base64.", field="init_images")
    if len(asked.init_images) > 1 and asked.batch_size not in (1, len(asked.init_images)):
        raise BadRequest(
            f"batch_size: {len(asked.init_images)} init_images make one batch of that size, not of {asked.batch_size}.",
            hint="Leave batch_size out.",
            field="batch_size",
        )
    start: dict[str, Any] = {
        "kind": "image",
        "strength": 0.75 if asked.denoising_strength is None else asked.denoising_strength,
        "resize": _named(RESIZE_MODES, "resize_mode", asked.resize_mode),
    }
    if asked.mask:
        start |= {
            "kind": "masked_image",
            "mask_blur": _mask_blur(asked),
            "content": _named(CONTENTS, "inpainting_fill", asked.inpainting_fill),
            "invert": bool(asked.inpainting_mask_invert),
            "area": "masked" if asked.inpaint_full_res else "whole",
            "padding": asked.inpaint_full_res_padding,
        }
        example = {"images": (NO_PICTURE,), "mask": NO_PICTURE}
        _validated({"start": {**start, **example}})  # again before anything is stored
        start["mask"] = store(read_base64_image(asked.mask, "mask"))
    else:
        _validated({"start": {**start, "images": (NO_PICTURE,)}})
    start["images"] = tuple(store(read_base64_image(image, "init_images")) for image in asked.init_images)
    return start


def _named(names: tuple[str, ...], field: str, number: int) -> str:
    if not 0 <= number < len(names):
        raise BadRequest(
            f"{field}: there is no {number}.", hint=f"Use 0 to {len(names) - 1}: {', '.join(names)}.", field=field
        )
    return names[number]


def _mask_blur(asked: StableDiffusionProcessingImg2Img) -> int:
    if asked.mask_blur is not None:
        return asked.mask_blur
    if asked.mask_blur_x != asked.mask_blur_y:
        raise BadRequest(
            f"mask_blur_y: the mask is blurred by the same in both directions (given: {asked.mask_blur_x} and "
            f"{asked.mask_blur_y}).",
            hint="Send mask_blur instead.",
            field="mask_blur_y",
        )
    return asked.mask_blur_x


def _translate(asked: Processing) -> Translated:
    """Return what both kinds of request have in common."""
    sampler, schedule = _sampling(asked)
    _refuse_what_is_missing(asked)
    overrides = _overrides(asked)
    values = {
        "prompt": asked.prompt,
        "negative_prompt": asked.negative_prompt,
        "styles": tuple(name for name in asked.styles if name not in ("", "None")),
        "model": overrides.pop("sd_model_checkpoint", None) or None,
        "sampler": sampler.name,
        "schedule": schedule.label,
        "steps": asked.steps,
        "guidance": asked.cfg_scale,
        "width": asked.width,
        "height": asked.height,
        "seed": asked.seed,
        "variation": _variation(asked),
        "sampling": {
            "eta": asked.eta,
            "churn": asked.s_churn,
            "tmin": asked.s_tmin,
            "tmax": asked.s_tmax,
            "noise": asked.s_noise,
        },
        "batch_size": asked.batch_size,
        "batch_count": asked.n_iter,
        "keep": asked.save_images,
    }
    return Translated(_validated(values), overrides)


def _variation(asked: Processing) -> dict[str, object] | None:
    """Return the variation; sizes up to 0 mean none, and one size without the other has no effect, as in A1111."""
    resizes = asked.seed_resize_from_w > 0 and asked.seed_resize_from_h > 0
    if not resizes and asked.subseed_strength == 0:
        return None
    return {
        "seed": asked.subseed,
        "strength": asked.subseed_strength,
        "resize_from_width": asked.seed_resize_from_w if resizes else None,
        "resize_from_height": asked.seed_resize_from_h if resizes else None,
    }


def _validated(values: Mapping[str, object]) -> GenerationRequest:
    try:
        return GenerationRequest.model_validate(values)
    except ValidationError as error:
        raise _bad_field(error) from error


def _bad_field(error: ValidationError) -> BadRequest:
    first = error.errors()[0]
    field = _field(first["loc"])
    given = repr(first["input"])
    shown = given if len(given) <= 60 else f"{len(given)} characters"
    return BadRequest(f"{field}: {first['msg']} (given: {shown}).", hint="Correct it and send again.", field=field)


def _field(place: tuple[int | str, ...]) -> str:
    """Return A1111's name of the field at `place` in our request."""
    if place[0] in ("sampling", "variation") and len(place) > 1:
        return A1111_NAMES[f"{place[0]}.{place[1]}"]
    name = str(place[2] if place[0] == "start" and len(place) > 2 else place[0])
    return A1111_NAMES.get(name, name)


def _sampling(asked: Processing) -> tuple[SamplerInfo, ScheduleInfo]:
    name = asked.sampler_name or asked.sampler_index
    sampler, schedule = split_combined(name, asked.scheduler or "Automatic")
    return find_sampler(sampler), find_schedule(schedule)


def _overrides(asked: Processing) -> dict[str, object]:
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


def _refuse(missing: Missing, asked: Processing) -> None:
    """Raise `BadRequest` when a field asks for something Easel does not do; its neutral values pass."""
    for field, asks, without in missing:
        if asks(asked):
            raise BadRequest(
                f"{field}: Easel has no such feature yet (given: {str(getattr(asked, field))[:60]!r}).",
                hint=f"Leave {field} out{f' or send {without}' if without else ''}.",
                field=field,
            )


def _refuse_what_is_missing(asked: Processing) -> None:
    _refuse(MISSING, asked)
    for name in asked.alwayson_scripts:
        raise BadRequest(
            f"alwayson_scripts: always on script {name[:60]} not found.",
            hint="GET /sdapi/v1/scripts lists them.",
            field="alwayson_scripts",
        )


Missing = tuple[tuple[str, Callable[[Any], object], str], ...]
"""(field, whether it asks for something, its neutral value)."""

MISSING: Missing = (
    ("restore_faces", lambda asked: asked.restore_faces, "false"),
    ("tiling", lambda asked: asked.tiling, "false"),
    ("refiner_checkpoint", lambda asked: asked.refiner_checkpoint not in (None, "", "None"), ""),
    ("script_name", lambda asked: asked.script_name not in (None, "", "None"), ""),
    ("firstpass_image", lambda asked: asked.firstpass_image, ""),
    ("infotext", lambda asked: asked.infotext, ""),
    ("s_min_uncond", lambda asked: asked.s_min_uncond, "0"),
)
MISSING_IN_TXT2IMG: Missing = (("enable_hr", lambda asked: asked.enable_hr, "false"),)
MISSING_IN_IMG2IMG: Missing = (
    ("initial_noise_multiplier", lambda asked: asked.initial_noise_multiplier not in (None, 1), "1"),
    ("latent_mask", lambda asked: asked.latent_mask, ""),
    ("mask_round", lambda asked: not asked.mask_round, "true"),
)


def to_info(job: JobView) -> str:
    """Return A1111's `info`: a JSON text about all images of a job."""
    assert not isinstance(job.plan, UpscalePlan) and isinstance(job.request, GenerationRequest)
    plan = job.plan.part(job.plan.images[0].index)
    infotexts = [image.infotext for image in sorted(job.images, key=lambda image: image.index)]
    first = plan.images[0]
    subseeds = [image.seed if image.variation_seed is None else image.variation_seed for image in job.plan.images]
    resize_from = plan.variation.resize_from or (-1, -1)
    info = {
        "prompt": first.prompt,
        "all_prompts": [image.prompt for image in job.plan.images],
        "negative_prompt": first.negative_prompt,
        "all_negative_prompts": [image.negative_prompt for image in job.plan.images],
        "seed": first.seed,
        "all_seeds": [image.seed for image in job.plan.images],
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
        "sd_vae_name": None,
        "sd_vae_hash": None,
        "seed_resize_from_w": resize_from[0],
        "seed_resize_from_h": resize_from[1],
        "denoising_strength": None if isinstance(plan.start, FromNoise) else plan.start.strength,
        "extra_generation_params": {"Schedule type": plan.schedule},
        "index_of_first_image": 0,
        "infotexts": infotexts,
        "styles": list(job.request.styles),
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
    return SamplerItem(name=sampler.name, aliases=list(sampler.aliases), options=sampler.options)


def to_scheduler_item(schedule: ScheduleInfo) -> SchedulerItem:
    return SchedulerItem(
        name=schedule.name,
        label=schedule.label,
        aliases=list(schedule.aliases) or None,
        default_rho=-1.0 if schedule.default_rho is None else schedule.default_rho,
        need_inner_model=schedule.uses_levels,
    )


def read_base64_image(text: str, field: str = "image") -> bytes:
    """Return the bytes of an image sent as base64, bare or as a data: URI. Nothing is ever fetched."""
    content = text.strip()
    if content.lower().startswith(("http://", "https://", "file:", "ftp://")):
        raise BadRequest(f"{field}: an address was sent.", hint="Send the image itself as base64.", field=field)
    if content.lower().startswith("data:"):
        header, comma, content = content.partition(",")
        if not comma or not header.lower().endswith(";base64"):
            raise BadRequest(f"{field}: the data: URI is not base64.", hint="Send data:image/png;base64,…", field=field)
    try:
        decoded = base64.b64decode("".join(content.split()), validate=True)
    except (binascii.Error, ValueError):
        raise BadRequest(
            f"{field}: this is not base64.", hint="Send the image's bytes as base64.", field=field
        ) from None
    if not decoded:
        raise BadFile(f"{field}: it is empty.", hint="Send a PNG, JPEG or WebP image.", field=field)
    return decoded


def read_parameters(fields: Mapping[str, str], request: GenerationRequest | None) -> dict[str, Any]:
    """Return the parsed infotext as A1111 does: names to texts, the prompts among them, the size as two."""
    if request is None:
        return {}
    parameters = {"Prompt": request.prompt, "Negative prompt": request.negative_prompt, **fields}
    width, cross, height = fields.get("Size", "").partition("x")
    return {**parameters, "Size-1": width, "Size-2": height} if cross else parameters
