"""Easy Diffusion: a text chunk for each value, or one JSON with them in EXIF's UserComment."""

from __future__ import annotations

from itertools import zip_longest
from typing import Any

from webui.images.dialects.names import diffusers_sampler
from webui.images.dialects.told import Texts, Told, as_list, as_mapping, as_text, model_name
from webui.images.json_text import parse_json

_MARK = "use_stable_diffusion_model"
_NAMES = {
    "num_inference_steps": "Steps",
    "guidance_scale": "CFG scale",
    "seed": "Seed",
    "prompt_strength": "Denoising strength",
}
_WITHOUT_NAME = ("use_face_correction", "use_controlnet_model", "use_hypernetwork_model", "use_upscale")


def tell(texts: Texts) -> Told | None:
    content: dict[str, Any] = dict(texts)
    if _MARK not in content:
        if _MARK not in texts.get("parameters", ""):
            return None
        content = dict(as_mapping(parse_json(texts["parameters"])))
        if _MARK not in content:
            return None
    told = Told("Easy Diffusion", as_text(content.get("prompt")), as_text(content.get("negative_prompt")))
    told.add_named(content, _NAMES)
    sampler, schedule = diffusers_sampler(as_text(content.get("sampler_name")))
    told.add("Sampler", sampler)
    told.add("Schedule type", schedule if sampler else "")
    told.add_size(content.get("width"), content.get("height"))
    told.add("Model", model_name(content.get(_MARK)))
    told.add("VAE", content.get("use_vae_model"))
    if as_text(content.get("clip_skip")) == "True":
        told.add("Clip skip", 2)
    told.add("Tiling", {"xy": "True", "x": "x", "y": "y"}.get(as_text(content.get("tiling")), ""))
    loras, weights = (_listed(content.get(name)) for name in ("use_lora_model", "lora_alpha"))
    for name, weight in zip_longest(loras, weights):
        told.add_lora(name, weight)
    for name in _WITHOUT_NAME:
        if as_text(content.get(name)) not in ("", "None"):
            told.miss(name, content.get(name), "not available here")
    return told


def _listed(value: object) -> list[Any]:
    """Return one or several values; in text chunks a list is written as JSON."""
    if isinstance(value, str) and value.startswith("["):
        return as_list(parse_json(value.replace("'", '"')))
    return as_list(value) or ([value] if as_text(value) not in ("", "None") else [])
