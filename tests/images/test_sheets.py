"""Sheets are read by people: everything in its cell, nothing clipped, and never larger than what can be opened."""

from __future__ import annotations

import math

import pytest
from PIL import Image

from webui.domain.plan import SheetPlan
from webui.images.sheets import MAX_SIDE, Sheets, compose
from webui.images.titles import LEADING, SMALLEST, find_face, fit

COLOURS = ("#d00000", "#00a000", "#0000d0", "#d0a000", "#00a0a0", "#a000a0")
LONG = "v1-5-pruned-emaonly-with-a-very-long-name-indeed-and-then-some.safetensors [6ce0161689]"


def picture(number: int, width: int = 96, height: int = 64) -> Image.Image:
    return Image.new("RGB", (width, height), COLOURS[number])


def pictures(count: int) -> dict[int, Image.Image]:
    return {number: picture(number) for number in range(count)}


def rows_of(sheet: Image.Image, colour: str) -> tuple[int, int, int, int]:
    """Return the box (left, top, right, bottom) of all pixels of a colour."""
    wanted = Image.new("RGB", (1, 1), colour).getpixel((0, 0))
    mask = Image.new("L", sheet.size)
    mask.putdata([255 if pixel == wanted else 0 for pixel in sheet.get_flattened_data()])
    box = mask.getbbox()
    assert box is not None, f"{colour} is not on the sheet"
    return box


def test_a_plain_grid_puts_the_pictures_side_by_side_without_anything_else() -> None:
    sheet = compose(SheetPlan(columns=2, cells=(0, 1, 2), margin=10), pictures(3))
    assert sheet.size == (2 * 96 + 10, 2 * 64 + 10)
    assert rows_of(sheet, COLOURS[0]) == (0, 0, 96, 64)
    assert rows_of(sheet, COLOURS[1]) == (106, 0, 202, 64)
    assert rows_of(sheet, COLOURS[2]) == (0, 74, 96, 138)
    assert sheet.getpixel((201, 137)) == (255, 255, 255)  # the empty cell


def test_smaller_pictures_stand_in_the_middle_of_their_cells() -> None:
    sheet = compose(SheetPlan(columns=2, cells=(0, 1)), {0: picture(0), 1: picture(1, 48, 32)})
    assert sheet.size == (192, 64)
    assert rows_of(sheet, COLOURS[1]) == (96 + 24, 16, 96 + 72, 48)


def test_titles_get_room_of_their_own_and_cover_no_picture() -> None:
    plan = SheetPlan(
        columns=3, cells=tuple(range(6)), column_titles=(LONG, "Euler", "Größe"), row_titles=("Steps: 10", LONG),
        title="X/Y/Z plot",
    )  # fmt: skip
    sheet = compose(plan, pictures(6))
    for number in range(6):
        left, top, right, bottom = rows_of(sheet, COLOURS[number])
        whole = sheet.crop((left, top, right, bottom))
        assert whole.size == (96, 64)
        assert whole.getcolors() == [(96 * 64, whole.getpixel((0, 0)))]
    left, top, _, _ = rows_of(sheet, COLOURS[0])
    assert left > 0 and top > 0
    assert len(sheet.crop((left, 0, sheet.width, top)).getcolors(10_000) or []) > 1  # ink above
    assert len(sheet.crop((0, top, left, sheet.height)).getcolors(10_000) or []) > 1  # and beside


def test_titles_do_not_touch_the_edge_of_the_sheet() -> None:
    plan = SheetPlan(columns=1, cells=(0,), column_titles=("W" * 80,), row_titles=("Wg" * 60,), title="gW" * 90)
    sheet = compose(plan, pictures(1))
    left, top, _, _ = rows_of(sheet, COLOURS[0])
    edges = (0, 0, sheet.width, 1), (0, 0, 1, sheet.height), (sheet.width - 1, 0, sheet.width, top)
    for edge in (*edges, (0, sheet.height - 1, left, sheet.height)):
        assert sheet.crop(edge).convert("L").getextrema() == (255, 255)


def test_titles_of_rows_stay_in_their_rows() -> None:
    plan = SheetPlan(columns=1, cells=(0, 1), row_titles=("word " * 80, ""))
    sheet = compose(plan, pictures(2))
    left, top, _, _ = rows_of(sheet, COLOURS[1])
    assert sheet.crop((0, top, left, sheet.height)).convert("L").getextrema() == (255, 255)


def test_groups_of_columns_are_told_apart() -> None:
    plan = SheetPlan(columns=4, cells=(0, 1, 2, 3), column_titles=("a", "b") * 2, group_titles=("x", "y"))
    sheet = compose(plan, pictures(4))
    boxes = [rows_of(sheet, colour) for colour in COLOURS[:4]]
    assert boxes[1][0] == boxes[0][2] and boxes[3][0] == boxes[2][2]
    assert boxes[2][0] > boxes[1][2]


def test_one_title_may_stand_over_several_columns_and_rows() -> None:
    plan = SheetPlan(columns=4, cells=(0, 1, 2, 3), column_titles=("a", "b"))
    alone = SheetPlan(columns=4, cells=(0, 1, 2, 3))
    sheet, bare = compose(plan, pictures(4)), compose(alone, pictures(4))
    assert sheet.width == bare.width
    assert rows_of(sheet, COLOURS[3])[1] == sheet.height - 64


def test_a_sheet_that_would_be_too_large_is_made_of_smaller_pictures_and_says_so() -> None:
    plan = SheetPlan(columns=3, cells=tuple(range(6)), row_titles=("1", "2"))
    full = compose(plan, pictures(6))
    sheet = compose(plan, pictures(6), max_pixels=20_000)
    assert 15_000 < sheet.width * sheet.height <= 20_000
    assert sheet.width < full.width
    left, _, right, bottom = rows_of(sheet, COLOURS[5])
    assert right - left < 96
    assert len(sheet.crop((0, bottom, sheet.width, sheet.height)).getcolors(10_000) or []) > 1


def test_no_side_is_longer_than_can_be_shown() -> None:
    sheet = compose(SheetPlan(columns=400, cells=(0,) * 400), pictures(1))
    assert sheet.width <= MAX_SIDE


def test_sheets_of_a_run_keep_no_more_than_they_need() -> None:
    plan = SheetPlan(columns=3, cells=tuple(range(6)))
    sheets = Sheets([plan], max_pixels=6 * 24 * 16)
    for number in range(6):
        sheets.take(number, picture(number))
        sheets.take(number + 100, picture(number))  # on no sheet
    kept = sum(kept.width * kept.height for kept in sheets._pictures.values())
    assert kept <= 6 * 24 * 16
    ((_, first, sheet),) = sheets.compose()
    assert first == 0
    assert sheet.width * sheet.height <= 6 * 24 * 16


def test_many_sheets_keep_no_more_than_two_of_them_need() -> None:
    together = SheetPlan(columns=6, cells=tuple(range(6)))
    apart = [SheetPlan(columns=1, cells=(number,)) for number in range(6)]
    sheets = Sheets([together, *apart], max_pixels=96 * 64)
    for number in range(6):
        sheets.take(number, picture(number))
    assert sum(kept.width * kept.height for kept in sheets._pictures.values()) <= 2 * 96 * 64 * 1.05
    first, *others = [sheet for _, _, sheet in sheets.compose()]
    assert first.width * first.height <= 96 * 64
    assert {sheet.size for sheet in others} == {(55, 37)}  # not enlarged again


def test_a_picture_on_a_small_and_a_large_sheet_is_sharp_on_the_small_one() -> None:
    sheets = Sheets([SheetPlan(columns=2, cells=(0, 1)), SheetPlan(columns=1, cells=(0,))], max_pixels=6144)
    for number in range(6):
        sheets.take(number, picture(number))
    (_, _, large), (_, _, small) = sheets.compose()
    assert small.size == (96, 64)
    assert large.width * large.height <= 6144


def test_a_sheet_of_images_that_were_all_skipped_is_left_out() -> None:
    sheets = Sheets([SheetPlan(columns=1, cells=(0,)), SheetPlan(columns=3, cells=(1, 2, 3))])
    sheets.take(2, picture(2))
    sheets.take(3, picture(3))
    ((_, first, sheet),) = sheets.compose()
    assert first == 2
    assert rows_of(sheet, COLOURS[2]) == (96, 0, 192, 64)


def test_a_plain_sheet_with_one_image_left_is_left_out_and_one_with_titles_is_not() -> None:
    sheets = Sheets([SheetPlan(columns=2, cells=(0, 1)), SheetPlan(columns=2, cells=(0, 1), column_titles=("4", "8"))])
    sheets.take(0, picture(0))
    ((titled, first, _),) = sheets.compose()
    assert (titled.column_titles, first) == (("4", "8"), 0)


@pytest.mark.parametrize("width", [40, 120, 400])
def test_lines_are_never_wider_than_their_place(width: int) -> None:
    texts = (LONG, "a b c", "x" * 500, "", "with some spaces in it, and commas")
    for block in fit(texts, find_face(texts), 40, width):
        assert block.width <= width
        assert len(block.lines) <= 6
        assert block.height == len(block.lines) * round(block.font.size * LEADING)


def test_a_title_is_as_large_as_it_can_be() -> None:
    texts = ("Steps: 10", "Steps: 20")
    face = find_face(texts)
    assert fit(texts, face, 40, 1000)[0].font.size == 40
    assert SMALLEST <= fit(texts, face, 40, 60, height=20)[0].font.size < 40


def test_letters_that_the_built_in_font_lacks_are_looked_for_elsewhere() -> None:
    assert find_face(["Steps"])(20).getname()[0] == "Aileron"
    found = find_face(["größer"])(20)
    if found.getname()[0] == "Aileron":
        pytest.skip("this system has no font of its own")
    assert bytes(found.getmask("ö")) != bytes(found.getmask("\uffff"))


def test_margins_do_not_stand_at_the_edges() -> None:
    plan = SheetPlan(columns=2, cells=(0, 1, 2, 3), margin=30)
    sheet = compose(plan, pictures(4))
    assert sheet.size == (2 * 96 + 30, 2 * 64 + 30)
    assert math.isclose(rows_of(sheet, COLOURS[3])[2], sheet.width)
