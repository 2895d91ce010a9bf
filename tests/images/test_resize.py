"""The four ways from one size to another."""

from __future__ import annotations

import pytest
from PIL import Image

from webui.domain.start import Resize
from webui.images.resize import resize

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


@pytest.fixture
def stripes() -> Image.Image:
    """90×30: red, green and blue, side by side."""
    image = Image.new("RGB", (90, 30), RED)
    image.paste(GREEN, (30, 0, 60, 30))
    image.paste(BLUE, (60, 0, 90, 30))
    return image


@pytest.mark.parametrize("mode", ["just_resize", "crop", "fill", "latent"])
def test_the_same_size_is_the_same_picture(stripes: Image.Image, mode: Resize) -> None:
    assert resize(stripes, 90, 30, mode).tobytes() == stripes.tobytes()


def test_stretching_keeps_all_of_it(stripes: Image.Image) -> None:
    square = resize(stripes, 60, 60, "just_resize")
    assert [square.getpixel((x, 30)) for x in (5, 30, 55)] == [RED, GREEN, BLUE]


def test_cropping_keeps_the_middle(stripes: Image.Image) -> None:
    square = resize(stripes, 60, 60, "crop")
    assert square.size == (60, 60)
    assert [square.getpixel((x, 30)) for x in (10, 30, 50)] == [GREEN] * 3


def test_filling_continues_the_edges(stripes: Image.Image) -> None:
    square = resize(stripes, 90, 90, "fill")
    assert [square.getpixel((x, y)) for y in (0, 45, 89) for x in (5, 45, 85)] == [RED, GREEN, BLUE] * 3
    wide = resize(stripes, 200, 30, "fill")
    assert [wide.getpixel((x, 15)) for x in (0, 100, 199)] == [RED, GREEN, BLUE]
    assert resize(Image.new("L", (3, 500), 9), 64, 64, "fill").tobytes() == bytes([9]) * 64 * 64


@pytest.mark.parametrize("mode", ["just_resize", "crop", "fill"])
@pytest.mark.parametrize("size", [(1, 1), (1, 4000), (333, 77)])
def test_any_size_comes_to_any_other(mode: Resize, size: tuple[int, int]) -> None:
    assert resize(Image.new("RGB", size), 64, 128, mode).size == (64, 128)
