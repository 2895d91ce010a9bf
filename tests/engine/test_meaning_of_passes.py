"""The pocket model in two passes and beyond the edges: the second pass sharpens what the first one drew, and an
extension continues the background."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image

from tools.pocket.scorer import Scorer
from webui.domain.models import ModelInfo
from webui.domain.plan import HiresPlan, ImagePlan, ModelRef, Plan, PreviewPlan, SamplingPlan
from webui.domain.start import FromExtendedImage, FromImage
from webui.domain.upscaling import LATENT_UPSCALERS, UpscalerRef
from webui.engine.engine import Control, Engine, ImageReady

PICTURE = "a" * 64
SEEDS = (100, 101)


@pytest.fixture(scope="module")
def engine(pocket_engine: Engine) -> Engine:
    return pocket_engine


def paint(
    engine: Engine, model: ModelInfo, prompt: str, picture: Image.Image | None = None, **changes: Any
) -> list[Image.Image]:
    assert model.family is not None and model.sha256 is not None
    images = tuple(
        ImagePlan(index=index, seed=seed, prompt=prompt, negative_prompt="") for index, seed in enumerate(SEEDS)
    )
    plan = Plan(
        model=ModelRef(name=model.name, path=model.path, family=model.family, layout=model.layout, sha256=model.sha256),
        sampler="DPM++ 2M", schedule="Automatic", steps=12, guidance=5.0, width=128, height=128,
        batch_size=len(images), images=images, preview=PreviewPlan(every=0),
    ).replace(**changes)  # fmt: skip
    inputs = {PICTURE: picture} if picture else {}
    return [item.image for item in engine.run(plan, Control(), inputs) if isinstance(item, ImageReady)]


def second(upscaler: str, strength: float) -> HiresPlan:
    kind = "latent" if upscaler in LATENT_UPSCALERS else "plain"
    return HiresPlan(
        width=160, height=160, enlarged=(160, 160), upscaler=UpscalerRef(name=upscaler, kind=kind), steps=6,
        strength=strength, sampler="DPM++ 2M", schedule="Automatic", guidance=5.0, sampling=SamplingPlan(),
    )  # fmt: skip


def steepness(image: Image.Image) -> float:
    """Return how much neighbours differ at the hundredth of all places where they differ most: along edges."""
    light = np.asarray(image.convert("L"), np.float64)
    steps = np.concatenate([np.abs(np.diff(light, axis=axis)).ravel() for axis in (0, 1)])
    return float(np.sort(steps)[-len(steps) // 100 :].mean())


@pytest.fixture(scope="module")
def circles(engine: Engine, pocket: ModelInfo) -> list[Image.Image]:
    return paint(engine, pocket, "a red circle, white background")


@pytest.mark.parametrize(("upscaler", "strength"), [("Lanczos", 0.4), ("Latent", 0.6)])
def test_the_second_pass_sharpens_what_the_first_one_drew(
    engine: Engine, pocket: ModelInfo, scorer: Scorer, circles: list[Image.Image], upscaler: str, strength: float
) -> None:
    enlarged = [image.resize((160, 160), Image.Resampling.LANCZOS) for image in circles]
    made = paint(engine, pocket, "a red circle, white background", hires=second(upscaler, strength))
    assert [(each.colour, each.object) for each in scorer.describe_all(made)] == [("red", "circle")] * 2
    for image, plain, other in zip(made, enlarged, reversed(enlarged), strict=True):
        assert steepness(image) > 1.1 * steepness(plain)
        assert distance(image, plain) < distance(image, other) / 2, "it is the picture of the first pass"


def test_a_finished_picture_is_sharpened_too(
    engine: Engine, pocket: ModelInfo, scorer: Scorer, circles: list[Image.Image]
) -> None:
    start, prompt = FromImage(images=(PICTURE,)), "a red circle, white background"
    image = ImagePlan(index=0, seed=5, prompt=prompt, negative_prompt="")
    asked = {"images": (image,), "start": start, "hires": second("Lanczos", 0.4)}
    made = paint(engine, pocket, prompt, circles[0], **asked)[0]
    plain = circles[0].resize((160, 160), Image.Resampling.LANCZOS)
    assert steepness(made) > 1.1 * steepness(plain)
    assert distance(made, plain) < 10


def test_a_second_prompt_repaints(engine: Engine, pocket: ModelInfo, scorer: Scorer) -> None:
    prompt = "a red circle, white background"
    images = tuple(
        ImagePlan(index=0, seed=seed, prompt=prompt, negative_prompt="", hires_prompt="a blue circle, white background")
        for seed in SEEDS[:1]
    )
    made = paint(engine, pocket, prompt, images=images, hires=second("Latent", 0.9))
    assert scorer.describe(made[0]).colour == "blue"


def distance(one: Image.Image, other: Image.Image) -> float:
    return float(np.abs(np.asarray(one, np.int16) - np.asarray(other, np.int16)).mean())


@pytest.mark.parametrize(
    ("prompt", "background"), [("a yellow star, night sky", "night"), ("a red house, blue sky", "sky")]
)
def test_an_extension_continues_the_background(
    engine: Engine, pocket: ModelInfo, scorer: Scorer, prompt: str, background: str
) -> None:
    """To the right, half as wide again: the new part goes on like the strip beside it, and the old one is untouched."""
    source = paint(engine, pocket, prompt)[1]
    assert scorer.describe(source).background == background
    start = FromExtendedImage(images=(PICTURE,), right=64, overlap=8)
    made = paint(engine, pocket, prompt, source, start=start, width=192)
    before = np.asarray(source, np.float64)
    for image, seen in zip(made, scorer.describe_all([each.crop((64, 0, 192, 128)) for each in made]), strict=True):
        painted = np.asarray(image, np.float64)
        assert (painted[:, :120] == before[:, :120]).all()
        assert seen.background == background
        rows = [*range(24), *range(112, 128)]  # above and below all things
        strip, new = (np.median(part[rows], axis=1) for part in (before[:, 112:], painted[:, 128:]))
        assert np.abs(new - strip).mean() < 8, "each row goes on in its colour"
        assert np.abs(new - np.median(strip, axis=0)).mean() > 12, "and not all of them in one"
