"""Where jobs begin, and what that means for their steps, their number of images and their folder."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from tests.jobs_parts import make_plan
from tests.planner_parts import FakeShelf
from webui import planner
from webui.domain.models import Family, ModelInfo
from webui.domain.plan import MOST_SCHEDULE_STEPS, PicturePlan, Plan
from webui.domain.request import GenerationRequest
from webui.domain.start import FromImage, FromMaskedImage, FromNoise, references
from webui.errors import BadRequest
from webui.settings import Settings

ONE, TWO, MASK = "1" * 64, "2" * 64, "3" * 64
MODEL = ModelInfo(name="pocket", path=Path("pocket"), family=Family.SD1, layout="diffusers", sha256="ab" * 32)


def plan(request: GenerationRequest, settings: Settings | None = None) -> Plan:
    return planner.plan_generation(request, settings or Settings(), FakeShelf(MODEL), lambda: 1)


@pytest.mark.parametrize(
    ("strength", "exact", "whole", "run"),
    [(0.75, False, 20, 16), (1, False, 20, 20), (0, False, 20, 1), (0.5, True, 40, 20), (1, True, 20, 20)],
)
def test_steps(strength: float, exact: bool, whole: int, run: int) -> None:
    start = FromImage(images=(ONE,), strength=strength)
    made = make_plan(steps=20).replace(start=start, picture=PicturePlan(exact_steps=exact))
    assert (made.schedule_steps, made.run_steps) == (whole, run)


def test_exact_steps_at_no_strength_are_the_last_of_the_finest_schedule() -> None:
    start = FromImage(images=(ONE,), strength=0)
    made = make_plan(steps=20).replace(start=start, picture=PicturePlan(exact_steps=True))
    assert (made.schedule_steps, made.run_steps) == (MOST_SCHEDULE_STEPS, 20)


def test_noise_runs_all_steps_whatever_the_settings() -> None:
    made = make_plan(steps=20).replace(picture=PicturePlan(exact_steps=True))
    assert (made.schedule_steps, made.run_steps) == (20, 20)


def test_a_request_comes_back_from_json_with_its_start() -> None:
    for start in (FromNoise(), FromImage(images=(ONE, TWO)), FromMaskedImage(images=(ONE,), mask=MASK, soft=True)):
        request = GenerationRequest(start=start)
        assert GenerationRequest.model_validate_json(request.model_dump_json()) == request


def test_references_are_named_once() -> None:
    assert references(FromMaskedImage(images=(ONE, TWO, ONE), mask=ONE)) == (ONE, TWO)
    assert references(FromNoise()) == ()


@pytest.mark.parametrize(
    "wrong", [{"images": ["x"]}, {"images": [ONE], "mask": MASK}, {"images": [ONE], "strength": 2}]
)
def test_impossible_starts(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        GenerationRequest.model_validate({"start": {"kind": "image", **wrong}})


def test_each_picture_is_used_equally_often() -> None:
    start = FromImage(images=(ONE, TWO))
    assert len(plan(GenerationRequest(start=start, batch_count=2, batch_size=2)).images) == 4
    with pytest.raises(BadRequest, match="3 images cannot begin with 2 pictures") as caught:
        plan(GenerationRequest(start=start, batch_count=3))
    assert caught.value.field == "batch_count"


def test_settings_go_into_the_plan() -> None:
    settings = Settings(img2img_exact_steps=True, img2img_colour_correction=True, outdir_img2img="outputs/mine")
    made = plan(GenerationRequest(start=FromImage(images=(ONE,))), settings)
    assert made.picture == PicturePlan(exact_steps=True, colour_correction=True)
    assert made.save.folder == "mine"
    assert plan(GenerationRequest(), settings).save.folder == "txt2img-images"
