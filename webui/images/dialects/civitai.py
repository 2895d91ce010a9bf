"""Civitai's own generator: a graph of ComfyUI in EXIF's UserComment with `extraMetadata`, a summary as JSON in JSON.

What was uploaded from A1111 keeps A1111's form, with `Civitai resources` added (see `parameters`).
"""

from __future__ import annotations

from webui.images.dialects.comfyui import follow
from webui.images.dialects.told import Texts, Told, as_list, as_mapping, as_text
from webui.images.json_text import parse_json

_NAMES = {
    "steps": "Steps",
    "sampler": "Sampler",
    "cfgScale": "CFG scale",
    "seed": "Seed",
    "clipSkip": "Clip skip",
    "denoise": "Denoising strength",
}


def tell(texts: Texts) -> Told | None:
    text = texts.get("parameters", "")
    if "extraMetadata" not in text:
        return None
    graph = as_mapping(parse_json(text))
    summary = as_mapping(parse_json(as_text(graph.get("extraMetadata"))))
    if not summary:
        return None
    told = follow(graph) or Told("Civitai")
    told.program = "Civitai"
    told.prompt = as_text(summary.get("prompt")) or told.prompt
    told.negative_prompt = as_text(summary.get("negativePrompt")) or told.negative_prompt
    if "sampler" in summary:
        told.parameters.pop("Schedule type", None)  # the summary's name of a sampler says it, as in older A1111
    told.add_named(summary, _NAMES)
    told.add_size(summary.get("width"), summary.get("height"))
    for resource in as_list(summary.get("resources")):
        number = as_mapping(resource).get("modelVersionId")
        told.miss("Resource", number, "a model by its number at Civitai: choose your copy of it")
    return told
