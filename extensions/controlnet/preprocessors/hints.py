"""From a picture to what the network is shown: preprocessed, and of the size of the image. Runs in the worker."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from PIL import Image

from extensions.controlnet.options import ResizeMode
from extensions.controlnet.preprocessors.sizes import fit, pixel_perfect_resolution, to_picture, to_pixels
from webui.extending.api import Preprocessor


def make_hint(
    picture: Image.Image,
    size: tuple[int, int],
    mode: ResizeMode,
    preprocessor: Preprocessor[Any],
    options: Mapping[str, Any],
    *,
    pixel_perfect: bool = False,
) -> Image.Image:
    """Return the RGB hint at `size` (width and height of the image), made of `picture` by `preprocessor`.

    `options` are valid for the preprocessor; with `pixel_perfect` its resolution follows from both sizes.
    """
    chosen = preprocessor.options.model_validate(dict(options))
    if pixel_perfect and "resolution" in preprocessor.options.model_fields:
        # Not by validation: a small image needs fewer pixels than the slider's least.
        chosen = chosen.model_copy(update={"resolution": pixel_perfect_resolution(picture.size, size, mode)})
    return fit_picture(preprocessor.run(picture, chosen), size, mode)


def fit_picture(picture: Image.Image, size: tuple[int, int], mode: ResizeMode) -> Image.Image:
    """Return a map or picture as RGB at `size`; thin lines stay thin, labels keep their colours."""
    return to_picture(fit(to_pixels(picture), *size, mode))


def fit_mask(mask: Image.Image, size: tuple[int, int], mode: ResizeMode, *, outside: int = 0) -> Image.Image:
    """Return a mask as grey at `size`, soft where it was; `outside` is what borders become that `fill` adds.

    For inpainting they are to be painted (255), for regions they are not in them (0).
    """
    grey = mask.convert("L")
    if mode != "fill":
        return fit_smoothly(grey, size, mode)
    scale = min(size[0] / grey.width, size[1] / grey.height)
    inner = max(1, min(size[0], round(grey.width * scale))), max(1, min(size[1], round(grey.height * scale)))
    canvas = Image.new("L", size, outside)
    scaled = grey.resize(inner, Image.Resampling.BOX if scale < 1 else Image.Resampling.BILINEAR)
    canvas.paste(scaled, ((size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2))
    return canvas


def fit_smoothly(grey: Image.Image, size: tuple[int, int], mode: ResizeMode) -> Image.Image:
    """Return a grey picture stretched to `size`, or scaled and cropped to it, without new values at its edges."""
    box = None
    if mode == "crop":
        scale = max(size[0] / grey.width, size[1] / grey.height)
        width, height = size[0] / scale, size[1] / scale
        left, top = (grey.width - width) / 2, (grey.height - height) / 2
        box = max(0.0, left), max(0.0, top), min(grey.width, left + width), min(grey.height, top + height)
    shrinks = size[0] * size[1] < grey.width * grey.height
    return grey.resize(size, Image.Resampling.BOX if shrinks else Image.Resampling.BILINEAR, box=box)
