"""Draw Things: JSON in the UserComment of XMP."""

from __future__ import annotations

import html

from webui.images.dialects.told import Texts, Told, as_list, as_mapping, as_text, model_name
from webui.images.embedded import XMP_KEY
from webui.images.json_text import parse_json

_NAMES = {"steps": "Steps", "sampler": "Sampler", "scale": "CFG scale", "seed": "Seed", "size": "Size"}
_OPENING, _ITEM, _CLOSING = "<exif:UserComment>", "<rdf:li", "</rdf:li>"


def tell(texts: Texts) -> Told | None:
    content = as_mapping(parse_json(_comment(texts.get(XMP_KEY, ""))))
    if "c" not in content or "sampler" not in content:
        return None
    told = Told("Draw Things", as_text(content.get("c")), as_text(content.get("uc")))
    told.add_named(content, _NAMES)
    told.add("Model", model_name(content.get("model")))
    if content.get("strength") != 1:
        told.add("Denoising strength", content.get("strength"))
    for lora in as_list(content.get("lora")):
        told.add_lora(as_mapping(lora).get("model"), as_mapping(lora).get("weight"))
    told.miss("control", "in use" if content.get("control") else "", "not available here")
    return told


def _comment(xmp: str) -> str:
    """Return the text of the first item of XMP's UserComment; nothing is parsed as XML, which may be hostile."""
    opening = xmp.find(_OPENING)
    item = xmp.find(_ITEM, opening) if opening >= 0 else -1
    start = xmp.find(">", item) if item >= 0 else -1
    end = xmp.find(_CLOSING, start) if start >= 0 else -1
    return html.unescape(xmp[start + 1 : end]) if end >= 0 else ""
