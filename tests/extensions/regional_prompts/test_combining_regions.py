"""Regions in the engine: what each branch counts where, and that the pocket model draws things where they belong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from PIL import Image, ImageDraw

from extensions.perturbed_attention.options import PerturbedAttention
from extensions.perturbed_attention.perturbing import perturb_attention
from extensions.regional_prompts.combining import confine, draw_box, shares_of, shrink
from extensions.regional_prompts.extension import tell
from extensions.regional_prompts.layout import Box
from extensions.regional_prompts.options import RegionalPrompts, Regions
from tests.engine_parts import difference, latents_of, pictures_of
from tests.extensions.parts import make_tools
from tools.pocket.scorer import Scorer
from webui.domain.models import ModelInfo
from webui.domain.plan import ModelRef, Plan
from webui.engine.engine import Engine
from webui.engine.models import Models
from webui.engine.run import Modifier
from webui.weights.memory import EngineOptions

PlanMaker = Callable[..., Plan]
MODIFIER = Modifier("regional_prompts", guidance=(confine,))
LEFT, RIGHT = Box(left=0, top=0, right=0.5, bottom=1), Box(left=0.5, top=0, right=1, bottom=1)


@pytest.fixture(scope="module")
def extended(options: EngineOptions) -> Models:
    return Models(options, [Modifier("perturbed_attention", guidance=(perturb_attention,)), MODIFIER])


def divided(plan: Plan, **options: Any) -> Plan:
    return tell(plan, RegionalPrompts(enabled=True, **options), make_tools())


class Inputs:
    """As much of a run as masks need."""

    def __init__(self, **inputs: Image.Image) -> None:
        self.inputs = {name * 64: picture for name, picture in inputs.items()}


def half(side: str) -> Image.Image:
    picture = Image.new("L", (64, 64), 0)
    ImageDraw.Draw(picture).rectangle((0, 0, 31, 63) if side == "left" else (32, 0, 63, 63), 255)
    return picture


def test_boxes_share_out_every_place() -> None:
    shares = shares_of(Regions(boxes=(LEFT, RIGHT)), 5, 3, Inputs())  # type: ignore[arg-type]
    assert shares.shape == (2, 1, 3, 5)
    assert torch.equal(shares.sum(0), torch.ones(1, 3, 5))
    assert shares[0, 0, 0].tolist() == [1, 1, 0, 0, 0]  # the middle one's middle is the border itself
    assert draw_box(LEFT, 4, 2).tolist() == [[1, 1, 0, 0]] * 2


def test_a_base_has_its_share_of_each_region() -> None:
    regions = Regions(boxes=(LEFT, RIGHT), has_base=True, base_shares=(0.25, 0.5))
    shares = shares_of(regions, 4, 2, Inputs())  # type: ignore[arg-type]
    assert shares[:, 0, 0].T.tolist() == [[0.25, 0.75, 0]] * 2 + [[0.5, 0, 0.5]] * 2


def test_painted_regions_may_overlap_and_leave_gaps() -> None:
    inputs: Any = Inputs(a=half("left"), b=Image.new("L", (64, 64), 255), c=Image.new("L", (64, 64), 0))
    assert shrink(inputs.inputs["a" * 64], 4, 4)[0].tolist() == [1, 1, 0, 0]
    overlapping = shares_of(Regions(masks=("a" * 64, "b" * 64)), 4, 4, inputs)
    assert overlapping[:, 0, 0].T.tolist() == [[0.5, 0.5]] * 2 + [[0, 1]] * 2
    gap = shares_of(Regions(masks=("a" * 64, "c" * 64)), 4, 4, inputs)
    assert gap[:, 0, 0].T.tolist() == [[1, 0]] * 2 + [[0.5, 0.5]] * 2
    based = shares_of(Regions(masks=("a" * 64,), has_base=True, base_shares=(0.2,)), 4, 4, inputs)
    assert torch.allclose(based[:, 0, 0].T, torch.tensor([[0.2, 0.8]] * 2 + [[1.0, 0.0]] * 2))


def test_the_same_prompt_everywhere_is_the_prompt(extended: Models, models: Models, make_plan: PlanMaker) -> None:
    plan = make_plan(prompt="a cat ADDBASE a cat BREAK a cat", count=2)
    ours = latents_of(divided(plan), extended)
    assert difference(ours, latents_of(make_plan(count=2), models)) < 1e-4


def test_a_region_that_is_everywhere_is_its_prompt(extended: Models, models: Models, make_plan: PlanMaker) -> None:
    plan = divided(make_plan(prompt="a cat BREAK a dog"), mode="Masks", masks=("a" * 64, "c" * 64))
    with extended.fitted(plan, {"a" * 64: Image.new("L", (9, 9), 255), "c" * 64: Image.new("L", (9, 9), 0)}):
        ours = latents_of(plan, extended)
    assert difference(ours, latents_of(make_plan(prompt="a cat"), models)) < 1e-4
    assert difference(ours, latents_of(make_plan(prompt="a dog"), models)) > 1e-2


def test_each_half_begins_as_its_own_prompt_does(extended: Models, models: Models, make_plan: PlanMaker) -> None:
    """After one step no place knows of the others yet."""
    plan = make_plan(prompt="a cat BREAK a dog", steps=1)
    ours = latents_of(divided(plan), extended)
    cat, dog = (latents_of(make_plan(prompt=prompt, steps=1), models) for prompt in ("a cat", "a dog"))
    assert difference(ours[..., :4], cat[..., :4]) < 1e-4 and difference(ours[..., 4:], dog[..., 4:]) < 1e-4
    assert difference(cat, dog) > 1e-2


def test_perturbed_attention_acts_in_each_region_once(
    extended: Models, make_plan: PlanMaker, options: EngineOptions
) -> None:
    asked = PerturbedAttention(enabled=True, scale=2.0)
    alone = latents_of(make_plan().told("perturbed_attention", asked), extended)
    plan = make_plan(prompt="a cat BREAK a cat").told("perturbed_attention", asked)
    assert difference(latents_of(divided(plan), extended), alone) < 1e-4


def test_things_are_drawn_where_they_belong(options: EngineOptions, pocket: ModelInfo, scorer: Scorer,
                                            make_plan: PlanMaker) -> None:  # fmt: skip
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
    assert all(each.colour == "red" for each in left) and all(each.colour == "blue" for each in right)
    assert all(each.object == "circle" for each in left)
    assert all(each.object == "square" for each in right)
