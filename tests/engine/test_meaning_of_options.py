"""Seamless edges and shaped guidance on the pocket model: what they do to real pictures."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image

from tools.pocket.scorer import Scorer
from webui.domain.models import ModelInfo
from webui.domain.plan import GuidancePlan, ImagePlan, ModelRef, Plan, PreviewPlan
from webui.engine.engine import Control, Engine, ImageReady

WANTED = (("red", "circle"), ("blue", "star"), ("green", "square"), ("yellow", "heart"))
SCENES = ["a red circle at sunset", "a red house in a field"]
Pixels = np.ndarray[Any, np.dtype[np.float32]]


@pytest.fixture(scope="module")
def engine(pocket_engine: Engine) -> Engine:
    return pocket_engine


def draw(engine: Engine, model: ModelInfo, prompts: list[str], **changes: object) -> list[Image.Image]:
    assert model.family is not None and model.sha256 is not None
    images = tuple(
        ImagePlan(index=index, seed=100 + index, prompt=prompt, negative_prompt="")
        for index, prompt in enumerate(prompts)
    )
    plan = Plan(
        model=ModelRef(name=model.name, path=model.path, family=model.family, layout=model.layout, sha256=model.sha256),
        sampler="DPM++ 2M", schedule="Automatic", steps=8, guidance=5.0, width=128, height=128,
        batch_size=8, images=images, preview=PreviewPlan(every=0),
    ).replace(**changes)  # fmt: skip
    return [item.image for item in engine.run(plan, Control()) if isinstance(item, ImageReady)]


def jumps(image: Image.Image) -> Pixels:
    """Return how much each row differs from the one above it; the last number is that of the first from the last."""
    rows = np.asarray(image, np.float32)
    return np.abs(rows - np.roll(rows, -1, axis=0)).mean((1, 2))


def test_the_seam_of_a_seamless_picture_is_as_smooth_as_its_inside(engine: Engine, pocket: ModelInfo) -> None:
    """Skies are darker above and ground lies below, so the upper edge of an ordinary picture does not fit the lower."""
    for tiling, is_seamless in (("none", False), ("both", True), ("y", True), ("x", False)):
        for image in draw(engine, pocket, SCENES, tiling=tiling):
            *inside, seam = jumps(image)
            assert seam < max(inside) if is_seamless else seam > 2 * max(inside), tiling


def test_guidance_in_an_interval_still_draws_what_was_asked(engine: Engine, pocket: ModelInfo) -> None:
    prompts = [f"a {colour} {thing}, white background" for colour, thing in WANTED]
    scorer = Scorer.load()
    for guiding in (GuidancePlan(start=0.1, end=0.7), GuidancePlan(minimum=3.0)):
        drawn = scorer.describe_all(draw(engine, pocket, prompts, guiding=guiding))
        assert [(each.colour, each.object) for each in drawn] == list(WANTED)
    never = draw(engine, pocket, prompts, guiding=GuidancePlan(end=0.0))
    assert never == draw(engine, pocket, prompts, guidance=1.0)


def test_rescaling_takes_back_the_colour_that_strong_guidance_adds(engine: Engine, pocket: ModelInfo) -> None:
    def saturation(**changes: object) -> float:
        drawn = draw(engine, pocket, SCENES, **changes)
        return float(np.mean([np.asarray(image.convert("HSV"), np.float32)[..., 1].mean() for image in drawn]))

    rescaled = saturation(guidance=14.0, guiding=GuidancePlan(rescale=0.7))
    assert saturation(guidance=1.0) < rescaled < saturation(guidance=14.0) - 5
