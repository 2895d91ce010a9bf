"""Pictures on models' cards: made anew from whatever lies beside a model, so that only pixels get to a browser."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image

from webui.images.encode import encode_png
from webui.images.open import open_image

MAX_SIDE = 1024  # pixels
_QUALITY = 85


def make_thumbnail(source: bytes | Path, side: int) -> bytes:
    """Return the picture as WebP that fits into a square of `side` pixels. Raises `BadFile` when it is none."""
    image = _shrunk(source, side)
    content = io.BytesIO()
    image.save(content, "WEBP", quality=_QUALITY)
    return content.getvalue()


def make_preview(source: bytes | Path) -> bytes:
    """Return the picture as PNG, of a size for a card, without any text that was in it. Raises `BadFile`."""
    return encode_png(_shrunk(source, MAX_SIDE))


def _shrunk(source: bytes | Path, side: int) -> Image.Image:
    image = open_image(source)
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    return image
