"""How large the images become: A1111's rules for the second pass, and sizes that follow from pictures."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.planner_parts import FakeShelf
from webui import planner
from webui.domain.models import Family, ModelInfo
from webui.domain.passes import Hires
from webui.domain.plan import Plan
from webui.domain.request import GenerationRequest
from webui.domain.start import FromExtendedImage, FromImage, FromMaskedImage, FromTiles, Start
from webui.errors import BadRequest
from webui.planner.sizes import find_hires_size
from webui.settings import Settings

MODEL = ModelInfo(name="m", path=Path("/m"), family=Family.SD1, layout="diffusers", sha256="ab" * 32)
PICTURE = "1" * 64


def plan(start: Start, size: tuple[int, int] = (128, 96), **asked: object) -> Plan:
    shelf = FakeShelf(MODEL, size=size)
    return planner.plan_generation(GenerationRequest(start=start, **asked), Settings(), shelf, lambda: 1)


@pytest.mark.parametrize(
    ("asked", "enlarged", "left"),
    [
        (Hires(scale=2), (1024, 1536), (1024, 1536)),
        (Hires(scale=1.3), (664, 992), (664, 992)),
        (Hires(width=1024), (1024, 1536), (1024, 1536)),
        (Hires(height=768), (512, 768), (512, 768)),
        (Hires(width=1024, height=1024), (1024, 1536), (1024, 1024)),
        (Hires(width=512, height=1536), (1024, 1536), (512, 1536)),
        (Hires(width=1030, height=1546), (1024, 1536), (1024, 1544)),
    ],
)
def test_the_second_pass_follows_a1111(asked: Hires, enlarged: tuple[int, int], left: tuple[int, int]) -> None:
    found, cropped = find_hires_size(asked, (512, 768))
    assert cropped == left
    assert all(one >= other for one, other in zip(found, cropped, strict=True)), "nothing is left to be invented"
    assert all(abs(one - other) <= 8 for one, other in zip(found, enlarged, strict=True))


def test_resize_by_takes_the_pictures_size() -> None:
    resolved = plan(FromImage(images=(PICTURE,), scale=1.5), size=(130, 100), width=512, height=512)
    assert (resolved.width, resolved.height) == (192, 144)


def test_a_mask_can_be_resized_by_too() -> None:
    resolved = plan(FromMaskedImage(images=(PICTURE,), mask=PICTURE, scale=2))
    assert (resolved.width, resolved.height) == (256, 192)


@pytest.mark.parametrize("scale", [0.05, 4])
def test_a_scale_that_leads_nowhere_names_its_field(scale: float) -> None:
    with pytest.raises(BadRequest, match="each side must be from 64 to 4096") as caught:
        plan(FromImage(images=(PICTURE,), scale=scale), size=(1100, 1100))
    assert caught.value.field == "scale"


def test_outpainting_grows_the_picture() -> None:
    resolved = plan(FromExtendedImage(images=(PICTURE,), left=64, down=32), size=(128, 90), width=512, height=512)
    assert (resolved.width, resolved.height) == (192, 128)


def test_outpainting_nothing_is_refused() -> None:
    with pytest.raises(BadRequest, match="Name a side"):
        plan(FromExtendedImage(images=(PICTURE,)))


def test_a_finished_picture_keeps_its_size_for_the_second_pass() -> None:
    resolved = plan(FromImage(images=(PICTURE,)), size=(200, 120), width=512, height=512, hires=Hires(scale=2))
    assert (resolved.width, resolved.height) == (200, 120)
    assert resolved.size == (400, 240)


def test_tiles_cover_the_enlarged_picture() -> None:
    resolved = plan(FromTiles(images=(PICTURE,), factor=2, overlap=32), size=(256, 160), width=256, height=256)
    assert resolved.tiles is not None
    assert (resolved.tiles.width, resolved.tiles.height, resolved.tiles.count) == (512, 320, 3 * 2)
    assert resolved.size == (512, 320)
    assert len(resolved.batches) == 1


def test_tiles_smaller_than_their_overlap_are_refused() -> None:
    with pytest.raises(BadRequest, match="cannot overlap by 64"):
        plan(FromTiles(images=(PICTURE,), overlap=64), width=64, height=512)


def test_the_cost_is_that_of_the_largest_pass() -> None:
    asked = GenerationRequest(width=1024, height=1024, batch_size=8, hires=Hires(scale=4))
    with pytest.raises(BadRequest, match="4096×4096 is too large"):
        planner.plan_generation(asked, Settings(), FakeShelf(MODEL), lambda: 1)
