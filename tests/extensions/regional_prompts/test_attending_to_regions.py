"""Regions in attention: what each place sees, and that the pocket model draws things where they belong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from extensions.regional_prompts.attending import attend, shrunk
from extensions.regional_prompts.combining import confine
from extensions.regional_prompts.extension import tell
from extensions.regional_prompts.options import RegionalPrompts
from tests import tiny_xl
from tests.engine_parts import difference, latents_of, pictures_of
from tests.extensions.parts import make_tools
from tools.pocket.scorer import Scorer
from webui.domain.models import Family, ModelInfo
from webui.domain.plan import ModelRef, Plan
from webui.engine.engine import Engine
from webui.engine.models import Models
from webui.engine.run import Modifier
from webui.errors import BadRequest
from webui.weights.memory import EngineOptions

PlanMaker = Callable[..., Plan]
MODIFIER = Modifier("regional_prompts", patches=(attend,), guidance=(confine,))
WHITE, BLACK = Image.new("L", (9, 9), 255), Image.new("L", (9, 9), 0)


@pytest.fixture(scope="module")
def extended(options: EngineOptions) -> Models:
    return Models(options, [MODIFIER])


def divided(plan: Plan, **options: Any) -> Plan:
    return tell(plan, RegionalPrompts(enabled=True, method="Attention", **options), make_tools())


@pytest.mark.parametrize("size", [(64, 64), (72, 104)])
def test_the_same_prompt_everywhere_is_the_prompt(
    extended: Models, models: Models, make_plan: PlanMaker, size: tuple[int, int]
) -> None:
    plan = {"count": 2, "width": size[0], "height": size[1]}
    ours = latents_of(divided(make_plan(prompt="a cat ADDBASE a cat BREAK a cat", **plan)), extended)
    assert difference(ours, latents_of(make_plan(**plan), models)) < 1e-4


def test_sdxl_does_it_as_well(tmp_path: Path, extended: Models, models: Models, make_plan: PlanMaker) -> None:
    plan = make_plan(path=tiny_xl.make_folder(tmp_path / "xl"), steps=2)
    plan = plan.replace(model=plan.model.replace(family=Family.SDXL))
    image = plan.images[0]
    asked = plan.replace(images=(image.replace(prompt="a cat BREAK a cat"),))
    assert difference(latents_of(divided(asked), extended), latents_of(plan, models)) < 1e-4
    other = plan.replace(images=(image.replace(prompt="a cat BREAK a dog"),))
    assert difference(latents_of(divided(other), extended), latents_of(plan, models)) > 1e-3


def test_a_region_that_is_everywhere_is_its_prompt(extended: Models, models: Models, make_plan: PlanMaker) -> None:
    plan = divided(make_plan(prompt="a cat BREAK a dog"), mode="Masks", masks=("a" * 64, "c" * 64))
    for inputs, prompt in (((WHITE, BLACK), "a cat"), ((BLACK, WHITE), "a dog")):
        with extended.fitted(plan, {"a" * 64: inputs[0], "c" * 64: inputs[1]}):
            ours = latents_of(plan, extended)
        assert difference(ours, latents_of(make_plan(prompt=prompt), models)) < 1e-4


def test_negative_prompts_as_long_as_the_prompt_hold_everywhere(
    extended: Models, models: Models, make_plan: PlanMaker
) -> None:
    """Both are two chunks, so they share a call of the network."""
    plan = make_plan(prompt="a cat BREAK a cat", negative="dull BREAK grey")
    ours = latents_of(divided(plan), extended)
    assert difference(ours, latents_of(make_plan(prompt="a cat", negative="dull BREAK grey"), models)) < 1e-4


def test_processors_are_put_back_and_other_plans_are_left_alone(
    extended: Models, models: Models, make_plan: PlanMaker
) -> None:
    plan = make_plan(prompt="a cat BREAK a dog")
    network = extended.get(plan.model).resident.network("unet")
    before = dict(network.attn_processors)
    changed = latents_of(divided(plan), extended)
    assert network.attn_processors == before and not network._forward_pre_hooks
    plain = latents_of(plan, extended)
    assert torch.equal(plain, latents_of(plan, models)) and difference(changed, plain) > 1e-2


def test_parts_that_are_too_long_are_refused(extended: Models, make_plan: PlanMaker) -> None:
    plan = divided(make_plan(prompt="a cat BREAK " + "a dog " * 60))
    with pytest.raises(BadRequest, match="75 tokens"):
        latents_of(plan, extended)


def test_levels_of_a_unet() -> None:
    assert shrunk(9, 13, 117) == (9, 13)
    assert shrunk(9, 13, 35) == (5, 7) and shrunk(9, 13, 12) == (3, 4)
    with pytest.raises(ValueError, match="no level"):
        shrunk(8, 8, 50)


def test_things_are_drawn_where_they_belong(pocket: ModelInfo, scorer: Scorer, make_plan: PlanMaker) -> None:
    assert pocket.family is not None and pocket.sha256 is not None
    model = ModelRef(name=pocket.name, path=pocket.path, family=pocket.family, layout=pocket.layout,
                     sha256=pocket.sha256)  # fmt: skip
    prompt = "a red circle, white background BREAK a blue square, white background"
    plan = make_plan(prompt=prompt, negative="", count=2, seed=100, width=256, height=128, steps=8,
                     sampler="DPM++ 2M").replace(model=model)  # fmt: skip
    engine = Engine(EngineOptions(use_cpu=frozenset({"all"})), [MODIFIER])
    pictures = [Image.fromarray(picture.astype("uint8")) for picture in pictures_of(engine, divided(plan))]
    left = [scorer.describe(picture.crop((0, 0, 128, 128))) for picture in pictures]
    right = [scorer.describe(picture.crop((128, 0, 256, 128))) for picture in pictures]
    assert all(each.colour == "red" for each in left) and not any(each.colour == "red" for each in right)
    assert all((each.colour, each.object) == ("blue", "square") for each in right)
