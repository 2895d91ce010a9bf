"""Regions as masks, and networks that find them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from extensions.detailer.detectors import find, fit, read_yolo
from extensions.detailer.options import Rectangle, Unit
from extensions.detailer.regions import box_of, choose, combine, draw, draw_box, grow, move, separate, sort
from tests.extensions.detailer.onnx_files import write_other, write_yolo
from webui.errors import BadFile

SMALL, WIDE, TALL = (draw_box(box, 100, 50) for box in ((70, 10, 80, 20), (5, 5, 65, 25), (48, 10, 53, 45)))


def test_rectangles_in_pixels_and_in_shares() -> None:
    assert box_of(draw(Rectangle(x=10, y=5, width=20, height=30), 100, 50)) == (10, 5, 30, 35)
    assert box_of(draw(Rectangle(x=0.1, y=0.2, width=0.5, height=0.5), 100, 50)) == (10, 10, 60, 35)
    assert box_of(draw(Rectangle(x=-5, y=40, width=20, height=30), 100, 50)) == (0, 40, 15, 50)


def test_spots_of_a_mask_are_regions() -> None:
    spots = separate(np.maximum(SMALL, WIDE))
    assert [box_of(spot) for spot in spots] == [(5, 5, 65, 25), (70, 10, 80, 20)]
    assert separate(np.zeros((5, 5), np.uint8)) == []


def test_regions_are_kept_by_their_share_of_the_area() -> None:
    masks = [SMALL, WIDE, TALL]
    kept = choose(masks, Unit(min_share=0.03, max_share=0.1, dilation=0))
    assert len(kept) == 1 and (kept[0] == TALL).all()


def test_the_largest_stay_in_the_order_they_were_found() -> None:
    kept = choose([SMALL, WIDE, TALL], Unit(most=2, dilation=0))
    assert [box_of(mask) for mask in kept] == [box_of(WIDE), box_of(TALL)]


def test_orders() -> None:
    masks = [SMALL, WIDE, TALL]
    assert [box_of(mask)[0] for mask in sort(masks, "None")] == [70, 5, 48]
    assert [box_of(mask)[0] for mask in sort(masks, "Left to right")] == [5, 48, 70]
    assert [box_of(mask)[0] for mask in sort(masks, "Centre to edge")] == [48, 5, 70]
    assert [box_of(mask)[0] for mask in sort(masks, "Large to small")] == [5, 48, 70]


def test_regions_move_grow_and_shrink() -> None:
    assert box_of(move(SMALL, 5, 3)) == (75, 7, 85, 17)
    grown, shrunk = box_of(grow(SMALL, 4)), box_of(grow(SMALL, -4))
    assert grown[2] - grown[0] == 10 + 3 and shrunk[2] - shrunk[0] == 10 - 3
    assert choose([SMALL], Unit(dilation=-20)) == []


def test_regions_become_one_or_everything_else() -> None:
    (together,) = combine([SMALL, WIDE], "Merge")
    assert together.sum() == SMALL.sum() + WIDE.sum()
    (rest,) = combine([SMALL, WIDE], "Merge and Invert")
    assert (rest == 255 - together).all()


def scene(width: int, height: int) -> np.ndarray:
    """Return a picture with a red thing on the left and a blue one on the right."""
    picture = Image.new("RGB", (width, height), "black")
    ImageDraw.Draw(picture).rectangle((0, 0, width // 4 - 1, height // 2 - 1), (255, 0, 0))
    ImageDraw.Draw(picture).rectangle((width * 3 // 4, 0, width, height // 2 - 1), (0, 0, 200))
    return np.asarray(picture)


def test_a_network_finds_things_the_surest_first(tmp_path: Path) -> None:
    network = write_yolo(tmp_path / "colours.onnx")
    # 64 × 32 pixels lie in the middle of a square of 32: 16 grey rows, so cells are 16 pixels of the picture.
    found = find(network, scene(64, 32), Unit(detector="colours", resolution=32, confidence=0.5))
    assert [box_of(mask) for mask in found] == [(0, 0, 16, 16), (48, 0, 64, 16)]
    blue = find(network, scene(64, 32), Unit(detector="colours", resolution=32, confidence=0.5, classes="1"))
    assert [box_of(mask) for mask in blue] == [(48, 0, 64, 16)]
    assert len(find(network, scene(64, 32), Unit(detector="colours", resolution=32, confidence=0.9))) == 1
    assert find(network, np.zeros((32, 64, 3), np.uint8), Unit(detector="colours", resolution=32)) == []


def test_the_square_a_network_sees() -> None:
    square, scale, left, top = fit(scene(64, 32), 32)
    assert (square.shape, scale, left, top) == ((32, 32, 3), 0.5, 0, 8)
    assert (square[:8] == 114).all() and square[8, 0].tolist() == [255, 0, 0]


def test_boxes_that_lie_on_each_other_are_one_and_shapes_come_with_them() -> None:
    rows = np.zeros((1, 4 + 1 + 2, 9), np.float32)
    rows[0, :, 0] = (10, 10, 8, 8, 0.9, 1, 0)
    rows[0, :, 1] = (10.5, 10, 8, 8, 0.8, 0, 1)
    rows[0, :, 2] = (25, 25, 8, 8, 0.7, 0, 1)
    prototypes = np.stack([np.full((4, 4), 3.0), np.full((4, 4), -2.0)]).astype(np.float32)[None]
    found = read_yolo([rows, prototypes], Unit(), "shapes")
    assert [box.tolist() for box, _ in found] == [[10, 10, 8, 8], [25, 25, 8, 8]]
    assert all(mask is not None for _, mask in found)
    assert [float(mask[0, 0]) for _, mask in found if mask is not None] == [3.0, -2.0]


def test_files_of_another_sort_are_refused(tmp_path: Path) -> None:
    picture = scene(32, 32)
    with pytest.raises(BadFile, match="not what YOLO gives"):
        find(write_other(tmp_path / "other.onnx"), picture, Unit(detector="other", resolution=32))
    (tmp_path / "text.onnx").write_text("nothing")
    with pytest.raises(BadFile, match="cannot be read"):
        find(tmp_path / "text.onnx", picture, Unit(detector="text"))
