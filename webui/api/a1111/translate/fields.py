"""Our request fields under A1111's names, and errors that speak of them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from pydantic import ValidationError

from webui.domain.request import GenerationRequest, UpscaleRequest
from webui.errors import BadRequest, EaselError

A1111_NAMES: Mapping[str, str] = MappingProxyType(
    {
        "guidance": "cfg_scale",
        "distilled_guidance": "distilled_cfg_scale",
        "batch_count": "n_iter",
        "sampler": "sampler_name",
        "schedule": "scheduler",
        "model": "override_settings.sd_model_checkpoint",
        "vae": "override_settings.sd_vae",
        "modules": "override_settings.forge_additional_modules",
        "clip_skip": "override_settings.CLIP_stop_at_last_layers",
        "script": "script_name",
        "variation.seed": "subseed",
        "variation.strength": "subseed_strength",
        "variation.resize_from_width": "seed_resize_from_w",
        "variation.resize_from_height": "seed_resize_from_h",
        "sampling.eta": "eta",
        "sampling.churn": "s_churn",
        "sampling.tmin": "s_tmin",
        "sampling.tmax": "s_tmax",
        "sampling.noise": "s_noise",
        "guiding.minimum": "s_min_uncond",
        "guiding.image": "image_cfg_scale",
        "hires.scale": "hr_scale",
        "hires.width": "hr_resize_x",
        "hires.height": "hr_resize_y",
        "hires.upscaler": "hr_upscaler",
        "hires.steps": "hr_second_pass_steps",
        "hires.strength": "denoising_strength",
        "hires.sampler": "hr_sampler_name",
        "hires.schedule": "hr_scheduler",
        "hires.guidance": "hr_cfg",
        "hires.model": "hr_checkpoint_name",
        "hires.prompt": "hr_prompt",
        "hires.negative_prompt": "hr_negative_prompt",
        "refiner.model": "refiner_checkpoint",
        "refiner.switch_at": "refiner_switch_at",
        "start.strength": "denoising_strength",
        "start.padding": "inpaint_full_res_padding",
    }
)
"""Fields of a `GenerationRequest` → A1111's, where they differ."""

EXTRAS_NAMES: Mapping[str, str] = MappingProxyType(
    {
        "upscaler": "upscaler_1",
        "second_upscaler": "upscaler_2",
        "second_share": "extras_upscaler_2_visibility",
        "scale": "upscaling_resize",
        "width": "upscaling_resize_w",
        "height": "upscaling_resize_h",
    }
)
"""The same for an `UpscaleRequest`."""

PARTS = frozenset(name.partition(".")[0] for name in A1111_NAMES if "." in name)


def checked(values: Mapping[str, object]) -> GenerationRequest:
    """Return the request made of `values`; raise `BadRequest` naming A1111's field."""
    try:
        return GenerationRequest.model_validate(values)
    except ValidationError as error:
        raise _bad_field(error, A1111_NAMES) from error


def checked_extras(values: Mapping[str, object]) -> UpscaleRequest:
    """The same for a request to enlarge pictures."""
    try:
        return UpscaleRequest.model_validate(values)
    except ValidationError as error:
        raise _bad_field(error, EXTRAS_NAMES) from error


def _bad_field(error: ValidationError, names: Mapping[str, str]) -> BadRequest:
    first = error.errors()[0]
    field = _field(first["loc"], names)
    given = repr(first["input"])
    shown = given if len(given) <= 60 else f"{len(given)} characters"
    return BadRequest(f"{field}: {first['msg']} (given: {shown}).", hint="Correct it and send again.", field=field)


def _field(place: tuple[int | str, ...], names: Mapping[str, str]) -> str:
    """Return A1111's name of the field at `place`. The fields of a start stand one deeper, below its kind."""
    part, inner = str(place[0]), place[2:] if place[0] == "start" else place[1:]
    if part in PARTS and inner:
        return names.get(f"{part}.{inner[0]}", str(inner[0]))
    return names.get(part, part)


def in_their_words(error: EaselError, names: Mapping[str, str] = A1111_NAMES) -> EaselError:
    """Return an error about our field as one about theirs."""
    return type(error)(error.message, hint=error.hint, field=names.get(error.field, error.field))
