"""FreeU: better pictures of a UNet without training, at no cost."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from extensions.free_u.options import KEYS, FreeU, read, write
from webui.extending.api import BadRequest, ExtensionApi, Family, Infotext, Panel, Plan, Tools

if TYPE_CHECKING:
    from webui.extending.computing import Run

FAMILIES = Family.SD1, Family.SD2, Family.SDXL, Family.SDXL_REFINER, Family.PLAYGROUND, Family.KOLORS


def register(api: ExtensionApi) -> None:
    api.add_options(
        Panel(
            title="FreeU",
            options=FreeU,
            aliases=("freeu integrated", "freeu integrated (sd 1.x, sd 2.x, sdxl)", "free_u"),
            description="Weighs what a UNet's middle found against what it is reminded of; costs next to nothing.",
        )
    )
    api.add_infotext(Infotext(read=read, keys=KEYS))
    api.change_plan(tell)
    api.patch(_strengthen)


def tell(plan: Plan, options: FreeU, tools: Tools) -> Plan:
    """Return `plan` with what the worker needs, if anything is asked for."""
    if not options.acts:
        return plan
    if plan.model.family not in FAMILIES:
        raise BadRequest(
            f"FreeU does not work with {plan.model.family.value} models.",
            hint=f"It works with {', '.join(family.value for family in FAMILIES)}. Switch it off for this model.",
            field="extensions.free_u.enabled",
        )
    return plan.told("free_u", options, write(options))


def _strengthen(run: Run) -> AbstractContextManager[None]:
    from extensions.free_u.strengthening import strengthen

    return strengthen(run)
