"""From what was asked of units to what the worker is told: models found, checked and hashed, pictures named."""

from __future__ import annotations

from collections.abc import Sequence

from extensions.controlnet.arguments import HASH
from extensions.controlnet.facts import INPAINTING, NAME, ControlFacts, ControlRef, UnitFacts
from extensions.controlnet.families import FIELD, UNETS, refuse_other_family, refuse_uncontrolled, say
from extensions.controlnet.infotext import write_unit
from extensions.controlnet.options import ControlOptions, Unit
from extensions.controlnet.preprocessors.catalog import find_preprocessor, union_type, unit_options
from webui.extending.api import BadRequest, FromExtendedImage, FromMaskedImage, FromNoise, Kind, Plan, Tools

REFERENCES = "Reference"
"""The group of preprocessors that need no network."""


def plan_control(plan: Plan, options: ControlOptions, tools: Tools) -> Plan:
    """Return the plan with what its active units need in the worker; the same plan where there are none.

    Raises `NotFound` for models and preprocessors that there are not, `BadRequest` for units that lack something, and
    `BadFile` for models of another family than the checkpoint's.
    """
    if not options.active:
        return plan
    refuse_uncontrolled(plan.model.family)
    units: list[UnitFacts] = []
    said: dict[str, str] = {}
    for number, unit in options.active:
        facts = _find_facts(number, unit, plan, tools)
        units.append(facts)
        title = None if facts.model is None else _title(facts.model)
        said |= write_unit(number, unit, title, tools.preprocessors())
    return plan.told(NAME, ControlFacts(units=tuple(units)), infotext=said, pictures=_pictures(units))


def _pictures(units: Sequence[UnitFacts]) -> tuple[str, ...]:
    """Return the references to all stored pictures that units need."""
    return tuple(picture for unit in units for picture in (unit.image, unit.mask, unit.region) if picture)


def _find_facts(number: int, unit: Unit, plan: Plan, tools: Tools) -> UnitFacts:
    field = f"{FIELD}.{number}"
    others = tools.preprocessors()
    preprocessor = find_preprocessor(unit.preprocessor, f"{field}.preprocessor", others)
    model = None
    if REFERENCES not in preprocessor.groups:
        model = _find_model(number, unit, plan, tools)
    elif plan.model.family not in UNETS:
        raise BadRequest(
            f"ControlNet unit {number}: {preprocessor.name} does not work with {say(plan.model.family)}.",
            hint="Use it with Stable Diffusion 1 or 2, or SDXL.",
            field=f"{field}.preprocessor",
        )
    if unit.image is None and isinstance(plan.start, FromNoise):
        raise BadRequest(
            f"ControlNet unit {number} has no picture.",
            hint="Choose one, or switch the unit off.",
            field=f"{field}.image",
        )
    has_mask = unit.mask is not None or isinstance(plan.start, FromMaskedImage | FromExtendedImage)
    if preprocessor.name.startswith(INPAINTING) and not has_mask:
        raise BadRequest(
            f"ControlNet unit {number} has no mask that says what to paint.",
            hint="Paint one on the unit's picture, or on that of img2img.",
            field=f"{field}.mask",
        )
    return UnitFacts(
        **unit.model_dump(include={"image", "mask", "region", "weight", "start", "end", "control_mode", "resize_mode"}),
        **unit.model_dump(include={"pixel_perfect", "hires", "low_memory"}),
        number=number,
        model=model,
        preprocessor=preprocessor.name,
        options=unit_options(number, unit, others),
        union_type=union_type(unit, others),
    )


def _find_model(number: int, unit: Unit, plan: Plan, tools: Tools) -> ControlRef:
    if unit.model is None:
        raise BadRequest(
            f"ControlNet unit {number} has no model.",
            hint="Choose one, or switch the unit off.",
            field=f"{FIELD}.{number}.model",
        )
    found = tools.find(Kind.CONTROLNET, HASH.sub("", unit.model))
    if found.kind not in (Kind.CONTROLNET, Kind.T2I_ADAPTER):
        raise BadRequest(
            f"ControlNet unit {number}: {found.name} is an {found.kind.value.replace('_', ' ')}.",
            hint="Choose it in the panel IP-Adapter.",
            field=f"{FIELD}.{number}.model",
        )
    model = ControlRef(
        name=found.name,
        path=found.path,
        kind=found.kind,
        family=found.family,
        variant=found.variant,
        sha256=found.sha256,
    )
    refuse_other_family(model, plan.model.family)
    return model


def _title(model: ControlRef) -> str:
    """Return A1111's name of a control model: with the beginning of its hash, as far as that is known."""
    return f"{model.name} [{model.sha256[:8]}]" if model.sha256 else model.name
