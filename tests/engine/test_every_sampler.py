"""Every sampler with every schedule through the whole engine, and what options of sampling do to the pictures."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from webui.domain.events import Stepped
from webui.domain.plan import Plan, SamplingPlan, VariationPlan
from webui.domain.sampling import SAMPLERS, SCHEDULES
from webui.domain.start import FromImage
from webui.engine.engine import Control, Engine, ImageReady

PlanMaker = Callable[..., Plan]
PICTURE = Image.linear_gradient("L").resize((64, 64)).convert("RGB")
START = FromImage(images=("0" * 64,), strength=0.5)


def pictures(engine: Engine, plan: Plan) -> list[np.ndarray]:
    done = [item for item in engine.run(plan, Control(), {"0" * 64: PICTURE}) if isinstance(item, ImageReady)]
    return [np.asarray(item.image, np.int16) for item in done]


def picture(engine: Engine, plan: Plan) -> np.ndarray:
    [only] = pictures(engine, plan)
    return only


@pytest.mark.parametrize("info", SAMPLERS, ids=lambda info: info.name)
def test_every_schedule(engine: Engine, make_plan: PlanMaker, info) -> None:  # type: ignore[no-untyped-def]
    """A result that is not a number would be an error of the engine."""
    sampling = SamplingPlan(eta=info.default_eta)
    drawn = [
        picture(engine, make_plan(sampler=info.name, schedule=schedule.label, steps=2, sampling=sampling))
        for schedule in SCHEDULES
    ]
    assert len({each.tobytes() for each in drawn}) > 2  # in two steps, many schedules are the same
    assert all(each.std() > 3 for each in drawn)


@pytest.mark.parametrize("sampler", [info.name for info in SAMPLERS])
@pytest.mark.parametrize("strength", [0.0, 0.5, 1.0])
def test_every_sampler_begins_with_pictures(
    engine: Engine, make_plan: PlanMaker, sampler: str, strength: float
) -> None:
    plan = make_plan(sampler=sampler, steps=3, start=START.replace(strength=strength))
    happened = list(engine.run(plan, Control(), {"0" * 64: PICTURE}))
    steps = [item for item in happened if isinstance(item, Stepped)]
    assert steps and steps[-1].step == steps[-1].steps
    assert sum(isinstance(item, ImageReady) for item in happened) == 1


def test_steps_are_counted_as_they_are_run(engine: Engine, make_plan: PlanMaker) -> None:
    def last(sampler: str, steps: int) -> tuple[int, int]:
        events = [item for item in engine.run(make_plan(sampler=sampler, steps=steps), Control())]
        *_, step = (item for item in events if isinstance(item, Stepped))
        return step.step, step.steps

    assert last("Euler", 5) == (5, 5)
    assert last("DDIM", 5) == (4, 4)
    assert last("DPM fast", 5) == (5, 5)
    assert last("DPM adaptive", 5) == (5, 5)
    assert last("Restart", 20) == (20, 20)


def test_noise_sources_draw_different_noise(engine: Engine, make_plan: PlanMaker) -> None:
    def drawn(source: str) -> np.ndarray:
        return picture(engine, make_plan(sampling=SamplingPlan.model_validate({"noise_source": source})))

    assert np.array_equal(drawn("CPU"), drawn("GPU"))  # this engine computes on the CPU
    assert np.abs(drawn("CPU") - drawn("NV")).max() > 20


def test_variation_goes_from_one_seed_to_the_other(engine: Engine, make_plan: PlanMaker) -> None:
    def varied(strength: float) -> np.ndarray:
        plan = make_plan(seed=7)
        image = plan.images[0].replace(variation_seed=8 if strength else None)
        return picture(engine, plan.replace(images=(image,), variation=VariationPlan(strength=strength)))

    one, other = picture(engine, make_plan(seed=7)), picture(engine, make_plan(seed=8))
    assert np.array_equal(varied(0), one)
    assert np.abs(varied(1) - other).max() <= 1
    assert np.abs(varied(0.1) - one).mean() < np.abs(varied(0.5) - one).mean() < np.abs(other - one).mean()


def test_seed_resize_changes_the_noise(engine: Engine, make_plan: PlanMaker) -> None:
    plain = picture(engine, make_plan())
    assert np.array_equal(picture(engine, make_plan(variation=VariationPlan(resize_from=(64, 64)))), plain)
    resized = picture(engine, make_plan(variation=VariationPlan(resize_from=(128, 64))))
    assert np.abs(resized - plain).max() > 20


@pytest.mark.parametrize(("sampler", "changes"), [("Euler a", True), ("Euler", False), ("DPM++ 2M SDE", False)])
def test_seed_delta_is_for_ancestral_samplers(
    engine: Engine, make_plan: PlanMaker, sampler: str, changes: bool
) -> None:
    one, other = (
        picture(engine, make_plan(sampler=sampler, sampling=SamplingPlan(eta=1.0, seed_delta=delta)))
        for delta in (0, 31337)
    )
    assert (np.abs(one - other).max() > 5) == changes


def test_unguided_noise_makes_another_picture(engine: Engine, make_plan: PlanMaker) -> None:
    """CFG++ divides the guidance by 12.5: at 12.5 it is plain, and there the two agree."""
    strong = picture(engine, make_plan(sampler="DDIM CFG++", guidance=12.5))
    assert np.abs(strong - picture(engine, make_plan(sampler="DDIM", guidance=1.0))).max() <= 1
    weak = picture(engine, make_plan(sampler="DDIM CFG++", guidance=6.0))
    assert np.abs(weak - picture(engine, make_plan(sampler="DDIM", guidance=6.0 / 12.5))).max() > 1
