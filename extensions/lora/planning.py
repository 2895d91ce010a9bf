"""The server's side: which files the tags of a plan's prompts stand for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

from extensions.lora.blocks import read_blocks
from extensions.lora.infotext import describe
from extensions.lora.metadata import alias_of
from extensions.lora.options import LoraFacts, LoraOptions, NetworkFile
from extensions.lora.tags import KINDS, Ask, read_tags
from webui.extending.api import (
    BadRequest,
    Family,
    GenerationRequest,
    ImagePlan,
    Kind,
    ModelInfo,
    NotFound,
    Plan,
    Tools,
    extract,
)

WORDS: Mapping[Family, str] = MappingProxyType(
    {
        Family.SD1: "SD1", Family.SD2: "SD2", Family.SDXL: "SDXL", Family.SDXL_REFINER: "SDXL refiner",
        Family.SD3: "SD3", Family.FLUX: "Flux.1", Family.FLUX2: "Flux.2", Family.CHROMA: "Chroma",
        Family.QWEN_IMAGE: "Qwen-Image", Family.Z_IMAGE: "Z-Image", Family.PLAYGROUND: "Playground v2.5",
        Family.KOLORS: "Kolors", Family.LUMINA2: "Lumina 2", Family.SANA: "Sana", Family.AURAFLOW: "AuraFlow",
        Family.HUNYUAN_DIT: "HunyuanDiT", Family.PIXART_ALPHA: "PixArt-α", Family.PIXART_SIGMA: "PixArt-Σ",
    }
)  # fmt: skip
_ALIKE = frozenset(
    {
        (Family.SDXL, Family.PLAYGROUND), (Family.SDXL, Family.KOLORS), (Family.FLUX, Family.CHROMA),
        (Family.PIXART_ALPHA, Family.PIXART_SIGMA),
    }
)  # fmt: skip
"""Families with the same layers: networks made for one act on the other."""


def suits(made_for: str | None, family: Family) -> bool:
    """Tell whether a network made for a family (None: unknown) can act on a checkpoint of `family`."""
    if made_for is None or made_for == family.value:
        return True
    return any({made_for, family.value} == {one.value, other.value} for one, other in _ALIKE)


def add_default(request: GenerationRequest, options: LoraOptions, tools: Tools) -> GenerationRequest:
    """Return the request with the network in its prompt that the settings say belongs into all (A1111's `sd_lora`)."""
    name = str(tools.setting("sd_lora")).strip()
    if name in ("", "None") or any(ask.name == name for ask in read_tags(request.prompt)):
        return request
    strength = float(tools.setting("extra_networks_default_multiplier"))
    return request.replace(prompt=f"{request.prompt}<lora:{name}:{strength:g}>")


def change_plan(plan: Plan, options: LoraOptions, tools: Tools) -> Plan:
    """Return the plan with the files that its prompts' tags stand for.

    Raises `NotFound` for names that there are not, `BadRequest` for networks of another family and tags that cannot be
    read. Images of one batch that ask for different networks are made one by one.
    """
    asks = set(_ordered(plan))
    notes = _note_negative(plan.images)
    if not asks:
        return plan.replace(notes=(*plan.notes, *notes)) if notes else plan
    if plan.model.family is Family.OTHER:
        raise BadRequest(
            f"LoRAs do not act on {plan.model.name}: diffusers' own pipeline runs it.",
            hint="Take the tags out of the prompt, or choose another checkpoint.",
            field="prompt",
        )
    files = {name: _find(name, plan, tools) for name in dict.fromkeys(ask.name for ask in _ordered(plan))}
    for ask in asks:
        read_blocks(ask.blocks, plan.model.family)
    if any(_differ(batch) for batch in plan.batches):
        plan = plan.replace(batch_size=1)
        notes = (*notes, "The images of a batch name different LoRAs, so each is made by itself.")
    facts = LoraFacts(networks=files, combination=options.combination, switch_every=options.switch_every)
    several = max(len(read_tags(prompt)) for image in plan.images for prompt in _prompts(image)) > 1
    return plan.told("lora", facts, describe(facts, several=several), notes)


def _prompts(image: ImagePlan) -> tuple[str, ...]:
    return (image.prompt,) if image.hires_prompt is None else (image.prompt, image.hires_prompt)


def _differ(images: Sequence[ImagePlan]) -> bool:
    return len({tuple(read_tags(prompt) for prompt in _prompts(image)) for image in images}) > 1


def _ordered(plan: Plan) -> Iterable[Ask]:
    prompts = (prompt for image in plan.images for prompt in _prompts(image))
    return (ask for prompt in (*prompts, *plan.further_prompts) for ask in read_tags(prompt))


def _note_negative(images: Sequence[ImagePlan]) -> tuple[str, ...]:
    texts = {text for image in images for text in (image.negative_prompt, image.hires_negative_prompt) if text}
    if any(tag.kind.lower() in KINDS for text in texts for tag in extract(text)[1]):
        return ("Tags <lora:…> in the negative prompt have no effect.",)
    return ()


def _find(name: str, plan: Plan, tools: Tools) -> NetworkFile:
    found = _look_up(name, tools)
    family = None if found.family is None else found.family.value
    if not suits(family, plan.model.family):
        assert found.family is not None
        made, is_for = (
            WORDS.get(found.family, found.family.value),
            WORDS.get(plan.model.family, plan.model.family.value),
        )
        raise BadRequest(
            f"<lora:{name}> was made for {made}, the checkpoint {plan.model.name} is {is_for}.",
            hint=f"Choose a checkpoint of {made}, or a LoRA for {is_for}.",
            field="prompt",
        )
    return NetworkFile(name=found.name, path=found.path, sha256=found.sha256 or "", family=family)


def _look_up(name: str, tools: Tools) -> ModelInfo:
    """Return the file called `name`, or that was trained under this name."""
    try:
        return tools.find(Kind.LORA, name)
    except NotFound as error:
        aliases = [model for model in tools.models(Kind.LORA) if alias_of(model.path).lower() == name.lower()]
        if len(aliases) == 1:
            return tools.find(Kind.LORA, aliases[0].name)
        raise NotFound(error.message, hint=error.hint, field="prompt") from error
