"""From the options of a request to what the worker is told; what cannot be is said before anything is queued."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import Field

from extensions.controlnet.facts import NAME, ControlFacts
from extensions.controlnet.options import ControlOptions
from extensions.controlnet.planning import plan_control
from tests.engine_parts import MASKED, PlanMaker
from tests.extensions.parts import make_tools
from webui.domain.models import Family, Kind, ModelInfo
from webui.domain.start import FromImage
from webui.errors import BadFile, BadRequest, NotFound
from webui.extending.api import Data, Preprocessor
from webui.extending.scripts import Tools

PICTURE, START = "3" * 64, "a" * 64
MODELS = {
    "canny": ModelInfo(
        name="canny", path=Path("/canny.pth"), kind=Kind.CONTROLNET, family=Family.SD1, sha256="ab" * 32
    ),
    "xl": ModelInfo(name="xl", path=Path("/xl.pth"), kind=Kind.CONTROLNET, family=Family.SDXL, variant="union"),
    "adapter": ModelInfo(name="adapter", path=Path("/adapter.pth"), kind=Kind.T2I_ADAPTER),
    "ip": ModelInfo(name="ip", path=Path("/ip.pth"), kind=Kind.IP_ADAPTER, family=Family.SD1),
}


def find(kind: Kind, name: str) -> ModelInfo:
    if name not in MODELS:
        raise NotFound(f"{kind.value} not found: {name!r}.")
    return MODELS[name]


@pytest.fixture
def tools() -> Tools:
    return dataclasses.replace(make_tools(), find=find)


def options(**unit: Any) -> ControlOptions:
    return ControlOptions.model_validate({"units": [{"enabled": True, "image": PICTURE, "model": "canny", **unit}]})


def test_nothing_that_acts_leaves_the_plan_as_it_is(make_plan: PlanMaker, tools: Tools) -> None:
    plan = make_plan()
    for idle in ({"enabled": False, "model": "none such"}, {"weight": 0, "image": None}):
        assert plan_control(plan, options(**idle), tools) is plan
    assert plan_control(plan, ControlOptions(), tools) is plan


def test_a_unit_becomes_facts_and_infotext(make_plan: PlanMaker, tools: Tools) -> None:
    asked = options(model="canny [abababab]", preprocessor="Canny", weight=0.8, mask="4" * 64, region="5" * 64)
    plan = plan_control(make_plan(), asked, tools)
    (unit,) = ControlFacts.model_validate(plan.extensions[NAME]).units
    assert unit.model is not None and unit.model.path == Path("/canny.pth") and unit.model.sha256 == "ab" * 32
    assert (unit.preprocessor, unit.options["threshold_a"], unit.union_type) == ("canny", 100, "hard_edge")
    assert plan.pictures == (PICTURE, "4" * 64, "5" * 64)
    assert "Model: canny [abababab], Weight: 0.8" in plan.facts["ControlNet 0"]


class Shades(Data):
    threshold: Annotated[int, Field(ge=0, le=255)] = 128


SHADES = Preprocessor("shades", "Shades", Shades, lambda picture, options: picture.convert("L"), groups=("Canny",))


def test_a_preprocessor_of_another_extension_will_do(make_plan: PlanMaker, tools: Tools) -> None:
    knowing = dataclasses.replace(tools, preprocessors=lambda: (SHADES,))
    asked = options(preprocessor="Shades", preprocessor_options={"threshold": 7})
    plan = plan_control(make_plan(), asked, knowing)
    (unit,) = ControlFacts.model_validate(plan.extensions[NAME]).units
    assert (unit.preprocessor, unit.options, unit.union_type) == ("shades", {"threshold": 7}, "hard_edge")
    assert "Module: shades" in plan.facts["ControlNet 0"]
    with pytest.raises(NotFound, match="Shades"):
        plan_control(make_plan(), asked, tools)


def test_without_a_picture_of_its_own_a_unit_has_that_of_img2img(make_plan: PlanMaker, tools: Tools) -> None:
    plan = plan_control(make_plan(start=FromImage(images=(START,), strength=0.5)), options(image=None), tools)
    assert plan.extensions[NAME]["units"][0]["image"] is None
    masked = plan_control(make_plan(start=MASKED), options(image=None, preprocessor="inpaint_only"), tools)
    assert masked.extensions[NAME]["units"][0]["mask"] is None


def test_the_checkpoint_itself_needs_no_model(make_plan: PlanMaker, tools: Tools) -> None:
    plan = plan_control(make_plan(), options(model=None, preprocessor="reference_only"), tools)
    assert plan.extensions[NAME]["units"][0]["model"] is None
    flux = make_plan()
    flux = flux.replace(model=flux.model.replace(family=Family.FLUX))
    with pytest.raises(BadRequest, match=r"reference_only does not work with Flux\.1"):
        plan_control(flux, options(model=None, preprocessor="reference_only"), tools)


@pytest.mark.parametrize(
    "unit, error, message, field",
    [
        ({"image": None}, BadRequest, "ControlNet unit 0 has no picture", "units.0.image"),
        ({"preprocessor": "inpaint_only"}, BadRequest, "no mask that says what to paint", "units.0.mask"),
        ({"model": None}, BadRequest, "ControlNet unit 0 has no model", "units.0.model"),
        ({"model": "none such"}, NotFound, "'none such'", None),
        ({"model": "ip"}, BadRequest, "ip is an ip adapter", "units.0.model"),
        ({"model": "xl"}, BadFile, "xl: it was made for SDXL, but the checkpoint is", "units"),
        ({"preprocessor": "cany"}, NotFound, "no preprocessor 'cany'", "units.0.preprocessor"),
        ({"preprocessor_options": {"threshold_c": 1}}, BadRequest, "threshold_c", "units.0.preprocessor_options"),
    ],
)
def test_what_cannot_be_is_refused_where_it_was_asked(
    make_plan: PlanMaker, tools: Tools, unit: dict[str, Any], error: Any, message: str, field: str | None
) -> None:
    with pytest.raises(error, match=message) as refused:
        plan_control(make_plan(), options(**unit), tools)
    assert field is None or refused.value.field == f"extensions.controlnet.{field}"


def test_families_without_controls_are_refused(make_plan: PlanMaker, tools: Tools) -> None:
    plan = make_plan()
    other = plan.replace(model=plan.model.replace(family=Family.PIXART_SIGMA))
    with pytest.raises(BadRequest, match="does not work with checkpoints of the family pixart sigma"):
        plan_control(other, options(), tools)
