"""Units as programs send them to ADetailer, and as infotexts hold them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from extensions.detailer.options import MAX_UNITS, Unit
from webui.extending.api import BadRequest, Tools

FIELD = "extensions.detailer.units"
SAME_SCHEDULE = "Use same scheduler"

# ADetailer's name → ours and what its infotext calls it.
_PLAIN: Mapping[str, tuple[str, str]] = {
    "ad_model": ("detector", "ADetailer model"),
    "ad_model_classes": ("classes", "ADetailer model classes"),
    "ad_tap_enable": ("enabled", "ADetailer tap enable"),
    "ad_tab_enable": ("enabled", "ADetailer tab enable"),
    "ad_prompt": ("prompt", "ADetailer prompt"),
    "ad_negative_prompt": ("negative_prompt", "ADetailer negative prompt"),
    "ad_confidence": ("confidence", "ADetailer confidence"),
    "ad_mask_k_largest": ("most", "ADetailer mask only top k largest"),
    "ad_mask_k": ("most", "ADetailer mask only top k"),
    "ad_mask_min_ratio": ("min_share", "ADetailer mask min ratio"),
    "ad_mask_max_ratio": ("max_share", "ADetailer mask max ratio"),
    "ad_x_offset": ("x_offset", "ADetailer x offset"),
    "ad_y_offset": ("y_offset", "ADetailer y offset"),
    "ad_dilate_erode": ("dilation", "ADetailer dilate erode"),
    "ad_mask_merge_invert": ("merge", "ADetailer mask merge invert"),
    "ad_mask_blur": ("mask_blur", "ADetailer mask blur"),
    "ad_denoising_strength": ("strength", "ADetailer denoising strength"),
    "ad_inpaint_only_masked": ("only_masked", "ADetailer inpaint only masked"),
    "ad_inpaint_only_masked_padding": ("padding", "ADetailer inpaint padding"),
}
_SWITCHED: Mapping[str, tuple[str, str, str]] = {
    "ad_inpaint_width": ("width", "ADetailer inpaint width", "ad_use_inpaint_width_height"),
    "ad_inpaint_height": ("height", "ADetailer inpaint height", "ad_use_inpaint_width_height"),
    "ad_steps": ("steps", "ADetailer steps", "ad_use_steps"),
    "ad_cfg_scale": ("guidance", "ADetailer CFG scale", "ad_use_cfg_scale"),
    "ad_sampler": ("sampler", "ADetailer sampler", "ad_use_sampler"),
    "ad_scheduler": ("schedule", "ADetailer scheduler", "ad_use_sampler"),
}
"""Those that count where a switch is on."""
_SWITCHES: Mapping[str, str] = {
    "ad_use_inpaint_width_height": "ADetailer use inpaint width height",
    "ad_use_steps": "ADetailer use separate steps",
    "ad_use_cfg_scale": "ADetailer use separate CFG scale",
    "ad_use_sampler": "ADetailer use separate sampler",
}
_UNKNOWN: Mapping[str, str] = {
    "ad_use_checkpoint": "another checkpoint",
    "ad_use_vae": "another VAE",
    "ad_use_noise_multiplier": "another noise multiplier",
    "ad_use_clip_skip": "another clip skip",
    "ad_restore_face": "face restoration",
}
_PASSED_OVER = (
    "is_api", "ad_checkpoint", "ad_vae", "ad_noise_multiplier", "ad_clip_skip", "ad_mask_filter_method",
    "ad_controlnet_model", "ad_controlnet_module", "ad_controlnet_weight", "ad_controlnet_guidance_start",
    "ad_controlnet_guidance_end",
)  # fmt: skip
_OWN: Mapping[str, str] = {
    "rectangles": "ADetailer rectangles", "mask": "ADetailer mask", "order": "ADetailer order",
    "resolution": "ADetailer detector size",
}  # fmt: skip
"""What ADetailer has not."""


def read_arguments(arguments: Sequence[object], tools: Tools) -> Mapping[str, Any]:
    """Return the options that ADetailer's arguments mean: whether it acts, whether img2img is skipped (either may be
    left out), and one mapping for each unit. Raises `BadRequest` for what is not known here."""
    switches = [argument for argument in arguments if isinstance(argument, bool)]
    units = [argument for argument in arguments if isinstance(argument, Mapping)]
    if wrong := [each for each in arguments if each is not None and not isinstance(each, bool | Mapping)]:
        raise BadRequest(
            f"ADetailer takes two booleans and a mapping for each unit, not {str(wrong[0])[:60]!r}.",
            hint='Send [true, false, {"ad_model": "face_yolov8n.onnx"}].',
            field="alwayson_scripts",
        )
    return {
        "enabled": switches[0] if switches else bool(units),
        "skip_img2img": len(switches) > 1 and switches[1],
        "units": tuple(read_unit(unit) for unit in units[:MAX_UNITS]),
    }


def read_unit(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return one of ADetailer's mappings by our names; what is null keeps its default."""
    known = {*_PLAIN, *_SWITCHED, *_SWITCHES, *_UNKNOWN, *_PASSED_OVER}
    if strange := sorted(given.keys() - known):
        raise BadRequest(
            f"ADetailer has no option {strange[0][:60]!r}.", hint=f"It has: {', '.join(sorted(known))}.", field=FIELD
        )
    if asked := [words for name, words in _UNKNOWN.items() if given.get(name)]:
        raise BadRequest(f"The detailer cannot use {asked[0]}.", hint="Leave it off.", field=FIELD)
    if given.get("ad_controlnet_model", "None") not in ("None", "", None):
        raise BadRequest(
            "The detailer has no ControlNet of its own.", hint='Send "None" as ad_controlnet_model.', field=FIELD
        )
    unit = {ours: given[name] for name, (ours, _) in _PLAIN.items() if given.get(name) is not None}
    for name, (ours, _, switch) in _SWITCHED.items():
        if given.get(switch) and given.get(name) not in (None, SAME_SCHEDULE):
            unit[ours] = given[name]
    return unit


def suffix_of(number: int) -> str:
    """Return what stands behind the keys of unit `number` (from 1) in infotexts."""
    return "" if number == 1 else f" {number}{({2: 'nd', 3: 'rd'}).get(number, 'th')}"


def write(units: Sequence[Unit]) -> dict[str, str]:
    """Return what the infotext says of `units`, under ADetailer's keys and some of our own."""
    said: dict[str, str] = {}
    for number, unit in enumerate(units, 1):
        said |= {key + suffix_of(number): value for key, value in _write_unit(unit).items()}
    return said


_ALWAYS = ("ad_model", "ad_confidence", "ad_dilate_erode", "ad_mask_blur", "ad_denoising_strength",
           "ad_inpaint_only_masked", "ad_inpaint_only_masked_padding")  # fmt: skip


def _write_unit(unit: Unit) -> dict[str, str]:
    usual, said = Unit(), {}
    for name, (ours, key) in _PLAIN.items():
        value = getattr(unit, ours)
        if ours != "enabled" and key not in said and (name in _ALWAYS or value != getattr(usual, ours)):
            said[key] = _word(value)
    said.pop("ADetailer mask only top k", None)
    for ours, key, switch in _SWITCHED.values():
        if getattr(unit, ours) is not None:
            said |= {_SWITCHES[switch]: "True", key: _word(getattr(unit, ours))}
    own = {key: getattr(unit, ours) for ours, key in _OWN.items() if getattr(unit, ours) != getattr(usual, ours)}
    return said | {key: _word(value) for key, value in own.items()}


def read(parameters: Mapping[str, str]) -> dict[str, Any] | None:
    """Return the options that an infotext's `parameters` say, None where they say nothing of regions."""
    units = []
    for number in range(1, MAX_UNITS + 1):
        if f"ADetailer model{suffix_of(number)}" in parameters:
            units.append(_read_unit(parameters, suffix_of(number)))
    return {"enabled": True, "units": tuple(units)} if units else None


def _read_unit(parameters: Mapping[str, str], suffix: str) -> dict[str, Any]:
    keys = [*_PLAIN.values(), *((ours, key) for ours, key, _ in _SWITCHED.values()), *_OWN.items()]
    keys += [("dilation", "ADetailer dilate/erode")]  # as older versions wrote it
    read = {ours: parameters[key + suffix] for ours, key in keys if key + suffix in parameters}
    if read.get("schedule") == SAME_SCHEDULE:
        del read["schedule"]
    return read


def _word(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
