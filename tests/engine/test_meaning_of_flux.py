"""Pocket Flux through the whole engine: words in, the right picture out, guided by being told or by a second look."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.engine_parts import latents_of
from tools.pocket.scorer import Scorer
from webui.domain.models import Family
from webui.domain.plan import ImagePlan, ModelRef, Plan, PreviewPlan
from webui.engine.control import Control
from webui.engine.engine import Engine, EngineOptions, ImageReady, PreviewImage
from webui.engine.models import Models

FOLDER = Path(__file__).parents[2] / "models" / "Stable-diffusion" / "pocket-flux"
ASKED = [(colour, thing) for colour in ("red", "blue", "green") for thing in ("circle", "star", "house")]
PROMPTS = tuple(f"a {colour} {thing}, white background" for colour, thing in ASKED)
SCENES = (
    "a red house at night",
    "a black cat in the snow",
    "a yellow star above a blue fish, sea",
    "a green car, sunset",
)
WELL = 4.0  # the guidance its card proposes


@pytest.fixture(scope="module")
def pocket_models() -> Models:
    return Models(EngineOptions(use_cpu=frozenset({"all"})))


def make_plan(prompts: Sequence[str], *, negative: str = "", guidance: float = 1.0, told: float = WELL) -> Plan:
    images = tuple(
        ImagePlan(index=index, seed=40 + index, prompt=prompt, negative_prompt=negative)
        for index, prompt in enumerate(prompts)
    )
    model = ModelRef(name="pocket-flux", path=FOLDER, family=Family.FLUX, layout="diffusers", sha256="0" * 64)
    return Plan(
        model=model, sampler="Euler", schedule="Simple", steps=12, guidance=guidance, distilled_guidance=told,
        width=128, height=128, batch_size=len(images), images=images, preview=PreviewPlan(every=0),
    )  # fmt: skip


def draw(engine: Engine, plan: Plan) -> list[Image.Image]:
    return [item.image for item in engine.run(plan, Control()) if isinstance(item, ImageReady)]


def count_right(scorer: Scorer, pictures: Sequence[Image.Image]) -> int:
    seen = scorer.describe_all(pictures)
    return sum((each.colour, each.object) == asked for each, asked in zip(seen, ASKED, strict=True))


def test_things_have_the_shape_and_colour_that_was_asked(pocket_engine: Engine, scorer: Scorer) -> None:
    assert count_right(scorer, draw(pocket_engine, make_plan(PROMPTS))) >= 7


def test_a_second_look_guides_as_well_as_being_told(pocket_engine: Engine, scorer: Scorer) -> None:
    pictures = draw(pocket_engine, make_plan(PROMPTS, guidance=WELL, told=1.0))
    assert count_right(scorer, pictures) >= 7


def test_being_told_guidance_does_what_a_second_look_does(pocket_models: Models) -> None:
    """At the first step, before small differences grow."""
    looked, told, plain = (
        latents_of(make_plan(SCENES, **guidance).replace(steps=1), pocket_models)
        for guidance in ({"guidance": WELL, "told": 1.0}, {"told": WELL}, {"told": 1.0})
    )
    assert (told - looked).abs().mean() < 0.75 * (plain - looked).abs().mean()


def test_what_the_negative_prompt_names_is_avoided(pocket_engine: Engine, scorer: Scorer) -> None:
    plans = [
        make_plan(["a circle, white background"] * 6, negative=negative, guidance=WELL, told=1.0)
        for negative in ("", "red, pink, orange")
    ]
    before, after = (
        sum(each.colour in ("red", "pink", "orange") for each in scorer.describe_all(draw(pocket_engine, plan)))
        for plan in plans
    )
    assert before >= 2
    assert after < before


def test_cheap_previews_have_about_the_right_colours(pocket_engine: Engine) -> None:
    """The latents are turned so that Flux's own factors read them."""
    plan = make_plan(["a red circle, blue background"]).replace(preview=PreviewPlan(every=1, method="Approx"))
    happened = list(pocket_engine.run(plan, Control()))
    preview = [item.image for item in happened if isinstance(item, PreviewImage)][-1]
    (picture,) = [item.image for item in happened if isinstance(item, ImageReady)]
    small, shown = (np.asarray(image.resize((16, 16)), float).reshape(-1, 3) for image in (picture, preview))
    assert all(np.corrcoef(small[:, colour], shown[:, colour])[0, 1] > 0.8 for colour in range(3))


@pytest.mark.parametrize("words", ["A Red Circle, White Background", "a red circle, white background"])
def test_capitals_mean_the_same(pocket_engine: Engine, scorer: Scorer, words: str) -> None:
    seen = scorer.describe_all(draw(pocket_engine, make_plan([words] * 3)))
    assert sum((each.colour, each.object) == ("red", "circle") for each in seen) >= 2
