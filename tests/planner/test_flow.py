"""What models of flow matching can be asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.planner_parts import FakeShelf
from webui.domain.models import CONTROLLED, Family, ModelDefaults, ModelInfo
from webui.domain.passes import Hires, Refiner
from webui.domain.plan import Plan
from webui.domain.request import GenerationRequest
from webui.domain.sampling import SAMPLERS, SCHEDULES
from webui.domain.sampling_options import SamplingOptions
from webui.domain.start import FromImage
from webui.errors import BadRequest
from webui.images.infotext import read, write
from webui.planner import plan as resolve
from webui.settings import Settings

DEV = ModelInfo(
    name="dev", path=Path("/models/dev"), family=Family.FLUX, layout="diffusers", sha256="ab" * 32,
    defaults=ModelDefaults(guidance=1.0, distilled_guidance=3.5, sampler="Euler", schedule="Simple"),
)  # fmt: skip
SCHNELL = DEV.replace(name="schnell", sha256="cd" * 32, defaults=DEV.defaults.replace(distilled_guidance=None))
SD1 = DEV.replace(name="sd1", family=Family.SD1, defaults=ModelDefaults())


def plan(model: ModelInfo = DEV, settings: Settings | None = None, **asked: Any) -> Plan:
    shelf = FakeShelf(model, {"other": DEV.replace(name="other", sha256="ef" * 32)})
    resolved = resolve(GenerationRequest(**asked), settings or Settings(), shelf, lambda: 1)
    assert isinstance(resolved, Plan)
    return resolved


@pytest.mark.parametrize("sampler", [info for info in SAMPLERS], ids=lambda info: info.name)
def test_samplers_that_do_not_solve_flow_are_refused(sampler: Any) -> None:
    if sampler.solves_flow:
        assert plan(sampler=sampler.name).sampler == sampler.name
        return
    assert plan(SD1, sampler=sampler.name).sampler == sampler.name
    with pytest.raises(BadRequest, match="does not work with FLUX models") as caught:
        plan(sampler=sampler.name)
    assert caught.value.field == "sampler" and "Euler a" in caught.value.hint


def test_so_are_those_of_the_second_pass() -> None:
    with pytest.raises(BadRequest) as caught:
        plan(hires=Hires(upscaler="Latent", sampler="UniPC"))
    assert caught.value.field == "hires.sampler"


@pytest.mark.parametrize("schedule", [info for info in SCHEDULES], ids=lambda info: info.label)
def test_schedules_for_other_noise_levels_are_refused(schedule: Any) -> None:
    if schedule.fits_flow:
        assert plan(schedule=schedule.label).schedule == schedule.label
        return
    with pytest.raises(BadRequest, match="other noise levels") as caught:
        plan(schedule=schedule.label)
    assert caught.value.field == "schedule"


def test_noise_levels_above_one_are_refused() -> None:
    assert plan(sampling=SamplingOptions(sigma_max=0.9)).sampling.sigma_max == 0.9
    with pytest.raises(BadRequest, match="up to 1"):
        plan(sampling=SamplingOptions(sigma_max=14.6))
    assert plan(SD1, sampling=SamplingOptions(sigma_max=14.6)).sampling.sigma_max == 14.6


def test_churn_is_passed_over() -> None:
    assert plan(sampling=SamplingOptions(churn=5.0)).sampling.churn == 0
    assert plan(SD1, sampler="Euler", sampling=SamplingOptions(churn=5.0)).sampling.churn == 5


def test_distilled_guidance() -> None:
    assert plan().distilled_guidance == 3.5
    assert plan(distilled_guidance=2.0).distilled_guidance == 2
    assert plan(SCHNELL).distilled_guidance is None
    assert plan(SD1).distilled_guidance is None
    assert plan().guidance == 1, "which is another thing"


@pytest.mark.parametrize("model", [SCHNELL, SD1], ids=lambda model: model.name)
def test_distilled_guidance_without_effect_is_noted(model: ModelInfo) -> None:
    noted = plan(model, distilled_guidance=2.0)
    assert noted.distilled_guidance is None
    assert any("distilled CFG scale" in note for note in noted.notes)
    assert not any("distilled CFG scale" in note for note in plan(distilled_guidance=2.0).notes)


def test_another_model_of_the_plan_may_be_told_one() -> None:
    assert plan(SCHNELL, refiner=Refiner(model="other", switch_at=0.5)).distilled_guidance == 3.5
    assert plan(SCHNELL, hires=Hires(upscaler="Latent", model="other")).distilled_guidance == 3.5


def test_what_is_written_about_an_image_asks_for_the_same() -> None:
    asked = plan(distilled_guidance=2.5)
    text = write(asked, 0)
    assert "CFG scale: 1, Distilled CFG Scale: 2.5," in text
    assert read(text).request.distilled_guidance == 2.5
    assert "Distilled" not in write(plan(SCHNELL), 0)


def test_what_follows_a_picture_needs_one() -> None:
    control = DEV.replace(variant=CONTROLLED)
    with pytest.raises(BadRequest, match="follows a picture"):
        plan(control)
    given = FromImage(images=("a" * 64,), strength=1.0)
    assert plan(control, start=given).distilled_guidance == 3.5
    with pytest.raises(BadRequest, match="follows a picture"):
        plan(control, start=given, hires=Hires(upscaler="Latent"))
