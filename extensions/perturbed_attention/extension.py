"""Perturbed-attention guidance (PAG)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from extensions.perturbed_attention.options import KEYS, PerturbedAttention, read, write
from webui.extending.api import BadRequest, ExtensionApi, Family, Infotext, Panel, Plan, Tools

if TYPE_CHECKING:
    from webui.extending.computing import Combine, Run

FAMILIES = (
    Family.SD1, Family.SD2, Family.SDXL, Family.SDXL_REFINER, Family.PLAYGROUND, Family.KOLORS, Family.SD3,
    Family.PIXART_ALPHA, Family.PIXART_SIGMA, Family.HUNYUAN_DIT, Family.SANA,
)  # fmt: skip


def register(api: ExtensionApi) -> None:
    api.add_options(
        Panel(
            title="Perturbed Attention Guidance",
            options=PerturbedAttention,
            aliases=("perturbed attention guidance integrated", "perturbed_attention", "pag"),
            description="Clearer structure: moves away from what the model makes without looking at the whole.",
        )
    )
    api.add_infotext(Infotext(read=read, keys=KEYS))
    api.change_plan(tell)
    api.wrap_guidance(_perturb)


def tell(plan: Plan, options: PerturbedAttention, tools: Tools) -> Plan:
    """Return `plan` with what the worker needs, if anything is asked for."""
    if not options.acts:
        return plan
    if plan.model.family not in FAMILIES:
        raise BadRequest(
            f"Perturbed attention guidance does not know the attention of {plan.model.family.value} models.",
            hint=f"It works with {', '.join(family.value for family in FAMILIES)}. Switch it off for this model.",
            field="extensions.perturbed_attention.enabled",
        )
    return plan.told("perturbed_attention", options, write(options))


def _perturb(default: Combine, run: Run) -> Combine:
    from extensions.perturbed_attention.perturbing import perturb_attention

    return perturb_attention(default, run)
