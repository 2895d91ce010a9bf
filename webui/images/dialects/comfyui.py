"""ComfyUI: the graph of nodes as JSON, followed backwards from the sampler to whatever it is fed with.

PNG has it in the chunk `prompt`, WebP and JPEG in EXIF's Make or Model behind `prompt:`. A picture that went through
two samplers has a second pass.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from webui.images.dialects.comfy_graph import Graph, Node
from webui.images.dialects.names import comfy_sampler, comfy_schedule
from webui.images.dialects.told import Texts, Told, as_mapping, as_number, as_text, model_name
from webui.images.json_text import parse_json

_LATENT_METHODS = {
    "nearest-exact": "Latent (nearest-exact)",
    "bilinear": "Latent",
    "bicubic": "Latent (bicubic)",
    "area": "Latent",
    "bislerp": "Latent",
}
_EXIF_MARKS = ("prompt:", "Prompt:")
_DRAWN_ONLY = "the workflow is there as it is drawn, not as it ran: open it in ComfyUI"


def tell(texts: Texts) -> Told | None:
    for text in (texts.get("prompt", ""), *_from_exif(texts), texts.get("parameters", "")):
        if text.lstrip().startswith("{") and (told := follow(as_mapping(parse_json(text)))):
            return told
    drawn = as_mapping(parse_json(texts.get("workflow", "")))
    if "nodes" in drawn and "links" in drawn and "parameters" not in texts:
        return Told("ComfyUI", missing=[f"workflow ({_DRAWN_ONLY})"])
    return None


def _from_exif(texts: Texts) -> list[str]:
    values = [texts.get(name, "") for name in ("Make", "Model", "ImageDescription")]
    return [value[len(mark) :] for value in values for mark in _EXIF_MARKS if value.startswith(mark)]


def follow(content: Mapping[str, Any]) -> Told | None:
    """Return what a graph tells; None if it is none, or has no sampler."""
    graph = Graph(content)
    sampler = graph.last_sampler()
    if sampler is None:
        return None
    told = Told("ComfyUI")
    first = graph.first_of(sampler)
    _tell_first(told, graph, first)
    if first is not sampler:
        _tell_second(told, graph, first, sampler)
    for name in graph.extras(sampler):
        told.missing.append(f"{name} (a node of ComfyUI that is not taken over)")
    return told


def _tell_first(told: Told, graph: Graph, sampler: Node) -> None:
    told.prompt = _as_a1111(graph.text_of(sampler, "positive"))
    told.negative_prompt = _as_a1111(graph.text_of(sampler, "negative"))
    told.add("Steps", graph.value(sampler, "steps"))
    told.add("Sampler", comfy_sampler(as_text(graph.value(sampler, "sampler_name"))))
    told.add("Schedule type", comfy_schedule(as_text(graph.value(sampler, "scheduler"))))
    told.add("CFG scale", graph.value(sampler, "cfg"))
    told.add("Seed", graph.value(sampler, "seed", "noise_seed"))
    size = graph.size_of(sampler)
    told.add_size(*size)
    if not any(size):
        told.add("Denoising strength", graph.value(sampler, "denoise"))
    _tell_models(told, graph, sampler)
    if "(" in told.prompt + told.negative_prompt:
        told.add("Emphasis", "No norm")  # weights are not brought back to the mean there
    told.add("RNG", "CPU")


def _tell_models(told: Told, graph: Graph, sampler: Node) -> None:
    models = graph.models_of(sampler)
    told.add("Model", model_name(models.checkpoint))
    if models.vae:
        told.add("VAE", models.vae)
    layer = as_number(models.clip_layer)
    if layer is not None:
        told.add("Clip skip", -layer)
    if models.rescale:
        told.add("CFG rescale", models.rescale)
    for name, weight in models.loras:
        told.add_lora(name, weight)


def _tell_second(told: Told, graph: Graph, first: Node, second: Node) -> None:
    """Put the last sampler as a second pass; its seed is its own there, which cannot be asked for here."""
    told.add("Denoising strength", graph.value(second, "denoise"))
    told.add("Hires steps", graph.value(second, "steps"))
    for name, key, ours in (
        ("sampler_name", "Hires sampler", comfy_sampler),
        ("scheduler", "Hires schedule type", comfy_schedule),
    ):
        value = as_text(graph.value(second, name))
        if value != as_text(graph.value(first, name)):
            told.add(key, ours(value))
    if as_text(guidance := graph.value(second, "cfg")) != as_text(graph.value(first, "cfg")):
        told.add("Hires CFG Scale", guidance)
    enlarging = graph.enlarging_before(second)
    told.add("Hires upscaler", model_name(enlarging.network) or _LATENT_METHODS.get(enlarging.method, "Latent"))
    if enlarging.factor:
        told.add("Hires upscale", enlarging.factor)
    elif as_number(enlarging.width) and as_number(enlarging.height):
        told.add("Hires resize", f"{as_text(enlarging.width)}x{as_text(enlarging.height)}")
    else:
        told.add("Hires upscale", 1)
    seed = graph.value(second, "seed", "noise_seed")
    if as_text(seed) != told.parameters.get("Seed"):
        told.miss("Seed of the second sampler", seed, "the second pass goes on with the first one's")


def _as_a1111(prompt: str) -> str:
    """Square brackets are letters there, and embeddings have a mark."""
    return prompt.replace("[", "\\[").replace("]", "\\]").replace("embedding:", "")
