"""What the prompt language says is what the pocket model draws, in the eyes of an independent judge."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tools.pocket.scorer import Description, Scorer
from webui.domain.models import Family
from webui.domain.plan import ImagePlan, ModelRef, Plan, PreviewPlan
from webui.engine.engine import Control, Engine, EngineOptions, ImageReady, PreviewImage

FOLDER = Path(__file__).parents[2] / "models" / "Stable-diffusion" / "pocket-sd1"
SEEDS = range(1, 9)
MOST = 6  # of the eight pictures: some may go wrong

Draw = Callable[..., list[Image.Image]]


def make_plan(prompt: str, **changes: Any) -> Plan:
    images = tuple(
        ImagePlan(index=index, seed=seed, prompt=prompt, negative_prompt="") for index, seed in enumerate(SEEDS)
    )
    model = ModelRef(name="pocket-sd1", path=FOLDER, family=Family.SD1, layout="diffusers", sha256="0" * 64)
    plan = Plan(
        model=model, sampler="DPM++ 2M", schedule="Karras", steps=12, guidance=5.0, width=128, height=128,
        batch_size=len(images), images=images, preview=PreviewPlan(every=0),
    )  # fmt: skip
    return plan.replace(**changes)


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine(EngineOptions(use_cpu=frozenset({"all"}), half=False))


@pytest.fixture(scope="module")
def draw(engine: Engine) -> Draw:
    """Return a function that draws a prompt with eight seeds."""

    def drawing(prompt: str, **changes: Any) -> list[Image.Image]:
        outputs = engine.run(make_plan(prompt, **changes), Control())
        return [output.image for output in outputs if isinstance(output, ImageReady)]

    return drawing


@pytest.fixture(scope="module")
def see(draw: Draw) -> Callable[[str], list[Description]]:
    scorer = Scorer.load()
    return lambda prompt: scorer.describe_all(draw(prompt))


def redness(images: list[Image.Image]) -> np.ndarray:
    """Return how much redder than grey each picture is on average, in levels of 255."""
    pixels = np.stack([np.asarray(image, dtype=float) for image in images])
    return (pixels[..., 0] - pixels.mean(-1)).mean((1, 2))


def test_weights_shift_colours(draw: Draw) -> None:
    weak, plain, strong = (redness(draw(f"a (red:{weight}) blue circle, white background")) for weight in (0.3, 1, 1.7))
    assert (plain > weak).sum() >= MOST and (strong > plain).sum() >= MOST
    assert plain.mean() > weak.mean() + 2 and strong.mean() > plain.mean() + 2


def test_weights_do_nothing_when_emphasis_is_ignored(draw: Draw) -> None:
    plain = draw("a red blue circle, white background")
    ignored = draw("a (red:1.7) blue circle, white background", emphasis="Ignore")
    assert [image.tobytes() for image in ignored] == [image.tobytes() for image in plain]


def test_an_early_edit_changes_the_colour_and_a_late_one_does_not(see: Callable[[str], list[Description]]) -> None:
    assert sum(seen.colour == "blue" for seen in see("a [red:blue:0.1] circle")) >= MOST
    assert sum(seen.colour == "red" for seen in see("a [red:blue:0.9] circle")) >= MOST


def test_an_early_edit_changes_the_object_and_a_late_one_does_not(see: Callable[[str], list[Description]]) -> None:
    assert sum(seen.object == "star" for seen in see("a red [circle:star:1]")) >= MOST
    assert sum(seen.object == "circle" for seen in see("a red [circle:star:11]")) >= MOST


@pytest.mark.parametrize(("sampler", "last"), [("DPM++ 2M", 5), ("Euler", 5), ("Heun", 3)])
def test_an_edit_happens_at_the_step_it_says(engine: Engine, sampler: str, last: int) -> None:
    """`:4]` counts network calls from 0, as in A1111: call 5 is the first that differs. Heun makes two a step."""

    def previews(prompt: str) -> list[bytes]:
        plan = make_plan(prompt, sampler=sampler, steps=8, preview=PreviewPlan(every=1))
        plan = plan.replace(images=plan.images[:1], batch_size=1)
        return [output.image.tobytes() for output in engine.run(plan, Control()) if isinstance(output, PreviewImage)]

    plain, edited = previews("a red circle"), previews("a [red:blue:4] circle")
    assert len(plain) == len(edited) >= 7
    assert plain[:last] == edited[:last]
    assert all(one != other for one, other in zip(plain[last:], edited[last:], strict=True))


def test_and_shows_both(see: Callable[[str], list[Description]]) -> None:
    def fitting(prompt: str) -> int:
        return sum((one.object, one.colour, one.background) == ("house", "red", "night") for one in see(prompt))

    assert fitting("a red house AND night sky") >= MOST
    assert fitting("a red house") <= 3 and fitting("night sky") <= 3


def test_a_branch_of_weight_0_is_not_there(draw: Draw) -> None:
    alone, weighed = draw("a red house"), draw("a red house AND night sky :0")
    for one, other in zip(alone, weighed, strict=True):
        difference = np.abs(np.asarray(one, dtype=int) - np.asarray(other, dtype=int))
        assert difference.mean() < 1
