"""Regional prompts: parts of a prompt that hold in parts of the picture."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from extensions.regional_prompts.options import ENABLED, MASKS, RegionalPrompts, Regions, read, read_arguments, write
from extensions.regional_prompts.prompts import Parts, divide, is_divided, regions_of
from webui.extending.api import BadRequest, ExtensionApi, Family, ImagePlan, Infotext, Panel, Plan, Tools, extract

if TYPE_CHECKING:
    from webui.extending.computing import Combine, Run

IN_ATTENTION = Family.SD1, Family.SD2, Family.SDXL, Family.PLAYGROUND


def register(api: ExtensionApi) -> None:
    api.add_options(
        Panel(
            title="Regional Prompter",
            options=RegionalPrompts,
            aliases=("regional_prompts", "regional prompts"),
            description="Parts of the prompt for parts of the picture: columns, rows, or painted regions.",
            read_arguments=read_arguments,
        )
    )
    api.add_infotext(Infotext(read=read, keys=(ENABLED, MASKS), prefixes=("RP ",)))
    api.change_plan(tell)
    api.patch(_attend)
    api.wrap_guidance(_confine)


def tell(plan: Plan, options: RegionalPrompts, tools: Tools) -> Plan:
    """Return `plan` with its prompts as branches and the regions they hold in, if regions are asked for."""
    if not options.enabled:
        return plan
    if plan.model.family is Family.OTHER:
        raise BadRequest(
            "Regions do not reach models that run through a pipeline of diffusers.",
            hint="Switch them off for this model.",
            field="extensions.regional_prompts.enabled",
        )
    if options.method == "Attention" and plan.model.family not in IN_ATTENTION:
        raise BadRequest(
            f"Regions cannot be combined in attention with {plan.model.family.value} models.",
            hint=f"Combine them as latents, or use {', '.join(family.value for family in IN_ATTENTION)}.",
            field="extensions.regional_prompts.method",
        )
    images: list[ImagePlan] = []
    written, regions = options, Regions()
    for image in plan.images:
        parts = divide(image.prompt, use_base=options.use_base, use_common=options.use_common)
        written, found = regions_of(parts, options)
        if images and found != regions:
            raise BadRequest(
                "The prompts of this job have different regions.",
                hint="Keep BREAK, ADDCOL and ADDROW out of dynamic prompts and wildcards.",
                field="extensions.regional_prompts.enabled",
            )
        regions = found
        images.append(image.replace(prompt=parts.prompt(options.method), **_second(image, parts, options)))
    tagged = regions.in_attention and any(extract(image.prompt)[1] for image in images)
    notes = ("LoRAs act on the whole picture where regions are combined in attention.",) if tagged else ()
    return plan.replace(images=tuple(images)).told("regional_prompts", regions, write(written), notes)


def _second(image: ImagePlan, parts: Parts, options: RegionalPrompts) -> dict[str, str]:
    """Return the second pass's prompt, if it has one of its own; one without regions holds everywhere."""
    if image.hires_prompt is None or not is_divided(image.hires_prompt):
        return {}
    second = divide(image.hires_prompt, use_base=options.use_base, use_common=options.use_common)
    if len(second.branches) != len(parts.branches):
        raise BadRequest(
            "The prompt of the second pass has other regions than that of the first.",
            hint="Give it as many parts, or none.",
            field="hires.prompt",
        )
    return {"hires_prompt": second.prompt(options.method)}


def _attend(run: Run) -> AbstractContextManager[None]:
    from extensions.regional_prompts.attending import attend

    return attend(run)


def _confine(default: Combine, run: Run) -> Combine:
    from extensions.regional_prompts.combining import confine

    return confine(default, run)
