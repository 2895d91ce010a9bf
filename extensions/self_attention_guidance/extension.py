"""Self-attention guidance (SAG)."""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import cache
from typing import TYPE_CHECKING

from extensions.self_attention_guidance.options import KEYS, SelfAttentionGuidance, read, write
from webui.extending.api import BadRequest, ExtensionApi, Family, Infotext, Panel, Plan, Tools

if TYPE_CHECKING:
    from extensions.self_attention_guidance.blurring import Guide
    from webui.extending.computing import Combine, Run

FAMILIES = Family.SD1, Family.SD2, Family.SDXL, Family.SDXL_REFINER, Family.PLAYGROUND, Family.KOLORS


def register(api: ExtensionApi) -> None:
    api.add_options(
        Panel(
            title="Self Attention Guidance",
            options=SelfAttentionGuidance,
            aliases=(
                "selfattentionguidance integrated (sd 1.x, sd 2.x, sdxl)",
                "selfattentionguidance integrated",
                "self_attention_guidance",
                "sag",
            ),
            description="Finer detail: moves away from what the model makes of a picture blurred where it looks.",
        )
    )
    api.add_infotext(Infotext(read=read, keys=KEYS))
    api.change_plan(tell)

    @cache
    def guide() -> Guide:
        """Return what is seen in the run under way; one runs after the other."""
        from extensions.self_attention_guidance.blurring import Guide

        return Guide()

    def listen(run: Run) -> AbstractContextManager[None]:
        return guide().listen(run)

    def blur(default: Combine, run: Run) -> Combine:
        return guide().guide(default, run)

    api.patch(listen)
    api.wrap_guidance(blur)


def tell(plan: Plan, options: SelfAttentionGuidance, tools: Tools) -> Plan:
    """Return `plan` with what the worker needs, if anything is asked for."""
    if not options.acts:
        return plan
    if plan.model.family not in FAMILIES:
        raise BadRequest(
            f"Self-attention guidance does not work with {plan.model.family.value} models.",
            hint=f"It works with {', '.join(family.value for family in FAMILIES)}. Switch it off for this model.",
            field="extensions.self_attention_guidance.enabled",
        )
    return plan.told("self_attention_guidance", options, write(options))
