"""Text that is hidden in the lowest bits of a picture's pixels, as NovelAI and an extension of A1111 write it.

It survives where text chunks are removed. The bits run down the columns: 15 letters that say how, 32 bits of length,
the text itself, in the alpha channel or in red, green and blue.
"""

from __future__ import annotations

import zlib

import numpy as np
from PIL import Image

MOST_TEXT = 4 * 1024 * 1024  # bytes, unpacked
_HEAD = 15 * 8 + 32  # bits
_SIGNATURES = {
    b"stealth_pnginfo": ("RGBA", False),
    b"stealth_pngcomp": ("RGBA", True),
    b"stealth_rgbinfo": ("RGB", False),
    b"stealth_rgbcomp": ("RGB", True),
}
"""First letters → which pixels, and whether the text is packed with gzip."""


def read_stealth(image: Image.Image) -> str | None:
    """Return the text hidden in a decoded picture (RGB or RGBA), None if there is none."""
    if image.mode not in ("RGB", "RGBA"):
        return None
    pixels = np.asarray(image)
    return (_read(pixels[..., 3:], "RGBA") if image.mode == "RGBA" else None) or _read(pixels[..., :3], "RGB")


def _read(channels: np.ndarray, mode: str) -> str | None:
    """Read `channels` [H,W,C]: the bits of a pixel one after the other, pixels down the columns, columns rightwards."""
    head = _bits(channels, 0, _HEAD)
    signature = head[:15]
    if _SIGNATURES.get(signature, ("", False))[0] != mode:
        return None
    length = int.from_bytes(head[15:19], "big")
    if length % 8 or length > channels.size - _HEAD:
        return None
    content = _bits(channels, _HEAD, length)
    return _unpacked(content) if _SIGNATURES[signature][1] else content.decode("utf-8", "replace")


def _bits(channels: np.ndarray, start: int, count: int) -> bytes:
    """Return `count` bits from number `start` on, looking at no more columns than needed."""
    height, width, depth = channels.shape
    columns = min(width, -(-(start + count) // (height * depth)))
    bits = channels[:, :columns].transpose(1, 0, 2).reshape(-1)[start : start + count] & 1
    return np.packbits(bits).tobytes()


def _unpacked(content: bytes) -> str | None:
    try:
        return zlib.decompressobj(wbits=31).decompress(content, MOST_TEXT).decode("utf-8", "replace")
    except zlib.error:
        return None
