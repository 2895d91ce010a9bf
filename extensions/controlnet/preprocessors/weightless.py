"""The preprocessors that need no network. OpenCV is imported when one runs, in the worker."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from extensions.controlnet.preprocessors import choices
from webui.extending.api import Data, Preprocessor

if TYPE_CHECKING:
    from PIL.Image import Image

    from extensions.controlnet.preprocessors.sizes import Pixels

AnyPreprocessor = Preprocessor[Any]


def _draw(picture: Image, options: choices.Sized, draw: Callable[[Pixels], Pixels]) -> Image:
    """Return what `draw` makes of the picture at the resolution of the options."""
    from extensions.controlnet.preprocessors.sizes import scale_to, to_picture, to_pixels

    return to_picture(draw(scale_to(to_pixels(picture), options.resolution)))


def _change(picture: Image, change: Callable[[Pixels], Pixels]) -> Image:
    """Return what `change` makes of the picture at its own size."""
    from extensions.controlnet.preprocessors.sizes import to_picture, to_pixels

    return to_picture(change(to_pixels(picture)))


def keep(picture: Image, options: Data) -> Image:
    """The picture is the hint, or the control takes it as it is."""
    return _change(picture, lambda pixels: pixels)


def draw_canny(picture: Image, options: choices.Canny) -> Image:
    from extensions.controlnet.preprocessors.edges import canny

    return _draw(picture, options, lambda pixels: canny(pixels, options.threshold_a, options.threshold_b))


def draw_xdog(picture: Image, options: choices.Xdog) -> Image:
    from extensions.controlnet.preprocessors.edges import scribble_xdog

    return _draw(picture, options, lambda pixels: scribble_xdog(pixels, options.threshold_a))


def draw_scribble(picture: Image, options: choices.Scribbled) -> Image:
    from extensions.controlnet.preprocessors.edges import scribble_edges

    return _draw(picture, options, lambda pixels: scribble_edges(pixels, options.threshold_a))


def draw_soft_edges(picture: Image, options: choices.Sized) -> Image:
    from extensions.controlnet.preprocessors.edges import soft_edges

    return _draw(picture, options, soft_edges)


def draw_lineart(picture: Image, options: choices.Sized) -> Image:
    from extensions.controlnet.preprocessors.edges import lineart

    return _draw(picture, options, lineart)


def draw_straight_lines(picture: Image, options: choices.Straight) -> Image:
    from extensions.controlnet.preprocessors.edges import straight_lines

    return _draw(picture, options, lambda pixels: straight_lines(pixels, options.threshold_a, options.threshold_b))


def draw_binary(picture: Image, options: choices.Binary) -> Image:
    from extensions.controlnet.preprocessors.edges import binary

    return _draw(picture, options, lambda pixels: binary(pixels, options.threshold_a))


def invert(picture: Image, options: choices.NoChoice) -> Image:
    from extensions.controlnet.preprocessors import edges

    return _change(picture, edges.invert)


def blur(picture: Image, options: choices.Blurred) -> Image:
    from extensions.controlnet.preprocessors import colours

    return _draw(picture, options, lambda pixels: colours.blur(pixels, options.threshold_a))


def tile(picture: Image, options: choices.Tiled) -> Image:
    from extensions.controlnet.preprocessors import colours

    return _change(picture, lambda pixels: colours.tile(pixels, options.threshold_a))


def recolour_luminance(picture: Image, options: choices.Recoloured) -> Image:
    from extensions.controlnet.preprocessors.colours import luminance

    return _change(picture, lambda pixels: luminance(pixels, options.threshold_a))


def recolour_intensity(picture: Image, options: choices.Recoloured) -> Image:
    from extensions.controlnet.preprocessors.colours import intensity

    return _change(picture, lambda pixels: intensity(pixels, options.threshold_a))


def draw_colour_grid(picture: Image, options: choices.Sized) -> Image:
    from extensions.controlnet.preprocessors.colours import colour_grid

    return _draw(picture, options, colour_grid)


def shuffle(picture: Image, options: choices.Shuffled) -> Image:
    from extensions.controlnet.preprocessors import colours

    return _draw(picture, options, lambda pixels: colours.shuffle(pixels, options.seed))


def draw_palette(picture: Image, options: choices.NoChoice) -> Image:
    from extensions.controlnet.preprocessors.colours import to_palette

    return _change(picture, to_palette)


WEIGHTLESS: tuple[AnyPreprocessor, ...] = (
    Preprocessor("none", "none", choices.NoChoice, keep, description="The picture is a hint already."),
    Preprocessor("canny", "canny", choices.Canny, draw_canny, ("Canny",)),
    Preprocessor(
        "invert",
        "invert (from white bg & black line)",
        choices.NoChoice,
        invert,
        ("Canny", "Lineart", "Scribble", "MLSD"),
        description="For drawings on paper.",
    ),
    Preprocessor("scribble_xdog", "scribble_xdog", choices.Xdog, draw_xdog, ("Scribble",)),
    Preprocessor(
        "scribble_edges",
        "scribble_edges (no network)",
        choices.Scribbled,
        draw_scribble,
        ("Scribble",),
        description="The strongest edges as with a thick pen.",
    ),
    Preprocessor(
        "lineart_standard",
        "lineart_standard (from white bg & black line)",
        choices.Sized,
        draw_lineart,
        ("Lineart",),
        description="Dark strokes on light ground.",
    ),
    Preprocessor(
        "softedge_gradient",
        "softedge_gradient (no network)",
        choices.Sized,
        draw_soft_edges,
        ("SoftEdge",),
        description="Steepness of the picture: also edges of textures, which HED leaves out.",
    ),
    Preprocessor(
        "hough",
        "hough (straight lines, no network)",
        choices.Straight,
        draw_straight_lines,
        ("MLSD",),
        description="Straight lines of Canny's edges.",
    ),
    Preprocessor("threshold", "threshold", choices.Binary, draw_binary),
    Preprocessor("tile_resample", "tile_resample", choices.Tiled, tile, ("Tile",)),
    Preprocessor("tile_colorfix", "tile_colorfix", choices.ColourFixed, keep, ("Tile",)),
    Preprocessor("tile_colorfix+sharp", "tile_colorfix+sharp", choices.ColourFixedSharp, keep, ("Tile",)),
    Preprocessor("blur_gaussian", "blur_gaussian", choices.Blurred, blur, ("Tile", "Blur")),
    Preprocessor("recolor_luminance", "recolor_luminance", choices.Recoloured, recolour_luminance, ("Recolor",)),
    Preprocessor("recolor_intensity", "recolor_intensity", choices.Recoloured, recolour_intensity, ("Recolor",)),
    Preprocessor(
        "color", "t2ia_color_grid", choices.Sized, draw_colour_grid, ("T2I-Adapter",), aliases=("t2ia_color_grid",)
    ),
    Preprocessor(
        "shuffle", "shuffle", choices.Shuffled, shuffle, ("Shuffle",), description="Colours without the shapes."
    ),
    Preprocessor(
        "seg_palette",
        "seg_palette (painted maps, no network)",
        choices.NoChoice,
        draw_palette,
        ("Segmentation",),
        description="Painted colours become the nearest of ADE20K's palette.",
    ),
    Preprocessor(
        "inpaint_only",
        "inpaint_only",
        choices.NoChoice,
        keep,
        ("Inpaint",),
        description="What is not masked stays as it is.",
    ),
    Preprocessor(
        "inpaint",
        "inpaint_global_harmonious",
        choices.NoChoice,
        keep,
        ("Inpaint",),
        aliases=("inpaint_global_harmonious",),
        description="Colours may change all over the picture.",
    ),
    Preprocessor("reference_only", "reference_only", choices.Referenced, keep, ("Reference",)),
    Preprocessor("reference_adain", "reference_adain", choices.Referenced, keep, ("Reference",)),
    Preprocessor("reference_adain+attn", "reference_adain+attn", choices.Referenced, keep, ("Reference",)),
)
"""Under the names of sd-webui-controlnet where they mean the same; those "without network" are Easel's own."""
