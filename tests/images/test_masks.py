"""Masks: what is read from an upload, which box surrounds one, and what fills a hole."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw

from webui.images import masks


def square(box: tuple[int, int, int, int], size: tuple[int, int] = (100, 80)) -> Image.Image:
    mask = Image.new("L", size)
    ImageDraw.Draw(mask).rectangle((box[0], box[1], box[2] - 1, box[3] - 1), fill=255)
    return mask


def test_a_mask_is_the_alpha_where_there_is_one_and_else_the_brightness() -> None:
    bright = Image.new("RGB", (2, 1), "black")
    bright.putpixel((1, 0), (255, 255, 255))
    assert list(masks.read_mask(bright, soft=False).tobytes()) == [0, 255]
    clear = Image.new("RGBA", (3, 1), (255, 255, 255, 0))
    clear.putpixel((1, 0), (0, 0, 0, 255))
    clear.putpixel((2, 0), (0, 0, 0, 100))
    assert list(masks.read_mask(clear, soft=False).tobytes()) == [0, 255, 0]
    assert list(masks.read_mask(clear, soft=True).tobytes()) == [0, 255, 100]
    opaque = Image.new("RGBA", (1, 1), (255, 255, 255, 255))
    assert list(masks.read_mask(opaque, soft=False).tobytes()) == [255]


def test_blur_reaches_out_and_zero_changes_nothing() -> None:
    mask = square((40, 30, 60, 50))
    assert masks.blur(mask, 0).tobytes() == mask.tobytes()
    blurred = masks.blur(mask, 4)
    assert blurred.getpixel((50, 40)) > 240 and blurred.getpixel((0, 0)) == 0
    assert 100 < blurred.getpixel((40, 40)) < 160  # the edge itself is half in
    assert 0 < blurred.getpixel((37, 40)) < blurred.getpixel((40, 40))


@pytest.mark.parametrize(
    ("box", "padding", "aspect", "expected"),
    [
        ((40, 30, 60, 50), 0, 1.0, (40, 30, 60, 50)),
        ((40, 30, 60, 50), 10, 1.0, (30, 20, 70, 60)),
        ((40, 30, 60, 50), 0, 2.0, (30, 30, 70, 50)),
        ((40, 30, 60, 50), 0, 0.5, (40, 20, 60, 60)),
        ((0, 0, 10, 10), 5, 2.0, (0, 0, 30, 15)),  # moved, because the picture ends
        ((90, 70, 100, 80), 0, 2.0, (80, 70, 100, 80)),
        ((0, 0, 100, 80), 32, 1.0, (0, 0, 100, 80)),  # as wide as the picture: no more is there
    ],
)
def test_surroundings(
    box: tuple[int, int, int, int], padding: int, aspect: float, expected: tuple[int, int, int, int]
) -> None:
    assert masks.surroundings(square(box), padding, aspect) == expected


def test_an_empty_mask_has_no_surroundings() -> None:
    assert masks.surroundings(Image.new("L", (8, 8)), 32, 1.0) is None


def test_a_hole_is_filled_with_the_colours_around_it_and_nothing_else_changes() -> None:
    image = Image.new("RGB", (101, 80), (200, 30, 30))
    image.paste((30, 30, 200), (50, 0, 101, 80))
    mask = square((20, 20, 30, 60), image.size)
    image.paste((0, 255, 0), (20, 20, 30, 60))
    filled = np.asarray(masks.fill_masked(image, mask), np.int16)
    outside = np.asarray(mask) == 0
    assert (filled[outside] == np.asarray(image)[outside]).all()
    assert np.abs(filled[~outside] - (200, 30, 30)).max() <= 40, "the green is gone, the near red has come"


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (64, 3)])
def test_a_picture_that_is_all_hole_becomes_grey(size: tuple[int, int]) -> None:
    filled = masks.fill_masked(Image.new("RGB", size, "red"), Image.new("L", size, 255))
    assert filled.size == size and set(filled.tobytes()) <= {127, 128}
