"""A picture of one size to another: stretched, scaled and cropped, or scaled and filled up."""

from __future__ import annotations

from PIL import Image

from webui.domain.start import Resize

FILTER = Image.Resampling.LANCZOS


def resize(image: Image.Image, width: int, height: int, mode: Resize) -> Image.Image:
    """Return `image` at `width` × `height`; the same pixels when it has that size already.

    `latent` means stretching: whoever computes with latents does not call this.
    """
    if image.size == (width, height):
        return image
    if mode == "crop":
        return _crop(image, width, height)
    if mode == "fill":
        return _fill(image, width, height)
    return image.resize((width, height), FILTER)


def _crop(image: Image.Image, width: int, height: int) -> Image.Image:
    """Keep the proportions and cut off evenly what does not fit."""
    scale = max(width / image.width, height / image.height)
    scaled = _scale(image, scale, width, height, at_least=True)
    left, top = (scaled.width - width) // 2, (scaled.height - height) // 2
    return scaled.crop((left, top, left + width, top + height))


def _fill(image: Image.Image, width: int, height: int) -> Image.Image:
    """Keep the proportions and continue the outermost pixels into the free space."""
    scale = min(width / image.width, height / image.height)
    scaled = _scale(image, scale, width, height, at_least=False)
    left, top = (width - scaled.width) // 2, (height - scaled.height) // 2
    right, bottom = left + scaled.width, top + scaled.height
    canvas = Image.new(image.mode, (width, height))
    canvas.paste(scaled, (left, top))
    for edge, space in (
        ((left, top, left + 1, bottom), (0, top, left, bottom)),
        ((right - 1, top, right, bottom), (right, top, width, bottom)),
        ((0, top, width, top + 1), (0, 0, width, top)),  # after left and right, so that the corners are filled too
        ((0, bottom - 1, width, bottom), (0, bottom, width, height)),
    ):
        if space[0] < space[2] and space[1] < space[3]:
            size = (space[2] - space[0], space[3] - space[1])
            canvas.paste(canvas.crop(edge).resize(size, Image.Resampling.NEAREST), space[:2])
    return canvas


def _scale(image: Image.Image, scale: float, width: int, height: int, *, at_least: bool) -> Image.Image:
    limit = max if at_least else min
    size = limit(width, round(image.width * scale)), limit(height, round(image.height * scale))
    return image.resize((max(1, size[0]), max(1, size[1])), FILTER)
