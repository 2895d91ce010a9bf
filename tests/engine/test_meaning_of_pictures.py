"""The pocket model begins with pictures: strength decides how much is left of one, a mask decides where."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw

from tools.pocket.scorer import Scorer
from webui.domain.models import ModelInfo
from webui.domain.plan import ImagePlan, ModelRef, Plan, PreviewPlan
from webui.domain.start import FromImage, FromMaskedImage, FromNoise, Start
from webui.engine.engine import Control, Engine, ImageReady

PICTURE, MASK = "a" * 64, "c" * 64
SEEDS = range(100, 104)


@pytest.fixture(scope="module")
def engine(pocket_engine: Engine) -> Engine:
    return pocket_engine


def paint(
    engine: Engine, model: ModelInfo, prompt: str, start: Start, inputs: dict[str, Image.Image], steps: int = 12
) -> list[Image.Image]:
    assert model.family is not None and model.sha256 is not None
    images = tuple(
        ImagePlan(index=index, seed=seed, prompt=prompt, negative_prompt="") for index, seed in enumerate(SEEDS)
    )
    plan = Plan(
        model=ModelRef(name=model.name, path=model.path, family=model.family, layout=model.layout, sha256=model.sha256),
        sampler="DPM++ 2M", schedule="Automatic", steps=steps, guidance=5.0, width=128, height=128,
        batch_size=len(images), images=images, start=start, preview=PreviewPlan(every=0),
    )  # fmt: skip
    return [item.image for item in engine.run(plan, Control(), inputs) if isinstance(item, ImageReady)]


@pytest.fixture(scope="module")
def red_circle(engine: Engine, pocket: ModelInfo, scorer: Scorer) -> Image.Image:
    """Return a picture the scorer takes for a red circle."""
    drawn = paint(engine, pocket, "a red circle, white background", FromNoise(), {})
    seen = scorer.describe_all(drawn)
    return next(
        image for image, each in zip(drawn, seen, strict=True) if (each.colour, each.object) == ("red", "circle")
    )


def test_strength_is_monotone(engine: Engine, pocket: ModelInfo, scorer: Scorer, red_circle: Image.Image) -> None:
    prompt, before = "a blue square, white background", np.asarray(red_circle, np.int16)
    changes, blue = [], []
    for strength in (0.0, 0.3, 0.6, 0.8, 1.0):
        start = FromImage(images=(PICTURE,), strength=strength)
        painted = paint(engine, pocket, prompt, start, {PICTURE: red_circle})
        changes.append(float(np.mean([np.abs(np.asarray(image, np.int16) - before).mean() for image in painted])))
        blue.append(sum(each.colour == "blue" for each in scorer.describe_all(painted)))
    assert changes == sorted(changes), changes
    assert changes[0] < changes[-1] / 4, changes
    assert blue[0] == 0 and blue[-1] >= 3, blue


@pytest.mark.parametrize("area", ["whole", "masked"])
@pytest.mark.parametrize("soft", [False, True])
def test_inpainting_changes_the_masked_object_only(
    engine: Engine, pocket: ModelInfo, scorer: Scorer, red_circle: Image.Image, area: str, soft: bool
) -> None:
    mask = Image.new("L", red_circle.size)
    difference = np.asarray(red_circle.convert("RGB"), np.int16)
    rows, columns = np.nonzero(difference.min(-1) < 150)  # the object: everything that is not near white
    box = max(0, columns.min() - 6), max(0, rows.min() - 6), min(127, columns.max() + 6), min(127, rows.max() + 6)
    ImageDraw.Draw(mask).rectangle(box, fill=255)
    start = FromMaskedImage(
        images=(PICTURE,), mask=MASK, mask_blur=1, strength=1.0, content="fill", area=area, padding=16, soft=soft
    )
    painted = paint(engine, pocket, "a blue circle, white background", start, {PICTURE: red_circle, MASK: mask})
    assert sum(each.colour == "blue" for each in scorer.describe_all(painted)) >= 3
    kept = np.ones((128, 128), bool)
    kept[max(0, box[1] - 5) : box[3] + 6, max(0, box[0] - 5) : box[2] + 6] = False
    for image in painted:
        assert (np.asarray(image)[kept] == np.asarray(red_circle)[kept]).all()
