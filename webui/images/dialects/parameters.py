"""A1111's own form, and those who write it with keys of their own: Forge, SD.Next, Fooocus, Civitai, ComfyUI."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

from webui.images.dialects.names import comfy_sampler, comfy_schedule
from webui.images.dialects.told import Texts, Told, model_name
from webui.images.infotext import split

FORGE = re.compile(r"f\d+\.\d|neo", re.IGNORECASE)
A1111 = re.compile(r"v?\d+\.\d+\.\d+")

_SDNEXT_NAMES: Mapping[str, str] = MappingProxyType(
    {
        "Hires CFG scale": "Hires CFG Scale",
        "Hires upscaler scale": "Hires upscale",
        "Refine start": "Refiner switch at",
        "Sampler schedule": "Schedule type",
        "Denoising start": "Refiner switch at",
    }
)
_FOOOCUS_NAMES: Mapping[str, str] = MappingProxyType(
    {"Scheduler": "Schedule type", "Refiner Switch": "Refiner switch at"}
)
_NOT_A_VAE = ("Automatic", "Default (model)", "none", "Default")


def tell(texts: Texts) -> Told | None:
    if not texts.get("parameters", "").strip():
        return None
    prompt, negative_prompt, fields = split(texts["parameters"])
    program = _program(fields)
    told = Told(program, prompt, negative_prompt, dict(fields))
    match program:
        case "Forge":
            _put_forge(told)
        case "SD.Next":
            _rename(told, _SDNEXT_NAMES)
        case "Fooocus":
            _rename(told, _FOOOCUS_NAMES)
            _put_fooocus(told)
        case "ComfyUI":
            _put_comfy(told)
    return told


def _program(fields: Mapping[str, str]) -> str:
    version = fields.get("Version", "")
    known = (
        ("Easel", version.startswith("easel-")),
        ("SD.Next", fields.get("App") == "SD.Next" or "Backend" in fields or "Parser" in fields),
        ("Fooocus", version.startswith("Fooocus") or "Sharpness" in fields),
        ("ComfyUI", version.startswith("ComfyUI")),
        ("Forge", bool(FORGE.match(version)) or "Distilled CFG Scale" in fields),
        ("A1111", bool(A1111.match(version))),
        ("Civitai", "Civitai resources" in fields),
        ("A1111", "Sampler" in fields and "Seed" in fields),
    )
    return next((name for name, holds in known if holds), "")


def _rename(told: Told, names: Mapping[str, str]) -> None:
    for name, key in names.items():
        if name in told.parameters:
            told.parameters.setdefault(key, told.parameters.pop(name))


def _put_forge(told: Told) -> None:
    """Its modules are text encoders and the VAE; the latter can be told by its name alone."""
    modules = [key for key in told.parameters if re.fullmatch(r"Module \d+", key)]
    vaes = [key for key in modules if "vae" in told.parameters[key].lower() or told.parameters[key] == "ae"]
    if len(vaes) == 1 and "VAE" not in told.parameters:
        told.parameters["VAE"] = told.parameters.pop(vaes[0])
    if told.parameters.get("Hires Module 1") in ("Use same choices", "Built-in"):
        del told.parameters["Hires Module 1"]


def _put_fooocus(told: Told) -> None:
    if told.parameters.get("VAE") in _NOT_A_VAE:
        del told.parameters["VAE"]
    if "Schedule type" in told.parameters:
        told.parameters["Schedule type"] = comfy_schedule(told.parameters["Schedule type"])


def _put_comfy(told: Told) -> None:
    """Nodes that save in A1111's form often keep ComfyUI's names, the schedule behind the sampler's."""
    sampler = told.parameters.get("Sampler", "").replace(" ", "_")
    plain, _, schedule = sampler.rpartition("_")
    if comfy_sampler(sampler) != sampler:
        told.parameters["Sampler"] = comfy_sampler(sampler)
    elif comfy_sampler(plain) != plain and comfy_schedule(schedule) != schedule:
        told.parameters |= {"Sampler": comfy_sampler(plain), "Schedule type": comfy_schedule(schedule)}
    if "Model" in told.parameters:
        told.parameters["Model"] = model_name(told.parameters["Model"])
