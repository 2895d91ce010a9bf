"""The seam between extensions and the engine: what they are told, what they may change, that all of it goes back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.engine.conftest import PlanMaker
from webui.domain.events import Noted
from webui.domain.plan import ExtraSampling, Plan
from webui.engine.control import Control
from webui.engine.denoise import Denoise, NoiseLevels
from webui.engine.engine import Engine, EngineOptions, ImageReady
from webui.engine.guidance import Combine, Guiding
from webui.engine.run import ImageRun, Modifier, Moment, Run
from webui.engine.samplers import Step
from webui.engine.schedules import find_sigmas
from webui.errors import BadRequest, EaselError, GenerationError
from webui.weights.checkpoint import NoiseSchedule
from webui.weights.memory import Resident


def run(options: EngineOptions, plan: Plan, *modifiers: Modifier) -> tuple[list[np.ndarray], list[str]]:
    """Return the pictures and the notes of `plan`."""
    happened = list(Engine(options, modifiers).run(plan, Control()))
    pictures = [np.asarray(each.image) for each in happened if isinstance(each, ImageReady)]
    return pictures, [each.message for each in happened if isinstance(each, Noted)]


def for_extension(plan: Plan, **facts: Any) -> Plan:
    return plan.replace(extensions={"mine": facts})


def test_an_extension_acts_on_plans_that_name_it_alone(options: EngineOptions, make_plan: PlanMaker) -> None:
    entered: list[Mapping[str, Any]] = []

    @contextmanager
    def enter(run: Run) -> Iterator[None]:
        entered.append(run.facts)
        yield

    mine = Modifier("mine", patches=(enter,))
    plain = run(options, make_plan(), mine)[0]
    assert entered == []
    named = run(options, for_extension(make_plan(), amount=3), mine)[0]
    assert entered == [{"amount": 3}]
    assert np.array_equal(plain[0], named[0])


def test_a_patch_sees_each_call_and_what_its_rows_are_for(options: EngineOptions, make_plan: PlanMaker) -> None:
    seen: list[Moment] = []

    @contextmanager
    def enter(run: Run) -> Iterator[None]:
        handle = run.network.register_forward_pre_hook(lambda *_: seen.append(run.moment))
        try:
            yield
        finally:
            handle.remove()

    plan = make_plan(prompt="a cat AND a dog :0.5", count=2, steps=3, guidance=4.0)
    run(options, for_extension(plan), Modifier("mine", patches=(enter,)))
    assert [moment.step for moment in seen if moment.rows[0].is_negative] == [0, 1, 2]
    rows = [row for moment in seen if moment.step == 0 for row in moment.rows]
    assert sorted((row.image, row.branch) for row in rows if not row.is_negative) == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert sorted(row.image for row in rows if row.is_negative) == [0, 1]
    assert seen[0].progress == 0 and {moment.steps for moment in seen} == {3}


def test_the_guided_denoiser_may_be_asked_more_than_once(options: EngineOptions, make_plan: PlanMaker) -> None:
    """A prompt that changes in the middle stays in step: repeated calls are those of one step."""

    def wrap(denoise: Denoise, run: Run) -> Denoise:
        def thrice(latents: torch.Tensor, sigma: float) -> torch.Tensor:
            return torch.stack([denoise(latents, sigma) for _ in range(3)]).mean(0)

        return thrice

    plan = make_plan(prompt="[a cat:a dog:2]", steps=4)
    plain = run(options, plan)[0]
    thrice = run(options, for_extension(plan), Modifier("mine", wraps=(wrap,)))[0]
    assert np.abs(plain[0].astype(int) - thrice[0]).max() <= 1


def test_guidance_may_be_combined_in_another_way(options: EngineOptions, make_plan: PlanMaker) -> None:
    def wrap(combine: Combine, run: Run) -> Combine:
        def halved(guiding: Guiding) -> torch.Tensor:
            assert guiding.negative is not None and guiding.positive.shape == guiding.negative.shape
            assert torch.allclose(guiding.again(), guiding.positive, atol=1e-3)
            return guiding.negative + guiding.scale / 2 * (guiding.positive - guiding.negative)

        return halved

    plan = make_plan(guidance=6.0)
    halved = run(options, for_extension(plan), Modifier("mine", guidance=(wrap,)))[0]
    assert np.array_equal(halved[0], run(options, plan.replace(guidance=3.0))[0][0])


def test_a_combination_is_asked_without_guidance_too(options: EngineOptions, make_plan: PlanMaker) -> None:
    asked: list[bool] = []

    def wrap(combine: Combine, run: Run) -> Combine:
        def noted(guiding: Guiding) -> torch.Tensor:
            asked.append(guiding.negative is None)
            return combine(guiding)

        return noted

    run(options, for_extension(make_plan(guidance=1.0, steps=2)), Modifier("mine", guidance=(wrap,)))
    assert asked == [True, True]


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [(ValueError("oh"), GenerationError, "Extension mine failed"), (BadRequest("Too large."), BadRequest, "Too large")],
)
def test_errors_are_told_as_the_extensions_own(
    options: EngineOptions, make_plan: PlanMaker, error: Exception, kind: type[EaselError], words: str
) -> None:
    @contextmanager
    def enter(run: Run) -> Iterator[None]:
        raise error
        yield

    engine = Engine(options, [Modifier("mine", patches=(enter,))])
    with pytest.raises(kind, match=words):
        list(engine.run(for_extension(make_plan()), Control()))
    assert [item for item in engine.run(make_plan(), Control()) if isinstance(item, ImageReady)]


def test_errors_in_calls_are_told_as_the_extensions_own(options: EngineOptions, make_plan: PlanMaker) -> None:
    def wrap(denoise: Denoise, run: Run) -> Denoise:
        return lambda latents, sigma: denoise(latents, sigma) + {}["nothing"]

    engine = Engine(options, [Modifier("mine", wraps=(wrap,))])
    with pytest.raises(GenerationError, match="Extension mine failed: KeyError"):
        list(engine.run(for_extension(make_plan()), Control()))


def test_errors_of_the_engine_are_no_extensions_fault(options: EngineOptions, make_plan: PlanMaker) -> None:
    @contextmanager
    def enter(run: Run) -> Iterator[None]:
        def fail(*_: object) -> None:
            raise ZeroDivisionError("deep inside")

        handle = run.network.register_forward_pre_hook(fail)
        try:
            yield
        finally:
            handle.remove()

    def wrap(denoise: Denoise, run: Run) -> Denoise:
        return lambda latents, sigma: denoise(latents, sigma)

    engine = Engine(options, [Modifier("mine", patches=(enter,), wraps=(wrap,))])
    with pytest.raises(GenerationError, match="The engine failed: ZeroDivisionError"):
        list(engine.run(for_extension(make_plan()), Control()))


def test_what_is_entered_is_left_when_a_later_extension_fails(options: EngineOptions, make_plan: PlanMaker) -> None:
    order: list[str] = []

    @contextmanager
    def enter(run: Run) -> Iterator[None]:
        order.append("in")
        try:
            yield
        finally:
            order.append("out")

    def fail(run: Run) -> Any:
        raise RuntimeError("broken")

    plan = make_plan().replace(extensions={"mine": {}, "other": {}})
    engine = Engine(options, [Modifier("other", patches=(fail,)), Modifier("mine", patches=(enter,))])
    with pytest.raises(GenerationError, match="Extension other failed"):
        list(engine.run(plan, Control()))
    assert order == ["in", "out"]


def test_a_network_may_lodge_beside_the_model(options: EngineOptions, make_plan: PlanMaker) -> None:
    models: list[Resident] = []

    @contextmanager
    def enter(run: Run) -> Iterator[None]:
        models.append(run.model)
        with run.lodge("guest", torch.nn.Linear(2, 2)) as guest:
            assert run.model.network("guest") is guest
            yield

    run(options, for_extension(make_plan()), Modifier("mine", patches=(enter,)))
    assert "guest" not in models[0].parts


def test_notes_reach_the_user_once(options: EngineOptions, make_plan: PlanMaker) -> None:
    def wrap(denoise: Denoise, run: Run) -> Denoise:
        run.note("Something to know.")
        return denoise

    notes = run(options, for_extension(make_plan(steps=3)), Modifier("mine", wraps=(wrap,)))[1]
    assert notes == ["Something to know."]


def test_finished_pictures_may_be_changed(options: EngineOptions, make_plan: PlanMaker) -> None:
    def change(picture: Image.Image, run: ImageRun) -> Image.Image:
        return Image.new("RGB", picture.size, (run.facts["red"], 0, run.image.index))

    plan = for_extension(make_plan(count=2), red=200)
    pictures = run(options, plan, Modifier("mine", image_changes=(change,)))[0]
    assert [tuple(picture[0, 0]) for picture in pictures] == [(200, 0, 0), (200, 0, 1)]


def test_a_part_is_painted_once_more(options: EngineOptions, make_plan: PlanMaker) -> None:
    def change(picture: Image.Image, run: ImageRun) -> Image.Image:
        mask = Image.new("L", picture.size, 0)
        mask.paste(255, (0, 0, picture.width // 2, picture.height))
        return run.paint(picture, mask, prompt="a dog", strength=1.0, mask_blur=0, area="whole", steps=2)

    plan = make_plan(steps=2)
    before = run(options, plan)[0][0]
    after = run(options, for_extension(plan), Modifier("mine", image_changes=(change,)))[0][0]
    half = before.shape[1] // 2
    assert np.array_equal(before[:, half + 8 :], after[:, half + 8 :])
    assert np.abs(before[:, : half - 8].astype(int) - after[:, : half - 8]).mean() > 1


def test_a_picture_stays_when_its_change_fails(options: EngineOptions, make_plan: PlanMaker) -> None:
    def change(picture: Image.Image, run: ImageRun) -> Image.Image:
        raise KeyError("no")

    pictures, notes = run(options, for_extension(make_plan()), Modifier("mine", image_changes=(change,)))
    assert np.array_equal(pictures[0], run(options, make_plan())[0][0])
    assert len(notes) == 1 and "Extension mine failed" in notes[0]


def sample(denoise: Denoise, latents: torch.Tensor, sigmas: Sequence[float], *_: object) -> Iterator[Step]:
    """Euler's steps."""
    for index, (sigma, lower) in enumerate(pairwise(sigmas)):
        denoised = denoise(latents, sigma)
        latents = denoised + (latents - denoised) * (lower / sigma)
        yield Step(index, latents, denoised)


def test_a_sampler_and_a_schedule_stand_in_for_the_plans(options: EngineOptions, make_plan: PlanMaker) -> None:
    given: list[tuple[int, float, float]] = []

    def sigmas(steps: int, lowest: float, highest: float) -> list[float]:
        given.append((steps, lowest, highest))
        return find_sigmas("Euler", "Karras", steps, NoiseLevels(NoiseSchedule()))[:-1]

    mine = Modifier("mine", samplers={"Plain": sample}, schedules={"Mine": sigmas})
    asked = make_plan(extra=ExtraSampling(sampler="Plain", schedule="Mine"))
    pictures = run(options, asked, mine)[0]
    assert np.array_equal(pictures[0], run(options, make_plan(schedule="Karras"))[0][0])
    assert given[0][0] == 4 and 0 < given[0][1] < given[0][2]


def test_a_schedule_that_does_not_fall_is_refused(options: EngineOptions, make_plan: PlanMaker) -> None:
    mine = Modifier("mine", schedules={"Mine": lambda steps, lowest, highest: [1.0] * steps})
    with pytest.raises(GenerationError, match="falling noise levels"):
        run(options, make_plan(extra=ExtraSampling(schedule="Mine")), mine)


def test_an_extension_that_is_gone_is_said(options: EngineOptions, make_plan: PlanMaker) -> None:
    with pytest.raises(GenerationError, match="Extension mine is not there"):
        run(options, for_extension(make_plan()))


def test_what_is_gone_is_said(options: EngineOptions, make_plan: PlanMaker) -> None:
    with pytest.raises(GenerationError, match="'Plain'"):
        run(options, make_plan(extra=ExtraSampling(sampler="Plain")))
