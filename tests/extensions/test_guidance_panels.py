"""Guidance, regions and details through the API that all extensions use: what programs send, what infotexts say."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.extensions.parts import EXTENSIONS, make_tools
from webui.domain.models import Family
from webui.domain.plan import Plan
from webui.domain.request import GenerationRequest
from webui.errors import BadRequest
from webui.extending.features import Features

PlanMaker = Callable[..., Plan]
# Extension, the title that A1111's users know it by, and arguments that switch it on.
CALLS: tuple[tuple[str, str, list[object]], ...] = (
    ("dynamic_thresholding", "Dynamic Thresholding (CFG Scale Fix)",
     [True, 7, 100, "Constant", 0, "Half Cosine Up", 3, 4, True, "MEAN", "AD", 1]),
    ("free_u", "FreeU Integrated", [True, 1.3, 1.4, 0.9, 0.2]),
    ("perturbed_attention", "Perturbed Attention Guidance Integrated", [True, 3]),
    ("self_attention_guidance", "SelfAttentionGuidance Integrated (SD 1.x, SD 2.x, SDXL)", [True, 0.75, 2, 1]),
    ("regional_prompts", "Regional Prompter",
     [True, False, "Matrix", "Columns", "Mask", "Prompt", "1,1", "0.2", False, False, False, "Latent"]),
    ("detailer", "ADetailer", [True, False, {"ad_model": "Rectangles"}]),
)  # fmt: skip
NAMES = [name for name, _, _ in CALLS]
FEATURES = Features([api for api in EXTENSIONS.apis if api.name in NAMES])


def told(name: str, title: str, arguments: list[object], plan: Plan) -> Plan:
    """Return `plan` as A1111's arguments change it."""
    found = FEATURES.find_panel(title, "txt2img")
    assert found is not None and found[0] == name
    options: dict[str, Any] = dict(FEATURES.read_arguments(found[1], arguments, make_tools()))
    if name == "detailer":
        options["units"] = [{**unit, "rectangles": "0,0,8,8"} for unit in options["units"]]
    return FEATURES.change_plan(plan, GenerationRequest(extensions={name: options}), make_tools())


def test_all_of_them_are_there() -> None:
    assert sorted(api.name for api in FEATURES.apis) == sorted(NAMES)


def test_requests_that_say_nothing_are_left_as_they_are(make_plan: PlanMaker) -> None:
    plan, request = make_plan(prompt="a BREAK b"), GenerationRequest(prompt="a BREAK b")
    assert FEATURES.change_request(request, make_tools()) == request
    assert FEATURES.change_plan(plan, request, make_tools()) == plan


@pytest.mark.parametrize(("name", "title", "arguments"), CALLS, ids=NAMES)
def test_a1111s_arguments_reach_the_plan_and_come_back_from_the_infotext(
    make_plan: PlanMaker, name: str, title: str, arguments: list[object]
) -> None:
    plan = told(name, title, arguments, make_plan(prompt="a BREAK b"))
    assert list(plan.extensions) == [name] and plan.facts
    assert all(FEATURES.understands(key) for key in plan.facts)
    read = FEATURES.read_infotext(plan.facts)
    assert list(read) == [name]
    again = FEATURES.change_plan(
        make_plan(prompt=plan.images[0].prompt), GenerationRequest(extensions=read), make_tools()
    )
    assert again == plan


@pytest.mark.parametrize(("name", "title", "arguments"), CALLS, ids=NAMES)
def test_switched_off_they_leave_the_plan_as_it_is(
    make_plan: PlanMaker, name: str, title: str, arguments: list[object]
) -> None:
    plan = make_plan(prompt="a BREAK b")
    assert told(name, title, [False, *arguments[1:]], plan) == plan


@pytest.mark.parametrize(("name", "title", "arguments"), CALLS, ids=NAMES)
def test_models_they_do_not_reach_are_refused_at_their_switch(
    make_plan: PlanMaker, name: str, title: str, arguments: list[object]
) -> None:
    plan = make_plan(prompt="a BREAK b")
    other = plan.replace(model=plan.model.replace(family=Family.OTHER))
    with pytest.raises(BadRequest) as refused:
        told(name, title, arguments, other)
    assert refused.value.field == f"extensions.{name}.enabled"
