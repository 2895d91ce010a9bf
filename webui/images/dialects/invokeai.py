"""InvokeAI: `invokeai_metadata` (since 3), `sd-metadata` (2) and `Dream`, a command line (1)."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from typing import Any

from webui.images.dialects.names import diffusers_sampler
from webui.images.dialects.told import Texts, Told, as_list, as_mapping, as_number, as_text, model_name
from webui.images.json_text import parse_json

_NAMES = {
    "steps": "Steps",
    "cfg_scale": "CFG scale",
    "seed": "Seed",
    "strength": "Denoising strength",
    "refiner_start": "Refiner switch at",
}
_FLAGS = {"-s": "Steps", "-S": "Seed", "-C": "CFG scale", "-f": "Denoising strength"}
_LONGEST_LINE = 20_000  # characters of a command line
_UNWANTED = re.compile(r"\[([^\[\]]{0,20000})\]")
_WEIGHTED = re.compile(
    r"\(([^()]{1,2000})\)(\d?\.?\d{1,4})(?![\d.])"
    r"|(?:\(([^()]{1,2000})\)|(?<![\w+-])(\w[\w-]{0,99}))(\+{1,9}|-{1,9})(?![\w+-])"
)


def tell(texts: Texts) -> Told | None:
    if "invokeai_metadata" in texts:
        return _tell_metadata(as_mapping(parse_json(texts["invokeai_metadata"])))
    if "sd-metadata" in texts:
        return _tell_old(as_mapping(parse_json(texts["sd-metadata"])))
    if "Dream" in texts:
        return _tell_line(texts["Dream"])
    if '"positive_prompt"' in texts.get("parameters", ""):  # copied from its page
        content = as_mapping(parse_json(texts["parameters"]))
        return _tell_metadata(content) if "positive_prompt" in content else None
    return None


def _tell_metadata(content: Mapping[str, Any]) -> Told:
    told = Told("InvokeAI", _as_weights(as_text(content.get("positive_prompt"))))
    told.negative_prompt = _as_weights(as_text(content.get("negative_prompt")))
    told.add_named(content, _NAMES)
    _add_sampler(told, as_text(content.get("scheduler")))
    told.add_size(content.get("width"), content.get("height"))
    if (layers := as_number(content.get("clip_skip"))) is not None:
        told.add("Clip skip", layers + 1)
    if as_number(content.get("cfg_rescale_multiplier")):
        told.add("CFG rescale", content.get("cfg_rescale_multiplier"))
    told.add("RNG", "CPU" if content.get("rand_device") == "cpu" else "")
    _add_models(told, content)
    across, down = content.get("seamless_x") is True, content.get("seamless_y") is True
    told.add("Tiling", "True" if across and down else "x" if across else "y" if down else "")
    if content.get("hrf_enabled") is True:
        told.add("Denoising strength", content.get("hrf_strength"))
        told.add("Hires upscale", 2)
        told.add("Hires upscaler", "Latent")
    for name in ("controlnets", "ipAdapters", "t2iAdapters"):
        told.miss(name, f"{len(as_list(content.get(name)))} in use" if content.get(name) else "", "not available here")
    return told


def _add_models(told: Told, content: Mapping[str, Any]) -> None:
    told.add("Model", _name_of(content.get("model")))
    told.add("VAE", _name_of(content.get("vae")))
    told.add("Refiner", _name_of(content.get("refiner_model")))
    for lora in as_list(content.get("loras")):
        facts = as_mapping(lora)
        told.add_lora(_name_of(facts.get("model") or facts.get("lora")), facts.get("weight"))


def _name_of(model: object) -> str:
    facts = as_mapping(model)
    return model_name(facts.get("name") or facts.get("model_name") or model)


def _tell_old(content: Mapping[str, Any]) -> Told:
    image = as_mapping(content.get("image"))
    prompts = image.get("prompt")
    parts = [as_text(as_mapping(part).get("prompt")) for part in as_list(prompts)] or [as_text(prompts)]
    told = Told("InvokeAI")
    _put_prompt(told, " ".join(part for part in parts if part))
    told.add_named(image, _NAMES)
    _add_sampler(told, as_text(image.get("sampler")))
    told.add_size(image.get("width"), image.get("height"))
    told.add("Model", model_name(content.get("model_weights")))
    told.add("Tiling", "True" if image.get("seamless") is True else "")
    for name in ("threshold", "perlin", "variations", "postprocessing", "hires_fix"):
        if image.get(name):
            told.missing.append(f"{name} (a method of InvokeAI that is not taken over)")
    return told


def _tell_line(line: str) -> Told:
    """Read `"a cat [a dog]" -s 50 -S 12345 -W 512 -H 512 -C 7.5 -A k_lms`."""
    told = Told("InvokeAI")
    try:
        words = shlex.split(line[:_LONGEST_LINE])
    except ValueError:
        words = line[:_LONGEST_LINE].split()
    first = next((number for number, word in enumerate(words) if word.startswith("-")), len(words))
    _put_prompt(told, " ".join(words[:first]))
    options = dict(_options(words[first:]))
    told.add_named(options, _FLAGS)
    told.add_size(options.get("-W"), options.get("-H"))
    _add_sampler(told, options.get("-A", ""))
    return told


def _options(words: list[str]) -> list[tuple[str, str]]:
    """Return the pairs of a command line: `-s 50` and `-s50` are the same."""
    pairs: list[tuple[str, str]] = []
    for number, word in enumerate(words):
        if re.match(r"-[A-Za-z]\S", word):
            pairs.append((word[:2], word[2:]))
        elif re.match(r"-[A-Za-z]$", word) and number + 1 < len(words):
            pairs.append((word, words[number + 1]))
    return pairs


def _put_prompt(told: Told, text: str) -> None:
    """Put a prompt whose parts in square brackets are unwanted."""
    told.negative_prompt = _as_weights(", ".join(part.strip() for part in _UNWANTED.findall(text)))
    told.prompt = _as_weights(" ".join(_UNWANTED.sub(" ", text).split()))


def _add_sampler(told: Told, name: str) -> None:
    if name:
        sampler, schedule = diffusers_sampler(name)
        told.add("Sampler", sampler)
        told.add("Schedule type", schedule)


def _as_weights(prompt: str) -> str:
    """Return `(a)1.2`, `(a)++` and `a-` as A1111 writes them: `(a:1.2)`, `(a:1.21)`, `(a:0.9)`."""

    def rewritten(match: re.Match[str]) -> str:
        text, weight, group, word, signs = match.groups()
        if signs:
            text = group or word
            weight = f"{(1.1 if signs[0] == '+' else 0.9) ** len(signs):.4f}".rstrip("0")
        return f"({text}:{weight})"

    return _WEIGHTED.sub(rewritten, prompt)
