"""The field `infotext`: what a text says fills the fields that were not sent."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TypeVar

from pydantic import ValidationError

from webui.api.a1111.schemas.processing import Processing
from webui.errors import BadRequest
from webui.settings import NAMES

Asked = TypeVar("Asked", bound=Processing)

FIELDS: Mapping[str, str] = MappingProxyType(
    {
        "Steps": "steps",
        "Sampler": "sampler_name",
        "Schedule type": "scheduler",
        "CFG scale": "cfg_scale",
        "Distilled CFG Scale": "distilled_cfg_scale",
        "Image CFG scale": "image_cfg_scale",
        "Seed": "seed",
        "Variation seed": "subseed",
        "Variation seed strength": "subseed_strength",
        "Denoising strength": "denoising_strength",
        "Tiling": "tiling",
        "Refiner": "refiner_checkpoint",
        "Refiner switch at": "refiner_switch_at",
        "Hires upscale": "hr_scale",
        "Hires upscaler": "hr_upscaler",
        "Hires steps": "hr_second_pass_steps",
        "Hires checkpoint": "hr_checkpoint_name",
        "Hires sampler": "hr_sampler_name",
        "Hires schedule type": "hr_scheduler",
        "Hires CFG Scale": "hr_cfg",
        "Hires prompt": "hr_prompt",
        "Hires negative prompt": "hr_negative_prompt",
        "Mask blur": "mask_blur",
        "Masked area padding": "inpaint_full_res_padding",
    }
)
"""Parameter → field, where the value needs no translation."""

SIZES: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "Size": ("width", "height"),
        "Seed resize from": ("seed_resize_from_w", "seed_resize_from_h"),
        "Hires resize": ("hr_resize_x", "hr_resize_y"),
    }
)

HIRES = ("Hires upscale", "Hires upscaler", "Hires resize")
"""Any of these, together with a denoising strength, says that there was a second pass."""

WORDS: Mapping[str, tuple[str, Mapping[str, object]]] = MappingProxyType(
    {
        "Mask mode": ("inpainting_mask_invert", {"Inpaint masked": 0, "Inpaint not masked": 1}),
        "Inpaint area": ("inpaint_full_res", {"Whole picture": False, "Only masked": True}),
        "Masked content": (
            "inpainting_fill",
            {"fill": 0, "original": 1, "latent noise": 2, "latent nothing": 3},
        ),
    }
)

SETTINGS: Mapping[str, str] = MappingProxyType(
    {
        "VAE": "sd_vae",
        "Clip skip": "CLIP_stop_at_last_layers",
        "ENSD": "eta_noise_seed_delta",
        "RNG": "randn_source",
        "Emphasis": "emphasis",
        "Eta": "eta_ancestral",
        "Eta DDIM": "eta_ddim",
        "Sigma churn": "s_churn",
        "Sigma tmin": "s_tmin",
        "Sigma tmax": "s_tmax",
        "Sigma noise": "s_noise",
        "Schedule min sigma": "sigma_min",
        "Schedule max sigma": "sigma_max",
        "Schedule rho": "rho",
        "Beta schedule alpha": "beta_dist_alpha",
        "Beta schedule beta": "beta_dist_beta",
        "Discard penultimate sigma": "always_discard_next_to_last_sigma",
        "Noise multiplier": "initial_noise_multiplier",
        "Extra noise": "img2img_extra_noise",
        "Conditional mask weight": "inpainting_mask_weight",
        "VAE Encoder": "sd_vae_encode_method",
        "VAE Decoder": "sd_vae_decode_method",
        "NGMS": "s_min_uncond",
    }
)
"""Parameter → setting that holds for this request. The model is none of them: A1111 keeps the current one as well."""


def with_infotext(asked: Asked, read: Callable[[str], tuple[str, str, Mapping[str, str]]]) -> Asked:
    """Return the request with the fields that its `infotext` names and that were not sent themselves.

    `read` splits a text into prompt, negative prompt and parameters. Raises `BadRequest` naming the field that a
    parameter cannot be put into.
    """
    if not asked.infotext:
        return asked
    prompt, negative_prompt, parameters = read(asked.infotext)
    said = {"prompt": prompt, "negative_prompt": negative_prompt, **_fields(parameters)}
    settings: dict[str, object] = {
        SETTINGS[key]: value for key, value in parameters.items() if SETTINGS.get(key) in {*NAMES, "sd_vae"}
    }
    modules = [value for key, value in parameters.items() if re.fullmatch(r"Module \d+", key)]
    settings |= {"forge_additional_modules": modules} if modules else {}
    return filled(asked, said | {"override_settings": {**settings, **asked.override_settings}}, "infotext")


def filled(asked: Asked, fields: Mapping[str, object], source: str) -> Asked:
    """Return `asked` with `fields`, as far as it has them and they were not sent; overrides are always taken over."""
    sent = asked.model_dump(exclude_unset=True, exclude={"override_settings"})
    known = {name: value for name, value in fields.items() if name in type(asked).model_fields}
    overrides = known.get("override_settings", asked.override_settings)
    try:
        return type(asked).model_validate({**known, **sent, "override_settings": overrides})
    except ValidationError as error:
        first = error.errors()[0]
        field = str(first["loc"][0])
        raise BadRequest(
            f"{source}: {field}: {first['msg']} (given: {str(first['input'])[:60]!r}).",
            hint=f"Correct the text, or send {field} itself.",
            field=source,
        ) from error


def _fields(parameters: Mapping[str, str]) -> dict[str, object]:
    fields: dict[str, object] = {}
    for key, value in parameters.items():
        if key in FIELDS:
            fields[FIELDS[key]] = value
        elif key in SIZES:
            fields |= dict(zip(SIZES[key], value.split("x"), strict=False))
        elif key in WORDS and value in WORDS[key][1]:
            name, words = WORDS[key]
            fields[name] = words[value]
    if "Denoising strength" in parameters and any(key in parameters for key in HIRES):
        fields["enable_hr"] = True
    return fields
