from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.engine.conftest import PlanMaker
from tests.tiny_upscalers import compact_weights, write
from webui.domain.events import ImageFailed, ImageSkipped, Loading, Stepped
from webui.domain.plan import Plan, TilesPlan
from webui.domain.start import FromImage, FromTiles
from webui.domain.upscaling import UpscalerRef
from webui.engine import tiles
from webui.engine.engine import Control, Engine, ImageReady
from webui.engine.upscale import cut
from webui.planner.sizes import _count_tiles

PICTURE = "a" * 64
LANCZOS = UpscalerRef(name="Lanczos", kind="plain")


def photo(width: int, height: int, seed: int = 3) -> Image.Image:
    numbers = np.random.default_rng(seed).integers(0, 256, (5, 5, 3), dtype=np.uint8)
    return Image.fromarray(numbers).resize((width, height), Image.Resampling.BICUBIC)


def tiled(
    make_plan: PlanMaker, width: int, height: int, overlap: int = 16, strength: float = 0.5,
    upscaler: UpscalerRef = LANCZOS, **changes: Any,
) -> Plan:  # fmt: skip
    count = len(cut(width, 64, overlap)) * len(cut(height, 64, overlap))
    return make_plan(
        start=FromTiles(images=(PICTURE,), strength=strength, overlap=overlap),
        tiles=TilesPlan(width=width, height=height, upscaler=upscaler, count=count),
        **changes,
    )


def run(engine: Engine, plan: Plan, picture: Image.Image, control: Control | None = None) -> list[Any]:
    return list(engine.run(plan, control or Control(), {PICTURE: picture}))


def of_kind(happened: list[Any], kind: type) -> list[Any]:
    return [each for each in happened if isinstance(each, kind)]


def difference(one: Image.Image, other: Image.Image) -> int:
    return int(np.abs(np.asarray(one).astype(int) - np.asarray(other)).max())


@pytest.mark.parametrize(("width", "height", "overlap"), [(160, 112, 16), (128, 64, 0), (104, 72, 56), (64, 64, 8)])
def test_tiles_of_a_picture_make_that_picture_again(width: int, height: int, overlap: int) -> None:
    picture = photo(width, height)
    columns, rows = cut(width, 64, overlap), cut(height, 64, overlap)
    parts = [picture.crop((left, top, right, bottom)) for top, bottom in rows for left, right in columns]
    assert difference(tiles.join(parts, columns, rows), picture) <= 1


def test_tiles_fade_into_each_other() -> None:
    columns, rows = [(0, 64), (32, 96)], [(0, 64)]
    joined = tiles.join([Image.new("RGB", (64, 64), each) for each in ("black", "white")], columns, rows)
    line = np.asarray(joined)[10, :, 0].astype(int)
    assert line[:40].max() == 0 and line[56:].min() == 255
    assert (np.diff(line) >= 0).all() and np.diff(line).max() < 20


@pytest.mark.parametrize(("length", "overlap"), [(64, 8), (72, 8), (200, 16), (512, 48), (40, 8)])
def test_the_plan_counts_the_tiles_that_are_cut(length: int, overlap: int) -> None:
    assert len(cut(length, 64, overlap)) == _count_tiles(length, 64, overlap)


def test_each_tile_is_painted_as_a_picture_of_its_own(engine: Engine, make_plan: PlanMaker) -> None:
    plan = tiled(make_plan, 128, 64, overlap=0)
    enlarged = photo(40, 20).resize((128, 64), Image.Resampling.LANCZOS)
    (found,) = of_kind(run(engine, plan, photo(40, 20)), ImageReady)
    for number, left in enumerate((0, 64)):
        single = make_plan(start=FromImage(images=(PICTURE,), strength=0.5), seed=7 + number)
        (expected,) = of_kind(run(engine, single, enlarged.crop((left, 0, left + 64, 64))), ImageReady)
        assert difference(found.image.crop((left, 0, left + 64, 64)), expected.image) <= 1, f"tile {number}"


def test_steps_count_through_all_tiles_and_batches_of_tiles(engine: Engine, make_plan: PlanMaker) -> None:
    plan = tiled(make_plan, 112, 112, batch_size=3)  # four tiles, in a batch of three and one of one
    happened = run(engine, plan, photo(56, 56))
    assert [(each.step, each.steps) for each in of_kind(happened, Stepped)] == [(step, 6) for step in range(1, 7)]
    assert plan.total_steps == 6
    (result,) = of_kind(happened, ImageReady)
    assert (result.index, result.image.size) == (0, (112, 112))


def test_the_batch_size_does_not_change_the_picture(engine: Engine, make_plan: PlanMaker) -> None:
    found = [
        of_kind(run(engine, tiled(make_plan, 112, 64, batch_size=size), photo(56, 32)), ImageReady)[0].image
        for size in (1, 2)
    ]
    assert difference(*found) <= 1


def test_several_images_have_seeds_of_their_own(engine: Engine, make_plan: PlanMaker) -> None:
    plan = tiled(make_plan, 112, 64, count=2, batch_size=2)
    happened = run(engine, plan, photo(56, 32))
    first, second = of_kind(happened, ImageReady)
    assert (first.index, second.index) == (0, 1) and difference(first.image, second.image) > 10
    assert {(each.batch, each.batches) for each in of_kind(happened, Stepped)} == {(0, 2), (1, 2)}


def test_a_small_picture_is_one_tile_as_small(engine: Engine, make_plan: PlanMaker) -> None:
    (result,) = of_kind(run(engine, tiled(make_plan, 40, 128), photo(20, 64)), ImageReady)
    assert result.image.size == (40, 128)


def test_a_network_enlarges_the_picture_first(tmp_path: Path, engine: Engine, make_plan: PlanMaker) -> None:
    path = write(tmp_path / "x2.safetensors", compact_weights(2))
    upscaler = UpscalerRef(name="x2", kind="network", path=path, sha256="x2")
    happened = run(engine, tiled(make_plan, 112, 64, upscaler=upscaler, strength=0.3), photo(56, 32))
    plain = run(engine, tiled(make_plan, 112, 64, strength=0.3), photo(56, 32))
    assert Loading(model="x2") in happened
    assert difference(of_kind(happened, ImageReady)[0].image, of_kind(plain, ImageReady)[0].image) > 10


def stop_after(engine: Engine, plan: Plan, picture: Image.Image, steps: int, flag: str) -> list[Any]:
    control, happened = Control(), []
    for each in engine.run(plan, control, {PICTURE: picture}):
        happened.append(each)
        if len(of_kind(happened, Stepped)) == steps:
            setattr(control, flag, True)
    return happened


def test_an_interrupted_image_keeps_what_was_not_painted(engine: Engine, make_plan: PlanMaker) -> None:
    plan = tiled(make_plan, 128, 64, overlap=0, count=2, batch_size=1)
    happened = stop_after(engine, plan, photo(64, 32), steps=3, flag="interrupted")
    (result,) = of_kind(happened, ImageReady)
    enlarged = photo(64, 32).resize((128, 64), Image.Resampling.LANCZOS)
    assert result.index == 0
    assert difference(result.image.crop((0, 0, 64, 64)), enlarged.crop((0, 0, 64, 64))) > 10
    plan = tiled(make_plan, 192, 64, overlap=0, batch_size=1)
    (result,) = of_kind(stop_after(engine, plan, photo(96, 32), steps=3, flag="interrupted"), ImageReady)
    enlarged = photo(96, 32).resize((192, 64), Image.Resampling.LANCZOS)
    assert result.image.crop((128, 0, 192, 64)) == enlarged.crop((128, 0, 192, 64))


def test_a_skipped_image_is_given_up_and_the_next_one_painted(engine: Engine, make_plan: PlanMaker) -> None:
    plan = tiled(make_plan, 128, 64, count=2, batch_size=1)
    happened = stop_after(engine, plan, photo(64, 32), steps=1, flag="skipped")
    assert [each.index for each in of_kind(happened, ImageSkipped)] == [0]
    assert [each.index for each in of_kind(happened, ImageReady)] == [1]


def test_an_image_whose_tile_fails_has_failed(
    engine: Engine, make_plan: PlanMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = tiles.generate

    def fail_once(plan: Plan, models: Any, control: Control, inputs: Mapping[str, Image.Image]) -> Iterator[Any]:
        if plan.images[0].seed == 7:
            yield ImageFailed(index=2, message="NaN", hint="Use another model.")
        else:
            yield from whole(plan, models, control, inputs)

    monkeypatch.setattr(tiles, "generate", fail_once)
    happened = run(engine, tiled(make_plan, 128, 64, count=2, batch_size=1), photo(64, 32))
    assert of_kind(happened, ImageFailed) == [ImageFailed(index=0, message="NaN", hint="Use another model.")]
    assert [each.index for each in of_kind(happened, ImageReady)] == [1]


def test_transparent_pictures_stand_on_their_background(engine: Engine, make_plan: PlanMaker) -> None:
    plan = tiled(make_plan, 128, 64, strength=0.0)
    nothing = Image.new("RGBA", (64, 32), (0, 0, 0, 0))
    black = plan.replace(start=plan.start.replace(background="#000000"))
    on_white = of_kind(run(engine, plan, nothing), ImageReady)[0].image
    assert on_white == of_kind(run(engine, plan, Image.new("RGB", (64, 32), "white")), ImageReady)[0].image
    on_black = of_kind(run(engine, black, nothing), ImageReady)[0].image
    assert on_black == of_kind(run(engine, plan, Image.new("RGB", (64, 32), "black")), ImageReady)[0].image
