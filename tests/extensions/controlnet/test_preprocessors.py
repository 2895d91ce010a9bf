from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image, ImageChops, ImageDraw

from extensions.controlnet.options import ControlOptions, Unit
from extensions.controlnet.preprocessors.catalog import PREPROCESSORS, find_preprocessor, union_type, unit_options
from extensions.controlnet.preprocessors.palette import ADE_COLOURS
from extensions.controlnet.preprocessors.weightless import WEIGHTLESS
from webui.errors import BadRequest, NotFound


def run(name: str, picture: Image.Image, **options: float) -> Image.Image:
    preprocessor = find_preprocessor(name)
    return preprocessor.run(picture, preprocessor.options(**options))


def circle(size: int = 256, radius: int = 80, ink: str = "black", paper: str = "white") -> Image.Image:
    picture = Image.new("RGB", (size, size), paper)
    centre = size // 2
    ImageDraw.Draw(picture).ellipse((centre - radius, centre - radius, centre + radius, centre + radius), fill=ink)
    return picture


def radii(drawing: Image.Image) -> np.ndarray:
    """Return how far each white pixel lies from the centre."""
    rows, columns = np.nonzero(np.asarray(drawing.convert("L")) > 127)
    return np.hypot(rows - drawing.height / 2, columns - drawing.width / 2)


def photo(width: int = 96, height: int = 64) -> Image.Image:
    """Return a smooth picture with some noise, the same each time."""
    draw = np.random.default_rng(5)
    rows, columns = np.mgrid[:height, :width]
    waves = np.stack([rows * 3 % 256, columns * 2 % 256, (rows + columns) % 256], axis=2)
    return Image.fromarray(np.clip(waves + draw.integers(0, 20, waves.shape), 0, 255).astype(np.uint8))


@pytest.mark.parametrize(
    ("name", "options", "slack"),
    [
        ("canny", {"resolution": 256}, 2),
        ("softedge_gradient", {"resolution": 256}, 6),
        ("scribble_edges", {"resolution": 256}, 4),
    ],
)
def test_edges_of_a_disc_are_its_outline(name: str, options: dict[str, float], slack: float) -> None:
    found = radii(run(name, circle(), **options))
    assert len(found) > 2 * np.pi * 80 * 0.8  # all the way round
    assert np.abs(found - 80).max() <= slack


def test_resolution_is_the_shorter_side_of_the_map() -> None:
    assert run("canny", circle(128, 40), resolution=256).size == (256, 256)
    assert run("canny", photo(96, 64), resolution=128).size == (192, 128)
    found = radii(run("canny", circle(128, 40), resolution=256))
    assert abs(np.median(found) - 80) <= 2  # drawn where the disc is, twice as large


def test_thresholds_of_canny_decide_which_edges_count() -> None:
    faint = circle(ink="#f4f4f4")
    assert not len(radii(run("canny", faint, resolution=256, threshold_a=250, threshold_b=255)))
    assert len(radii(run("canny", faint, resolution=256, threshold_a=20, threshold_b=40)))


def test_dark_strokes_become_white_lines() -> None:
    paper = Image.new("RGB", (256, 256), "white")
    ImageDraw.Draw(paper).line((20, 128, 236, 128), fill="black", width=3)
    for name in ("lineart_standard", "scribble_xdog"):
        drawn = np.asarray(run(name, paper, resolution=256).convert("L"))
        assert drawn[128, 60:200].min() > 127, name
        assert drawn[:100].max() < 20, name


def test_straight_lines_are_found_and_curves_are_not() -> None:
    lines = Image.new("RGB", (256, 256), "white")
    ImageDraw.Draw(lines).rectangle((50, 60, 200, 190), fill="black")
    drawn = np.asarray(run("hough", lines, resolution=256, threshold_a=20).convert("L"))
    rows, columns = np.nonzero(drawn)
    near = (np.minimum(abs(rows - 60), abs(rows - 190)) <= 2) | (np.minimum(abs(columns - 50), abs(columns - 200)) <= 2)
    assert near.all()
    assert near.sum() > 2 * (150 + 130) * 0.8
    assert not np.asarray(run("hough", circle(radius=40), resolution=256, threshold_a=30)).any()


def test_inverting_twice_changes_nothing() -> None:
    picture = photo()
    once = run("invert", picture)
    assert ImageChops.difference(once, ImageChops.invert(picture)).getbbox() is None
    assert ImageChops.difference(run("invert", once), picture).getbbox() is None


def test_threshold_divides_by_brightness() -> None:
    grey = Image.fromarray(np.repeat(np.arange(256, dtype=np.uint8)[None], 64, axis=0))
    divided = np.asarray(run("threshold", grey, resolution=64, threshold_a=100).convert("L"))
    assert set(np.unique(divided)) == {0, 255}
    assert not divided[:, :100].any()
    assert divided[:, 102:].all()


def test_tiles_are_smaller_by_the_rate() -> None:
    assert run("tile_resample", photo(), threshold_a=4).size == (24, 16)
    assert run("tile_resample", photo()).tobytes() == photo().tobytes()


def test_blur_removes_detail_and_keeps_the_colour() -> None:
    blurred = np.asarray(run("blur_gaussian", photo(), resolution=64, threshold_a=5), float)
    sharp = np.asarray(photo(), float)
    assert np.abs(np.diff(blurred, axis=1)).mean() < np.abs(np.diff(sharp, axis=1)).mean() / 2
    assert np.abs(blurred.mean(axis=(0, 1)) - sharp.mean(axis=(0, 1))).max() < 3


def test_recolouring_keeps_brightness_alone() -> None:
    grey = np.asarray(run("recolor_luminance", photo()))
    assert (grey == grey[..., :1]).all()
    darker = np.asarray(run("recolor_luminance", photo(), threshold_a=2), float)
    assert darker.mean() < grey.mean() - 10
    intensity = np.asarray(run("recolor_intensity", Image.new("RGB", (8, 8), (10, 200, 30))))
    assert (intensity == 200).all()


def test_shuffling_keeps_colours_and_loses_shapes() -> None:
    picture = circle(ink="red", paper="blue")
    shuffled = run("shuffle", picture, resolution=256)
    colours = {pixel for _, pixel in shuffled.getcolors(256 * 256) if pixel in ((255, 0, 0), (0, 0, 255))}
    assert colours == {(255, 0, 0), (0, 0, 255)}
    assert np.std(radii(ImageChops.invert(shuffled.getchannel("B")))) > 5
    assert shuffled.tobytes() == run("shuffle", picture, resolution=256).tobytes()
    assert shuffled.tobytes() != run("shuffle", picture, resolution=256, seed=1).tobytes()


def test_colour_grid_is_of_even_squares() -> None:
    grid = np.asarray(run("color", photo(256, 256), resolution=256))
    assert (grid[:64, :64] == grid[0, 0]).all()
    assert not (grid[:64, 64:128] == grid[0, 0]).all()


def test_painted_colours_become_those_of_the_palette() -> None:
    rows = np.array(ADE_COLOURS, np.uint8)[None]
    kept = run("seg_palette", Image.fromarray(rows))
    assert (np.asarray(kept) == rows).all()
    painted = run("seg_palette", Image.new("RGB", (8, 8), (8, 228, 232)))
    assert painted.getpixel((0, 0)) == (6, 230, 230)
    assert {pixel for _, pixel in run("seg_palette", photo()).getcolors(9999)} <= set(ADE_COLOURS)


@pytest.mark.parametrize("preprocessor", WEIGHTLESS, ids=lambda each: each.name)
@pytest.mark.parametrize(
    ("mode", "size"),
    [("RGB", (40, 30)), ("L", (33, 47)), ("RGBA", (31, 31)), ("P", (16, 16)), ("RGB", (1, 50)), ("RGB", (50, 1)),
     ("RGB", (1, 1)), ("L", (3, 3000))],
)  # fmt: skip
def test_every_preprocessor_takes_every_picture(preprocessor: object, mode: str, size: tuple[int, int]) -> None:
    picture = photo(*size).convert(mode)
    chosen = preprocessor.options()
    if "resolution" in preprocessor.options.model_fields:
        chosen = preprocessor.options(resolution=64)
    made = preprocessor.run(picture, chosen)
    assert made.mode == "RGB"
    if hasattr(chosen, "resolution"):
        scale = min(64 / min(size), 8192 / max(size))
        assert made.size == tuple(max(1, round(side * scale)) for side in size)
    else:
        assert made.size == size


def test_what_is_transparent_is_white() -> None:
    clear = Image.new("RGBA", (4, 4), (200, 0, 0, 0))
    assert run("none", clear).getpixel((0, 0)) == (255, 255, 255)


@pytest.mark.parametrize(
    ("asked", "name"),
    [("Canny", "canny"), ("invert (from white bg & black line)", "invert"), ("inpaint_global_harmonious", "inpaint"),
     (" t2ia_color_grid ", "color"), ("none", "none"), ("tile_colorfix+sharp", "tile_colorfix+sharp")],
)  # fmt: skip
def test_preprocessors_are_found_by_name_label_and_alias(asked: str, name: str) -> None:
    assert find_preprocessor(asked).name == name


@pytest.mark.parametrize(
    ("asked", "near"), [("cany", "canny"), ("mlsd", "hough"), ("softedge_pidinet", "softedge_gradient")]
)
def test_an_unknown_preprocessor_is_named_with_what_is_near(asked: str, near: str) -> None:
    with pytest.raises(NotFound, match=near) as caught:
        unit_options(2, Unit(preprocessor=asked))
    assert caught.value.field == "extensions.controlnet.units.2.preprocessor"


@pytest.mark.parametrize(
    "options",
    [{"resolution": 63}, {"resolution": 4096}, {"threshold_a": 256}, {"treshold_a": 100}, {"resolution": 99.5}],
)
def test_options_that_cannot_be_are_refused_at_their_field(options: dict[str, float]) -> None:
    with pytest.raises(BadRequest, match="ControlNet unit 0, canny: " + next(iter(options))) as caught:
        unit_options(0, Unit(preprocessor="canny", preprocessor_options=options))
    assert caught.value.field == "extensions.controlnet.units.0.preprocessor_options"


def test_options_left_out_are_the_preprocessors_own() -> None:
    options = unit_options(0, Unit(preprocessor="canny", preprocessor_options={"threshold_a": 50}))
    assert options == {"resolution": 512, "threshold_a": 50, "threshold_b": 200}


def test_union_networks_are_told_the_sort_of_control() -> None:
    assert union_type(Unit(preprocessor="canny")) == "hard_edge"
    assert union_type(Unit(preprocessor="canny", union_type="depth")) == "depth"
    assert union_type(Unit(preprocessor="none")) is None


def test_names_are_unique_and_options_have_defaults_within_their_limits() -> None:
    names = [name for each in PREPROCESSORS for name in (each.name, *each.aliases)]
    assert len(set(names)) == len(names)
    for each in PREPROCESSORS:
        defaults = dict(each.options())
        assert each.options.model_validate(defaults) == each.options()


def test_the_server_reads_the_catalog_without_opencv_and_torch() -> None:
    code = (
        "import sys, json; import extensions.controlnet.preprocessors.catalog;"
        "print(json.dumps([name for name in ('cv2', 'torch', 'transformers') if name in sys.modules]))"
    )
    assert json.loads(subprocess.check_output([sys.executable, "-c", code])) == []


def test_units_are_ten_at_most_and_end_after_they_begin() -> None:
    with pytest.raises(ValueError, match="at most 10"):
        ControlOptions(units=tuple(Unit() for _ in range(11)))
    with pytest.raises(ValueError, match="lies after the ending one"):
        Unit(start=0.6, end=0.4)
    active = ControlOptions(units=(Unit(), Unit(enabled=True), Unit(enabled=True, weight=0))).active
    assert [number for number, _ in active] == [1]
