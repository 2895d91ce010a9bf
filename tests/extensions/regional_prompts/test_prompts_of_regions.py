"""Regions: ratios, keywords, Regional Prompter's arguments, and what the infotext says."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from extensions.regional_prompts.extension import tell
from extensions.regional_prompts.layout import Box, read_ratios
from extensions.regional_prompts.options import RegionalPrompts, Regions, read, read_arguments
from extensions.regional_prompts.prompts import divide, regions_of
from tests.extensions.parts import make_tools
from webui.domain.models import Family
from webui.domain.plan import Plan
from webui.errors import BadRequest

PlanMaker = Callable[..., Plan]
LEFT, RIGHT = Box(left=0, top=0, right=0.5, bottom=1), Box(left=0.5, top=0, right=1, bottom=1)
UPPER, LOWER = Box(left=0, top=0, right=1, bottom=0.5), Box(left=0, top=0.5, right=1, bottom=1)


def found(prompt: str, **options: object) -> Regions:
    asked = RegionalPrompts(enabled=True, **options)  # type: ignore[arg-type]
    return regions_of(divide(prompt, use_base=asked.use_base, use_common=asked.use_common), asked)[1]


def planned(make_plan: PlanMaker, prompt: str, **options: object) -> Plan:
    return tell(make_plan(prompt=prompt), RegionalPrompts(enabled=True, **options), make_tools())  # type: ignore[arg-type]


def test_ratios_divide_a_picture() -> None:
    assert read_ratios("1,1", "Columns") == (LEFT, RIGHT)
    assert read_ratios("1,1", "Rows") == (UPPER, LOWER)
    first, second, third = read_ratios("1,1,2", "Columns")
    assert (first.right, second.right, third.right) == (0.25, 0.5, 1)
    assert read_ratios("1,1;2,1", "Columns") == (
        Box(left=0, top=0, right=1, bottom=1 / 3),
        Box(left=0, top=1 / 3, right=1, bottom=1),
    )
    assert read_ratios("1,1,3;1", "Columns") == (
        Box(left=0, top=0, right=0.25, bottom=0.5),
        Box(left=0.25, top=0, right=1, bottom=0.5),
        LOWER,
    )
    assert read_ratios("1,1,3;1", "Rows")[2] == RIGHT


@pytest.mark.parametrize("ratios", ["", "a,b", "1,-1", "0", "1;;x", ",".join(["1"] * 21)])
def test_ratios_that_cannot_be_are_refused(ratios: str) -> None:
    with pytest.raises(BadRequest) as refused:
        read_ratios(ratios, "Columns")
    assert refused.value.field == "extensions.regional_prompts.ratios"


def test_parts_of_a_prompt() -> None:
    parts = divide("best ADDCOMM a field, ADDBASE red BREAK blue", use_base=False, use_common=False)
    assert (parts.common, parts.base, parts.regions) == ("best", "a field", ("red", "blue"))
    assert parts.prompt("Latent") == "best, a field AND best, red AND best, blue"
    by_place = divide("best BREAK a field BREAK red AND blue", use_base=True, use_common=True)
    assert by_place.prompt("Latent") == parts.prompt("Latent")
    assert divide("BREAKFAST and ADDCOLOUR", use_base=False, use_common=False).regions == ("BREAKFAST and ADDCOLOUR",)


def test_keywords_name_the_layout_themselves() -> None:
    assert found("a ADDCOL b").boxes == (LEFT, RIGHT)
    assert found("a ADDROW b").boxes == (UPPER, LOWER)
    assert found("a ADDCOL b ADDROW c").boxes == (
        Box(left=0, top=0, right=0.5, bottom=0.5),
        Box(left=0.5, top=0, right=1, bottom=0.5),
        LOWER,
    )
    assert found("a ADDCOL b ADDCOL c", ratios="2,1,1").boxes[0].right == 0.5
    with pytest.raises(BadRequest, match="otherwise"):
        found("a ADDCOL b ADDCOL c", ratios="2,1")


def test_flipped_ratios() -> None:
    assert found("a BREAK b", ratios="1;1", flip=True).boxes == (LEFT, RIGHT)


def test_parts_and_regions_must_agree() -> None:
    with pytest.raises(BadRequest, match="3 parts for 2 regions"):
        found("a BREAK b BREAK c")
    with pytest.raises(BadRequest, match="1 part for 2 regions"):
        found("a")
    with pytest.raises(BadRequest, match="2 parts for 1 region") as refused:
        found("a BREAK b", mode="Masks", masks=("1" * 64,))
    assert refused.value.field == "extensions.regional_prompts.masks"


def test_base_shares() -> None:
    assert found("o ADDBASE a BREAK b", base_ratios="0.3").base_shares == (0.3, 0.3)
    assert found("o BREAK a BREAK b", use_base=True, base_ratios="0.1,0.4").base_shares == (0.1, 0.4)
    with pytest.raises(BadRequest, match="base ratio"):
        found("o ADDBASE a BREAK b", base_ratios="2")


def test_a_plan_gets_branches_and_its_infotext_makes_the_same_plan_again(make_plan: PlanMaker) -> None:
    plan = planned(make_plan, "best ADDCOMM o ADDBASE a ADDCOL b ADDROW c", base_ratios="0.3")
    assert plan.images[0].prompt == "best, o AND best, a AND best, b AND best, c"
    assert plan.facts["RP Ratios"] == "1,1,1;1,1" and plan.facts["RP Active"] == "True"
    again = read(plan.facts)
    assert again is not None
    second = tell(make_plan(prompt=plan.images[0].prompt), RegionalPrompts.model_validate(again), make_tools())
    assert second == plan


def test_masks_come_back_from_the_infotext(make_plan: PlanMaker) -> None:
    plan = planned(make_plan, "a BREAK b", mode="Masks", masks=("1" * 64, "2" * 64))
    again = RegionalPrompts.model_validate(read(plan.facts))
    assert (again.mode, again.masks) == ("Masks", ("1" * 64, "2" * 64))
    assert read({"Steps": "20"}) is None


def test_off_it_leaves_the_plan_as_it_is(make_plan: PlanMaker) -> None:
    plan = make_plan(prompt="a BREAK b")
    assert tell(plan, RegionalPrompts(), make_tools()) is plan


def test_the_second_pass_may_have_regions_of_its_own(make_plan: PlanMaker) -> None:
    plan = make_plan(prompt="a BREAK b")
    image = plan.images[0]
    for hires, expected in (("c BREAK d", "c AND d"), ("everywhere", "everywhere")):
        asked = plan.replace(images=(image.replace(hires_prompt=hires),))
        told = tell(asked, RegionalPrompts(enabled=True), make_tools())
        assert told.images[0].hires_prompt == expected
    with pytest.raises(BadRequest, match="second pass"):
        tell(plan.replace(images=(image.replace(hires_prompt="c BREAK d BREAK e"),)), RegionalPrompts(enabled=True),
             make_tools())  # fmt: skip


def test_images_of_one_job_must_have_the_same_regions(make_plan: PlanMaker) -> None:
    plan = make_plan(count=2, prompt="a ADDCOL b")
    first, second = plan.images
    mixed = plan.replace(images=(first, second.replace(prompt="a ADDROW b")))
    with pytest.raises(BadRequest, match="different regions"):
        tell(mixed, RegionalPrompts(enabled=True), make_tools())


def test_models_that_are_not_reached_are_refused(make_plan: PlanMaker) -> None:
    plan = make_plan(prompt="a BREAK b")
    other = plan.replace(model=plan.model.replace(family=Family.OTHER))
    with pytest.raises(BadRequest, match="pipeline"):
        tell(other, RegionalPrompts(enabled=True), make_tools())


def test_regional_prompters_arguments() -> None:
    given = [
        True, False, "Matrix", "Vertical", "Mask", "Prompt", "1,2", "0.3", True, False, False, "Attention", False, "0",
        "0", "0.4", None, "0", "0", False,
    ]  # fmt: skip
    read_back = RegionalPrompts.model_validate(read_arguments(given, make_tools()))
    assert (read_back.mode, read_back.ratios, read_back.base_ratios, read_back.use_base) == ("Rows", "1,2", "0.3", True)
    assert read_back.method == "Attention"
    assert not RegionalPrompts.model_validate(read_arguments([False], make_tools())).enabled
    with pytest.raises(BadRequest, match="Prompt"):
        read_arguments([True, False, "Prompt"], make_tools())
    with pytest.raises(BadRequest, match="stop"):
        read_arguments([*given[:17], "5"], make_tools())


def test_in_attention_the_parts_are_chunks_of_one_prompt(make_plan: PlanMaker) -> None:
    plan = planned(make_plan, "best <lora:x:1> ADDCOMM o ADDBASE a ADDCOL b", method="Attention")
    assert plan.images[0].prompt == "best <lora:x:1>, o BREAK best, a BREAK best, b"
    assert plan.facts["RP Calc Mode"] == "Attention" and any("LoRAs act" in note for note in plan.notes)
    again = RegionalPrompts.model_validate(read(plan.facts))
    second = tell(make_plan(prompt=plan.images[0].prompt), again, make_tools())
    assert second == plan


def test_in_attention_other_families_are_refused(make_plan: PlanMaker) -> None:
    plan = make_plan(prompt="a BREAK b")
    other = plan.replace(model=plan.model.replace(family=Family.SD3))
    with pytest.raises(BadRequest, match="sd3") as refused:
        tell(other, RegionalPrompts(enabled=True, method="Attention"), make_tools())
    assert refused.value.field == "extensions.regional_prompts.method"
    assert tell(other, RegionalPrompts(enabled=True), make_tools()).extensions
