"""What a plan says about an image, as text."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from webui.domain.plan import AnyPlan, PreprocessPlan, SeriesPlan, UpscalePlan
from webui.images.infotext.grammar import NEGATIVE, quoted, split, with_plain_lines
from webui.images.infotext.names import POSTPROCESS
from webui.images.infotext.parameters import number, parameters_of

NO_FACTS: Mapping[str, str] = MappingProxyType({})


def write(plan: AnyPlan, index: int) -> str:
    """Return the infotext of image `index` of `plan`. An enlarged picture keeps its own."""
    if isinstance(plan, PreprocessPlan):
        return ""
    if isinstance(plan, UpscalePlan):
        return _with_postprocessing(plan, plan.image(index).infotext)
    part = plan.part(index)
    image = part.image(index)
    return compose(image.prompt, image.negative_prompt, parameters_of(part, image))


def write_sheet(plan: AnyPlan, index: int, facts: Mapping[str, str] = NO_FACTS) -> str:
    """Return the infotext of a sheet whose first image is image `index`: that one's, with the script that made it and
    what the sheet says of itself."""
    if not isinstance(plan, SeriesPlan):
        return write(plan, index)
    part = plan.part(index)
    image = part.image(index)
    return compose(image.prompt, image.negative_prompt, {**parameters_of(part, image), "Script": plan.script, **facts})


def compose(prompt: str, negative_prompt: str, parameters: Mapping[str, str]) -> str:
    """Return prompts and parameters as one text."""
    lines = [with_plain_lines(prompt)] if prompt else []
    if negative_prompt:
        lines.append(f"{NEGATIVE} {with_plain_lines(negative_prompt)}")
    return "\n".join([*lines, *([_line(parameters)] if parameters else [])])


def _line(parameters: Mapping[str, str]) -> str:
    return ", ".join(f"{key}: {quoted(value)}" for key, value in parameters.items())


def _with_postprocessing(plan: UpscalePlan, infotext: str) -> str:
    """Return `infotext` with what was done to its picture, in the words of A1111's Extras page."""
    size = f"{plan.width}x{plan.height}" if plan.width and plan.height else ""
    facts = {f"{POSTPROCESS}upscale to": size} if size else {f"{POSTPROCESS}upscale by": number(plan.scale)}
    facts[f"{POSTPROCESS}upscaler"] = plan.upscaler.name
    if plan.second_upscaler is not None:
        facts[f"{POSTPROCESS}upscaler 2"] = plan.second_upscaler.name
        facts[f"{POSTPROCESS}upscaler 2 visibility"] = number(plan.second_share)
    if not infotext:
        return _line(facts)
    has_parameters = bool(split(infotext)[2])
    return (", " if has_parameters else "\n").join([infotext.rstrip(), _line(facts)])
