"""Images as bytes of a file."""

from __future__ import annotations

import io

from PIL import Image
from PIL.PngImagePlugin import PngInfo

INFOTEXT_KEY = "parameters"  # A1111's name of the PNG text chunk


def encode_png(image: Image.Image, infotext: str | None = None) -> bytes:
    """Return `image` as PNG with its infotext where A1111 puts it."""
    text = PngInfo()
    if infotext:
        text.add_text(INFOTEXT_KEY, infotext)  # Latin-1 text as tEXt, any other as iTXt in UTF-8
    buffer = io.BytesIO()
    image.save(buffer, "PNG", pnginfo=text)
    return buffer.getvalue()


def encode_jpeg(image: Image.Image, quality: int = 80) -> bytes:
    """Return `image` as JPEG without metadata; `quality` is 1 to 95."""
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()
