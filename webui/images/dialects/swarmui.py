"""SwarmUI: JSON in `parameters`, under `sui_image_params`."""

from __future__ import annotations

from itertools import zip_longest

from webui.images.dialects.names import comfy_sampler, comfy_schedule
from webui.images.dialects.told import Texts, Told, as_list, as_mapping, as_number, as_text, model_name
from webui.images.json_text import parse_json

_NAMES = {"steps": "Steps", "cfgscale": "CFG scale", "seed": "Seed", "initimagecreativity": "Denoising strength"}
_WITHOUT_NAME = ("refinermethod", "refinerupscale", "controlnetmodel", "freeuapplyto")


def tell(texts: Texts) -> Told | None:
    text = texts.get("parameters", "")
    if "sui_image_params" not in text:
        return None
    content = as_mapping(as_mapping(parse_json(text)).get("sui_image_params"))
    if not content:
        return None
    told = Told("SwarmUI", as_text(content.get("prompt")), as_text(content.get("negativeprompt")))
    told.add_named(content, _NAMES)
    told.add("Sampler", comfy_sampler(as_text(content.get("sampler"))))
    told.add("Schedule type", comfy_schedule(as_text(content.get("scheduler"))))
    told.add_size(content.get("width"), content.get("height"))
    told.add("Model", model_name(content.get("model")))
    if (vae := as_text(content.get("vae"))) not in ("", "Automatic", "None"):
        told.add("VAE", vae)
    if (layer := as_number(content.get("clipstopatlayer"))) is not None:
        told.add("Clip skip", -layer)
    for name, weight in zip_longest(as_list(content.get("loras")), as_list(content.get("loraweights"))):
        told.add_lora(name, weight)
    for name in _WITHOUT_NAME:
        told.miss(name, content.get(name), "a step of SwarmUI that is not taken over")
    told.add("RNG", "CPU")
    return told
