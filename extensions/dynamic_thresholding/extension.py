"""Dynamic thresholding: high guidance without burnt colours."""

from __future__ import annotations

from typing import TYPE_CHECKING

from extensions.dynamic_thresholding.options import KEYS, DynamicThresholding, read, write
from webui.extending.api import BadRequest, ExtensionApi, Family, Infotext, Panel, Plan, Tools

if TYPE_CHECKING:
    from webui.extending.computing import Combine, Run


def register(api: ExtensionApi) -> None:
    api.add_options(
        Panel(
            title="Dynamic Thresholding (CFG Scale Fix)",
            options=DynamicThresholding,
            aliases=("dynamic_thresholding", "dynamic thresholding"),
            description="Allows a high CFG scale: its result is brought to the spread that a lower one would have.",
        )
    )
    api.add_infotext(Infotext(read=read, keys=KEYS))
    api.change_plan(tell)
    api.wrap_guidance(_mimic)


def tell(plan: Plan, options: DynamicThresholding, tools: Tools) -> Plan:
    """Return `plan` with what the worker needs, if anything is asked for."""
    if not options.acts:
        return plan
    if plan.model.family is Family.OTHER:
        raise BadRequest(
            "Dynamic thresholding does not reach models that run through a pipeline of diffusers.",
            hint="Switch it off for this model.",
            field="extensions.dynamic_thresholding.enabled",
        )
    notes = ("Dynamic thresholding has no effect at CFG scale 1.",) if plan.guidance == 1 else ()
    return plan.told("dynamic_thresholding", options, write(options), notes)


def _mimic(default: Combine, run: Run) -> Combine:
    from extensions.dynamic_thresholding.thresholding import mimic_weaker_guidance

    return mimic_weaker_guidance(default, run)
