"""The pocket model through the whole engine: the pictures show what the words say, judged by its scorer."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from PIL import Image

from tools.pocket.scorer import Scorer
from webui.domain.models import ModelInfo
from webui.domain.plan import ImagePlan, ModelRef, Plan, PreviewPlan
from webui.domain.sampling import SAMPLERS
from webui.engine.engine import Control, Engine, ImageReady

COLOURS = ("red", "blue", "green", "yellow")
OBJECTS = ("circle", "square", "star", "heart")


def draw(
    engine: Engine, model: ModelInfo, prompts: Sequence[str], *, negative: str = "", sampler: str = "DPM++ 2M",
    seed: int = 100, steps: int = 12, guidance: float = 5.0,
) -> list[Image.Image]:  # fmt: skip
    assert model.family is not None and model.sha256 is not None
    images = tuple(
        ImagePlan(index=index, seed=seed + index, prompt=prompt, negative_prompt=negative)
        for index, prompt in enumerate(prompts)
    )
    plan = Plan(
        model=ModelRef(name=model.name, path=model.path, family=model.family, layout=model.layout, sha256=model.sha256),
        sampler=sampler, schedule="Automatic", steps=steps, guidance=guidance, width=128, height=128,
        batch_size=8, images=images, preview=PreviewPlan(every=0),
    )  # fmt: skip
    return [item.image for item in engine.run(plan, Control()) if isinstance(item, ImageReady)]


def test_objects_have_the_shape_and_colour_that_was_asked(
    pocket_engine: Engine, pocket: ModelInfo, scorer: Scorer
) -> None:
    asked = [(colour, thing) for colour in COLOURS for thing in OBJECTS]
    pictures = draw(pocket_engine, pocket, [f"a {colour} {thing}, white background" for colour, thing in asked])
    seen = scorer.describe_all(pictures)
    assert sum(each.colour == colour for each, (colour, _) in zip(seen, asked, strict=True)) >= 12
    assert sum(each.object == thing for each, (_, thing) in zip(seen, asked, strict=True)) >= 12


@pytest.mark.parametrize("sampler", [info.name for info in SAMPLERS])
def test_every_sampler_draws_a_red_circle(
    pocket_engine: Engine, pocket: ModelInfo, scorer: Scorer, sampler: str
) -> None:
    pictures = draw(pocket_engine, pocket, ["a red circle, white background"] * 3, sampler=sampler, steps=20)
    seen = scorer.describe_all(pictures)
    assert sum((each.colour, each.object) == ("red", "circle") for each in seen) >= 2


def test_what_the_negative_prompt_names_is_avoided(pocket_engine: Engine, pocket: ModelInfo, scorer: Scorer) -> None:
    without = scorer.describe_all(draw(pocket_engine, pocket, ["a circle"] * 16))
    usual = max({each.colour for each in without}, key=lambda colour: sum(each.colour == colour for each in without))
    before = sum(each.colour == usual for each in without)
    avoided = scorer.describe_all(draw(pocket_engine, pocket, ["a circle"] * 16, negative=f"{usual} circle"))
    after = sum(each.colour == usual for each in avoided)
    assert before >= 3
    assert after < before


def test_emphasis_keeps_the_meaning(pocket_engine: Engine, pocket: ModelInfo, scorer: Scorer) -> None:
    prompts = ["a (red:1.3) circle, white background", "a blue ((square)), white background"]
    seen = scorer.describe_all(draw(pocket_engine, pocket, prompts * 3))
    assert sum(each.colour == colour for each, colour in zip(seen, ("red", "blue") * 3, strict=True)) >= 5


def test_prompts_beyond_75_tokens_still_count(pocket_engine: Engine, pocket: ModelInfo, scorer: Scorer) -> None:
    filler = ", white background" * 30
    prompts = [f"a red circle{filler}", f"a blue square{filler}"]
    seen = scorer.describe_all(draw(pocket_engine, pocket, prompts * 3))
    assert sum(each.colour == colour for each, colour in zip(seen, ("red", "blue") * 3, strict=True)) >= 4
