"""NovelAI: the prompt as `Description`, JSON as `Comment`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from webui.images.dialects.names import NOVELAI_SAMPLERS
from webui.images.dialects.told import Texts, Told, as_list, as_mapping, as_number, as_text
from webui.images.json_text import parse_json

_NAMES = {
    "steps": "Steps",
    "scale": "CFG scale",
    "seed": "Seed",
    "cfg_rescale": "CFG rescale",
}
_SCHEDULES = {"karras": "Karras", "exponential": "Exponential", "polyexponential": "Polyexponential"}
_STEP = 1.05  # what one pair of braces is worth
_DEEPEST = 30
_BRACKETS = re.compile(r"\\.|[{}\[\]]|[^\\{}\[\]]+|\\", re.DOTALL)


def tell(texts: Texts) -> Told | None:
    if texts.get("Software") != "NovelAI" and not texts.get("Source", "").startswith("NovelAI"):
        return None
    content = as_mapping(parse_json(texts.get("Comment", "")))
    told = Told("NovelAI", _as_weights(as_text(content.get("prompt")) or texts.get("Description", "")))
    told.negative_prompt = _as_weights(as_text(content.get("uc")))
    told.add_named(content, _NAMES)
    if not as_number(content.get("cfg_rescale")):
        told.parameters.pop("CFG rescale", None)
    if "Img2Img" in as_text(content.get("request_type")):  # old texts give a strength to pictures from noise as well
        told.add("Denoising strength", content.get("strength"))
    sampler = as_text(content.get("sampler"))
    told.add("Sampler", NOVELAI_SAMPLERS.get(sampler, sampler))
    told.add("Schedule type", _SCHEDULES.get(as_text(content.get("noise_schedule")), "Automatic" if sampler else ""))
    told.add_size(content.get("width"), content.get("height"))
    if texts.get("Source"):
        told.miss("Model", texts["Source"], "a model of NovelAI: choose one of yours")
    _miss_methods(told, content)
    caption = as_mapping(as_mapping(content.get("v4_prompt")).get("caption"))
    for character in as_list(caption.get("char_captions")):
        text = as_mapping(character).get("char_caption")
        told.miss("Character", text, "characters of their own are not available here: add them to the prompt")
    return told


def _miss_methods(told: Told, content: Mapping[str, Any]) -> None:
    for name, why in (
        ("sm", "SMEA is a method of NovelAI"),
        ("sm_dyn", "SMEA is a method of NovelAI"),
        ("dynamic_thresholding", "thresholding is not available here"),
    ):
        if content.get(name) is True:
            told.miss(name, True, why)


def _as_weights(prompt: str) -> str:
    """Return a prompt whose braces and brackets have become weights: `{{a}}` is `(a:1.1025)`.

    Round brackets are letters there. Braces nobody opened or closed are passed over.
    """
    written: list[str] = []
    powers: list[int] = []
    for match in _BRACKETS.finditer(prompt):
        part = match[0]
        if part in "{[":
            powers.append(1 if part == "{" else -1)
        elif part in "}]":
            if powers:
                powers.pop()
        else:
            power = sum(powers[-_DEEPEST:])
            text = re.sub(r"(?<!\\)[()]", r"\\\g<0>", part)
            weight = f"{_STEP**power:.4f}".rstrip("0").rstrip(".")
            written.append(f"({text}:{weight})" if power and text.strip() else text)
    return "".join(written)
