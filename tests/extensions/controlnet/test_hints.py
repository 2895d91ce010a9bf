from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw

from extensions.controlnet.preprocessors.catalog import find_preprocessor
from extensions.controlnet.preprocessors.hints import fit_mask, fit_picture, make_hint
from extensions.controlnet.preprocessors.sizes import is_drawn_in_lines, pixel_perfect_resolution, thin, to_pixels

MODES = ("just_resize", "crop", "fill")


def rectangle(width: int = 64, height: int = 64) -> Image.Image:
    """Return a drawing of one line around the middle half, as canny makes it."""
    drawing = Image.new("L", (width, height))
    ImageDraw.Draw(drawing).rectangle((width // 4, height // 4, width * 3 // 4, height * 3 // 4), outline=255)
    return drawing.convert("RGB")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("size", [(64, 64), (128, 128), (128, 64), (64, 200), (17, 23), (1, 1)])
@pytest.mark.parametrize("picture", [rectangle(), rectangle(90, 33), Image.new("RGB", (1, 77), "red")])
def test_hints_have_the_size_of_the_image(mode: str, size: tuple[int, int], picture: Image.Image) -> None:
    assert fit_picture(picture, size, mode).size == size
    assert fit_mask(picture, size, mode).size == size


@pytest.mark.parametrize("side", [40, 96, 128, 200])
def test_lines_stay_whole_and_one_pixel_wide(side: int) -> None:
    fitted = np.asarray(fit_picture(rectangle(), (side, side), "just_resize"))[..., 0]
    assert set(np.unique(fitted)) == {0, 255}
    assert is_drawn_in_lines(fitted)
    middle = fitted[side // 2]
    assert (middle > 0).sum() == 2  # the left and the right side of the rectangle, once each
    assert abs(np.nonzero(middle)[0][0] - side / 4) <= 1.5
    row = np.nonzero(fitted[:, side // 2])[0][0]
    across = fitted[max(0, row - 1) : row + 2, side * 3 // 8 : side * 5 // 8].max(axis=0)
    assert across.all()  # no gap


def test_a_line_of_three_pixels_is_no_line_of_one() -> None:
    thick = Image.new("RGB", (64, 64))
    ImageDraw.Draw(thick).rectangle((10, 10, 50, 50), outline="white", width=8)
    assert not is_drawn_in_lines(to_pixels(thick))
    assert is_drawn_in_lines(to_pixels(rectangle()))
    assert not is_drawn_in_lines(to_pixels(Image.new("RGB", (8, 8))))


def test_thinning_keeps_the_middle_of_a_bar() -> None:
    bar = np.zeros((21, 41), np.uint8)
    bar[8:13, 5:36] = 1
    thinned = thin(bar)
    assert thinned[10, 10:30].all()
    assert thinned.sum(axis=0).max() == 1
    assert not thinned[bar == 0].any()


def test_labels_keep_their_colours() -> None:
    labels = Image.new("RGB", (64, 64), (120, 120, 120))
    ImageDraw.Draw(labels).rectangle((16, 16, 47, 47), fill=(6, 230, 230))
    fitted = fit_picture(labels, (150, 110), "just_resize")
    assert {colour for _, colour in fitted.getcolors(9999)} == {(120, 120, 120), (6, 230, 230)}
    assert fitted.getpixel((75, 55)) == (6, 230, 230)


def test_photos_are_smooth_when_they_grow() -> None:
    ramp = Image.fromarray(np.repeat(np.linspace(0, 255, 32).astype(np.uint8)[None], 32, axis=0))
    fitted = np.asarray(fit_picture(ramp, (128, 128), "just_resize"))[64, :, 0].astype(int)
    assert len(np.unique(fitted)) > 60
    assert np.abs(np.diff(fitted)).max() <= 6


def test_cropping_keeps_the_middle_and_filling_keeps_everything() -> None:
    wide = Image.new("RGB", (200, 100), "blue")
    wide.paste("red", (0, 0, 20, 100))
    cropped = fit_picture(wide, (100, 100), "crop")
    assert cropped.getcolors() == [(10_000, (0, 0, 255))]
    filled = fit_picture(wide, (100, 100), "fill")
    assert filled.getpixel((2, 50)) == (255, 0, 0)
    assert filled.getpixel((50, 2)) == (0, 0, 255)  # the colour that most of the border has
    stretched = fit_picture(wide, (100, 100), "just_resize")
    assert stretched.getpixel((4, 50)) == (255, 0, 0)


def test_a_strip_is_cropped_before_it_is_scaled() -> None:
    strip = np.zeros((8001, 1, 3), np.uint8)
    strip[4000] = 255
    cropped = np.asarray(fit_picture(Image.fromarray(strip), (256, 256), "crop"))
    assert cropped.shape == (256, 256, 3)  # and not two million rows on the way
    assert cropped[100:156].min() > 200


def test_borders_added_to_a_drawing_are_black() -> None:
    filled = np.asarray(fit_picture(rectangle(64, 32), (64, 64), "fill"))
    assert not filled[:15].any()
    assert filled[16:48].any()


def test_masks_stay_soft_and_borders_are_what_is_asked() -> None:
    mask = Image.new("L", (100, 50))
    ImageDraw.Draw(mask).rectangle((40, 10, 60, 40), fill=255)
    inside = fit_mask(mask, (100, 100), "fill", outside=255)
    assert inside.getpixel((50, 5)) == 255
    assert inside.getpixel((5, 50)) == 0
    assert inside.getpixel((50, 50)) == 255
    assert fit_mask(mask, (100, 100), "fill").getpixel((50, 5)) == 0
    assert fit_mask(mask, (50, 50), "crop").getpixel((25, 25)) == 255
    assert fit_mask(mask, (50, 50), "just_resize").getpixel((25, 25)) == 255


@pytest.mark.parametrize(
    ("picture", "image", "mode", "resolution"),
    [
        ((100, 100), (512, 512), "crop", 512),
        ((200, 100), (512, 512), "crop", 512),  # twice as wide as needed: its height is that of the image
        ((200, 100), (512, 512), "fill", 256),  # its width is that of the image
        ((100, 200), (512, 768), "just_resize", 512),
        ((1000, 1000), (64, 64), "crop", 64),
        ((1, 1), (8, 8), "fill", 8),
    ],
)
def test_pixel_perfect_resolution_is_the_shorter_side_after_fitting(
    picture: tuple[int, int], image: tuple[int, int], mode: str, resolution: int
) -> None:
    assert pixel_perfect_resolution(picture, image, mode) == resolution


def test_pixel_perfect_maps_are_not_scaled_again() -> None:
    picture = Image.new("RGB", (80, 60), "white")
    ImageDraw.Draw(picture).ellipse((20, 10, 60, 50), fill="black")
    canny = find_preprocessor("canny")
    hint = make_hint(picture, (40, 30), "crop", canny, {}, pixel_perfect=True)
    small = canny.run(picture, canny.options.model_construct(resolution=30, threshold_a=100, threshold_b=200))
    assert hint.tobytes() == small.tobytes()
    assert make_hint(picture, (40, 30), "crop", canny, {"resolution": 512}).size == (40, 30)
