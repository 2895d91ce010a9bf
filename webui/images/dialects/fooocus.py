"""Fooocus: JSON in `parameters`. Its other scheme is A1111's form (see `parameters`)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from webui.images.dialects.names import comfy_sampler, comfy_schedule
from webui.images.dialects.told import Texts, Told, as_list, as_mapping, as_text, model_name
from webui.images.json_text import parse_json

_NAMES = {
    "steps": "Steps",
    "guidance_scale": "CFG scale",
    "seed": "Seed",
    "clip_skip": "Clip skip",
    "base_model_hash": "Model hash",
    "refiner_switch": "Refiner switch at",
    "sharpness": "Sharpness",
    "adm_guidance": "ADM Guidance",
}
_SIZE = re.compile(r"\(?\s*(\d{1,6})\s*[,x×]\s*(\d{1,6})")
_LORA = re.compile(r"(.{1,500}?) : ([\d.+-]{1,20})")


def tell(texts: Texts) -> Told | None:
    text = texts.get("parameters", "")
    if not text.lstrip().startswith("{"):
        return None
    content = as_mapping(parse_json(text))
    is_ours = "fooocus_scheme" in texts or "metadata_scheme" in content or {"base_model", "performance"} <= set(content)
    if not content or not is_ours:
        return None
    told = Told("Fooocus", as_text(content.get("prompt")), as_text(content.get("negative_prompt")))
    told.add_named(content, _NAMES)
    told.add("Sampler", comfy_sampler(as_text(content.get("sampler"))))
    told.add("Schedule type", comfy_schedule(as_text(content.get("scheduler"))))
    if size := _SIZE.match(as_text(content.get("resolution"))):
        told.add_size(size[1], size[2])
    told.add("Model", model_name(content.get("base_model")))
    _add_parts(told, content)
    told.add("RNG", "CPU")
    return told


def _add_parts(told: Told, content: Mapping[str, Any]) -> None:
    if (refiner := model_name(content.get("refiner_model"))) not in ("", "None"):
        told.add("Refiner", refiner)
    else:
        told.parameters.pop("Refiner switch at", None)
    if (vae := as_text(content.get("vae"))) not in ("", "Default (model)"):
        told.add("VAE", vae)
    for lora in as_list(content.get("loras")):
        told.add_lora(*[*as_list(lora), None, None][:2])
    combined = (
        [value for key, value in content.items() if key.startswith("lora_combined")] if not content.get("loras") else []
    )
    for value in combined:
        if match := _LORA.fullmatch(as_text(value)):
            told.add_lora(match[1], match[2])
    told.miss("Styles", content.get("styles"), "styles of Fooocus are not here: add their words to the prompt")
    told.miss("Prompt expansion", content.get("prompt_expansion"), "added by Fooocus, not part of the prompt")
