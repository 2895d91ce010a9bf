from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.tiny_upscalers import compact_weights, write
from webui.domain.events import ImageFailed, ImageSkipped, Loading, Stepped
from webui.domain.plan import UpscaleImage, UpscalePlan
from webui.domain.upscaling import UpscalerRef
from webui.engine.engine import Control, Engine, ImageReady
from webui.engine.extras import covering_size
from webui.errors import BadFile, NotFound

LANCZOS = UpscalerRef(name="Lanczos", kind="plain")
NEAREST = UpscalerRef(name="Nearest", kind="plain")
PICTURE = Image.fromarray(np.random.default_rng(1).integers(0, 256, (40, 60, 3), dtype=np.uint8))


def plan(count: int = 1, upscaler: UpscalerRef = LANCZOS, **changes: Any) -> UpscalePlan:
    images = tuple(UpscaleImage(index=index, picture=f"{index:064x}") for index in range(count))
    return UpscalePlan(images=images, upscaler=upscaler, **changes)


def inputs(count: int = 1) -> dict[str, Image.Image]:
    return {f"{index:064x}": PICTURE for index in range(count)}


def of_kind(happened: list[Any], kind: type) -> list[Any]:
    return [each for each in happened if isinstance(each, kind)]


def enlarge(engine: Engine, plan: UpscalePlan) -> list[Image.Image]:
    happened = list(engine.run(plan, Control(), inputs(len(plan.images))))
    return [each.image for each in of_kind(happened, ImageReady)]


@pytest.fixture
def doubling(tmp_path: Path) -> UpscalerRef:
    path = write(tmp_path / "x2.safetensors", compact_weights(2))
    return UpscalerRef(name="x2", kind="network", path=path, sha256=str(tmp_path), tile=32)


@pytest.mark.parametrize("scale", [0.5, 1.0, 2.5, 8.0])
def test_by_a_factor(engine: Engine, scale: float) -> None:
    (result,) = enlarge(engine, plan(scale=scale))
    size = round(60 * scale), round(40 * scale)
    assert result == (PICTURE if scale == 1 else PICTURE.resize(size, Image.Resampling.LANCZOS))


def test_to_a_size_with_and_without_what_is_too_much(engine: Engine) -> None:
    whole = PICTURE.resize((150, 100), Image.Resampling.LANCZOS)
    assert enlarge(engine, plan(width=100, height=100, crop=False)) == [whole]
    assert enlarge(engine, plan(width=100, height=100)) == [whole.crop((25, 0, 125, 100))]


def test_a_covering_size_is_never_too_small() -> None:
    for width in range(8, 120, 7):
        for height in range(8, 120, 11):
            found = covering_size(plan(width=width, height=height), (67, 43))
            assert found[0] >= width and found[1] >= height
            assert found[0] == width or found[1] == height


def test_the_second_upscaler_has_its_share(engine: Engine) -> None:
    mixed = plan(scale=2, upscaler=LANCZOS, second_upscaler=NEAREST, second_share=0.25)
    one, other = enlarge(engine, plan(scale=2))[0], enlarge(engine, plan(scale=2, upscaler=NEAREST))[0]
    assert enlarge(engine, mixed) == [Image.blend(one, other, 0.25)]
    assert enlarge(engine, mixed.replace(second_share=0.0)) == [one]


def test_what_is_said_meanwhile(engine: Engine, doubling: UpscalerRef) -> None:
    happened = list(
        engine.run(plan(2, doubling, scale=2, second_upscaler=LANCZOS, second_share=0.5), Control(), inputs(2))
    )
    assert happened[0] == Loading(model="x2")
    assert len(of_kind(happened, Loading)) == 1
    tiles = 3 * 2
    for batch in (0, 1):
        steps = [each for each in of_kind(happened, Stepped) if each.batch == batch]
        assert [each.step for each in steps] == list(range(1, tiles + 2))
        assert {each.batches for each in steps} == {2} and steps[-1].step == steps[-1].steps
    assert [each.index for each in of_kind(happened, ImageReady)] == [0, 1]


class Gone(Mapping[str, Image.Image]):
    """Pictures of which one was removed meanwhile."""

    def __getitem__(self, name: str) -> Image.Image:
        if name == f"{1:064x}":
            raise NotFound("There is no stored picture.", hint="Upload it again.")
        return PICTURE

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


def test_one_picture_that_cannot_be_read_leaves_the_others(engine: Engine) -> None:
    happened = list(engine.run(plan(3), Control(), Gone()))
    assert of_kind(happened, ImageFailed) == [
        ImageFailed(index=1, message="There is no stored picture.", hint="Upload it again.")
    ]
    assert [each.index for each in of_kind(happened, ImageReady)] == [0, 2]


def test_an_upscaler_that_cannot_be_loaded_fails_the_job(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "cut.safetensors").write_bytes(b"\x10")
    upscaler = UpscalerRef(name="cut", kind="network", path=tmp_path / "cut.safetensors")
    with pytest.raises(BadFile, match=r"cut\.safetensors"):
        list(engine.run(plan(2, upscaler), Control(), inputs(2)))


@pytest.mark.parametrize(("flag", "skipped", "done"), [("skipped", [0], [1]), ("interrupted", [], [])])
def test_a_picture_under_way_can_be_given_up(
    engine: Engine, doubling: UpscalerRef, flag: str, skipped: list[int], done: list[int]
) -> None:
    control, happened = Control(), []
    for each in engine.run(plan(2, doubling, scale=2), control, inputs(2)):
        happened.append(each)
        if len(of_kind(happened, Stepped)) == 2:
            setattr(control, flag, True)
    assert [each.index for each in of_kind(happened, ImageSkipped)] == skipped
    assert [each.index for each in of_kind(happened, ImageReady)] == done
