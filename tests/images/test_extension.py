"""Outpainting: where the picture lies on the larger canvas, what may be painted there, and how it is shown."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from webui.domain.start import FromExtendedImage
from webui.images.extension import Extended, extend

PICTURE = "a" * 64


def photo(width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(1).integers(0, 256, (height, width, 3), np.uint8))


def start(**fields: object) -> FromExtendedImage:
    return FromExtendedImage.model_validate({"images": (PICTURE,), **fields})


def numbers(image: Image.Image) -> np.ndarray:
    return np.asarray(image, np.int16)


def check(found: Extended, source: Image.Image, box: tuple[int, int, int, int]) -> None:
    """Check what must hold for every extension whose picture lies at `box`."""
    left, top, right, bottom = box
    assert (numbers(found.whole.crop(box)) == numbers(source)).all()
    new = np.ones((found.whole.height, found.whole.width), bool)
    new[top:bottom, left:right] = False
    assert (numbers(found.overlay)[new] == 255).all(), "what is new is shown as it was painted"
    assert (numbers(found.mask)[numbers(found.overlay) > 0] == 255).all(), "what is shown was painted"
    cells = numbers(found.mask).reshape(found.mask.height // 8, 8, found.mask.width // 8, 8)
    assert (cells.max((1, 3)) == cells.min((1, 3))).all(), "a latent is painted or not"


@pytest.mark.parametrize("overlap", [0, 8, 13, 128])
@pytest.mark.parametrize(
    ("sides", "size", "box"),
    [
        ({"left": 32}, (96, 48), (32, 0, 96, 48)),
        ({"right": 16, "down": 8}, (80, 56), (0, 0, 64, 48)),
        ({"left": 8, "right": 8, "up": 16, "down": 24}, (80, 88), (8, 16, 72, 64)),
    ],
)
def test_each_side_grows(
    sides: dict[str, int], size: tuple[int, int], box: tuple[int, int, int, int], overlap: int
) -> None:
    source = photo(64, 48)
    found = extend(source, size, start(overlap=overlap, **sides))
    assert {each.size for each in (found.whole, found.filled, found.mask, found.overlay)} == {size}
    check(found, source, box)
    if overlap == 0:
        inside = numbers(found.overlay.crop(box))
        assert (inside == 0).all()


def test_the_seam_is_a_ramp_along_the_new_sides_alone() -> None:
    overlay = numbers(extend(photo(64, 48), (96, 48), start(right=32, overlap=8)).overlay)
    assert (overlay == overlay[0]).all(), "top and bottom do not grow"
    assert overlay[0, 55] == 0 and overlay[0, 64] == 255
    assert (np.diff(overlay[0, 55:65]) > 0).all()


@pytest.mark.parametrize(
    ("sides", "size", "box"),
    [
        ({"right": 16}, (80, 56), (0, 0, 61, 51)),
        ({"left": 16}, (80, 56), (19, 0, 80, 51)),
        ({"left": 16, "up": 8}, (80, 64), (19, 13, 80, 64)),
    ],
)
def test_a_canvas_of_whole_latents_grows_a_little_more(
    sides: dict[str, int], size: tuple[int, int], box: tuple[int, int, int, int]
) -> None:
    source = photo(61, 51)
    check(extend(source, size, start(**sides)), source, box)


def test_pictures_of_another_size_are_brought_to_the_first_ones() -> None:
    found = extend(photo(128, 32), (96, 48), start(left=32))
    assert numbers(found.mask)[:, 40:].max() == 0


def test_what_painting_begins_with() -> None:
    source = photo(64, 48)
    original = extend(source, (96, 48), start(right=32, content="original")).filled
    assert (numbers(original)[:, 64:] == numbers(source)[:, 63:]).all(), "the last column goes on"
    filled = numbers(extend(source, (96, 48), start(right=32, content="fill")).filled)
    assert (filled[:, :64] == numbers(source)).all()
    assert (
        np.abs(np.diff(filled[:, 70:], axis=0)).mean() < np.abs(np.diff(numbers(original)[:, 70:], axis=0)).mean() / 4
    )
