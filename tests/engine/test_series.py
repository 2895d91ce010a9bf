"""Series of plans: equal to their parts, batches counted through, pictures handed on in chains."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

from webui.domain.events import ImageFailed, ImageSkipped, Stepped
from webui.domain.plan import Plan, SeriesPlan
from webui.domain.start import FromImage, FromMaskedImage, FromNoise
from webui.engine.control import Control
from webui.engine.engine import Engine, ImageReady

PlanMaker = Callable[..., Plan]
Number = Callable[..., Plan]
PICTURE, OTHER, MASK = "a" * 64, "b" * 64, "c" * 64
INPUTS = {
    PICTURE: Image.effect_mandelbrot((64, 64), (-2, -1.5, 1, 1.5), 50).convert("RGB"),
    OTHER: Image.linear_gradient("L").resize((64, 64)).convert("RGB"),
    MASK: Image.new("L", (64, 64), 255),
}


def series(*parts: Plan, chained: bool = False) -> SeriesPlan:
    """Return the parts with their images numbered through."""
    first, numbered = 0, []
    for part in parts:
        images = tuple(image.replace(index=first + place) for place, image in enumerate(part.images))
        numbered.append(part.replace(images=images))
        first += len(images)
    return SeriesPlan(script="test", parts=tuple(numbered), chained=chained)


def run(engine: Engine, plan: Plan | SeriesPlan, inputs: dict[str, Image.Image] = INPUTS) -> list[Any]:
    return list(engine.run(plan, Control(), inputs))


def pictures(happened: list[Any]) -> dict[int, np.ndarray]:
    return {item.index: np.asarray(item.image) for item in happened if isinstance(item, ImageReady)}


def test_a_series_is_its_parts(engine: Engine, make_plan: PlanMaker) -> None:
    parts = [
        make_plan(count=3, batch_size=2),
        make_plan(seed=20, steps=2, guidance=1.0, width=72),
        make_plan(seed=30, sampler="Euler a", start=FromImage(images=(PICTURE,))),
    ]
    happened = run(engine, series(*parts))
    alone = [picture for part in parts for picture in pictures(run(engine, part)).values()]
    made = pictures(happened)
    assert list(made) == [0, 1, 2, 3, 4]
    assert all((made[index] == picture).all() for index, picture in enumerate(alone))


def test_batches_count_through_all_parts(engine: Engine, make_plan: PlanMaker) -> None:
    plan = series(make_plan(count=3, batch_size=2, steps=2), make_plan(steps=1), make_plan(count=2, steps=1))
    stepped = [item for item in run(engine, plan) if isinstance(item, Stepped)]
    assert [(item.batch, item.batches, item.step, item.steps) for item in stepped] == [
        (0, 4, 1, 2), (0, 4, 2, 2), (1, 4, 1, 2), (1, 4, 2, 2), (2, 4, 1, 1), (3, 4, 1, 1),
    ]  # fmt: skip


def stop_at(engine: Engine, plan: SeriesPlan, batch: int, flag: str) -> list[Any]:
    control, happened = Control(), []
    for item in engine.run(plan, control, INPUTS):
        happened.append(item)
        if isinstance(item, Stepped) and (item.batch, item.step) == (batch, 1):
            setattr(control, flag, True)
    return happened


def test_interrupting_ends_the_series(engine: Engine, make_plan: PlanMaker) -> None:
    plan = series(make_plan(steps=3), make_plan(count=2, batch_size=1, steps=3), make_plan(steps=3))
    assert list(pictures(stop_at(engine, plan, 1, "interrupted"))) == [0, 1]


def test_skipping_gives_up_one_batch_of_one_part(engine: Engine, make_plan: PlanMaker) -> None:
    plan = series(make_plan(steps=3), make_plan(count=2, batch_size=1, steps=3), make_plan(steps=3))
    happened = stop_at(engine, plan, 1, "skipped")
    assert [item.index for item in happened if isinstance(item, ImageSkipped)] == [1]
    assert list(pictures(happened)) == [0, 2, 3]


def test_a_chain_hands_its_pictures_on(engine: Engine, make_plan: PlanMaker) -> None:
    """Two chains of three parts: image k of a part begins with image k of the part before."""
    first = make_plan(count=2, batch_size=1, start=FromImage(images=(PICTURE, OTHER), strength=0.5))
    second = make_plan(count=2, batch_size=2, seed=50, start=FromImage(images=(PICTURE, OTHER), strength=0.4))
    third = make_plan(count=2, seed=90, start=FromImage(images=(PICTURE, OTHER), strength=0.3))
    made = pictures(run(engine, series(first, second, third, chained=True)))
    for chain, reference in enumerate((PICTURE, OTHER)):
        picture = INPUTS[reference]
        for number, part in enumerate((first, second, third)):
            alone = make_plan(seed=part.images[chain].seed, start=part.start.replace(images=(PICTURE,)))
            happened = run(engine, alone, {PICTURE: picture})
            picture = next(item.image for item in happened if isinstance(item, ImageReady))
            shown = made[2 * number + chain].astype(int)
            # Within a batch sums may be rounded otherwise; a difference of 1 comes back larger from the next part.
            assert np.abs(shown - np.asarray(picture, int)).max() <= 1 + 4 * number


def test_a_chain_may_begin_with_noise_or_paint_under_a_mask(engine: Engine, make_plan: PlanMaker) -> None:
    masked = FromMaskedImage(images=(PICTURE,), mask=MASK, strength=0.4)
    made = pictures(run(engine, series(make_plan(), make_plan(seed=9, start=masked), chained=True)))
    first = Image.fromarray(pictures(run(engine, make_plan()))[0])
    alone = pictures(run(engine, make_plan(seed=9, start=masked), {**INPUTS, PICTURE: first}))[0]
    assert (made[1] == alone).all()


def test_a_skipped_picture_is_replaced_by_the_one_before(engine: Engine, make_plan: PlanMaker) -> None:
    start = FromImage(images=(PICTURE,), strength=0.8)
    parts = [make_plan(seed=seed, start=start) for seed in (1, 2, 3)]
    usual = pictures(run(engine, series(parts[0], parts[2], chained=True)))
    made = pictures(stop_at(engine, series(*parts, chained=True), 1, "skipped"))
    assert list(made) == [0, 2]
    assert (made[2] == usual[1]).all()
    first_skipped = pictures(stop_at(engine, series(*parts[:2], chained=True), 0, "skipped"))
    assert (first_skipped[1] == pictures(run(engine, parts[1]))[0]).all(), "it begins with what the first began with"


@pytest.mark.parametrize("count", [1, 2])
def test_a_chain_without_any_picture_fails_alone(engine: Engine, make_plan: PlanMaker, count: int) -> None:
    start = FromImage(images=(PICTURE,), strength=0.5)
    plan = series(
        make_plan(count=count, batch_size=1, start=FromNoise()),
        make_plan(count=count, batch_size=1, seed=5, start=start),
        chained=True,
    )
    happened = stop_at(engine, plan, 0, "skipped")
    failed = [item for item in happened if isinstance(item, ImageFailed)]
    assert [item.index for item in failed] == [count]
    assert "no picture to begin with" in failed[0].message
    assert list(pictures(happened)) == [1, 3][: 2 * (count - 1)]
