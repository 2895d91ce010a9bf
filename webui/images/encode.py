"""Images as bytes of a file, with their infotext where A1111 puts it."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from PIL import ExifTags, Image
from PIL.PngImagePlugin import PngInfo

from webui.domain.plan import ImageFormat

INFOTEXT_KEY = "parameters"  # A1111's name of the PNG text chunk
LARGEST_SIDE: Mapping[ImageFormat, int] = MappingProxyType({"jpg": 65_500, "webp": 16_383, "avif": 32_768})
"""Format → pixels. Larger images become PNG, as in A1111."""
LARGEST_JPEG_EXIF = 65_000  # bytes: one segment, with its head

_UNICODE = b"UNICODE\0"  # begins an EXIF UserComment in UTF-16


@dataclass(frozen=True)
class EncodedImage:
    """A finished file; `suffix` begins with a dot."""

    content: bytes
    suffix: str


def encode(
    image: Image.Image,
    infotext: str | None = None,
    file_format: ImageFormat = "png",
    quality: int = 80,
    lossless: bool = False,
) -> EncodedImage:
    """Return `image` as a file of that format; `quality` is 1 to 100, `lossless` is about WebP alone.

    It is a PNG, whatever was asked for, if the format cannot hold an image of its size or so long an infotext.
    """
    exif = _exif(infotext) if infotext and file_format != "png" else b""
    if file_format == "png" or not _fits(image, file_format, exif):
        return EncodedImage(encode_png(image, infotext), ".png")
    options: dict[str, Any] = {"quality": quality, **({"exif": exif} if exif else {})}
    if file_format == "webp":
        options["lossless"] = lossless
    buffer = io.BytesIO()
    picture = _opaque(image) if file_format == "jpg" else image
    picture.save(buffer, "JPEG" if file_format == "jpg" else file_format.upper(), **options)
    return EncodedImage(buffer.getvalue(), f".{file_format}")


def encode_png(image: Image.Image, infotext: str | None = None) -> bytes:
    """Return `image` as PNG."""
    text = PngInfo()
    if infotext:
        text.add_text(INFOTEXT_KEY, infotext)  # Latin-1 text as tEXt, any other as iTXt in UTF-8
    buffer = io.BytesIO()
    image.save(buffer, "PNG", pnginfo=text)
    return buffer.getvalue()


def encode_jpeg(image: Image.Image, quality: int = 80) -> bytes:
    """Return `image` as JPEG without metadata; `quality` is 1 to 100."""
    return encode(image, None, "jpg", quality).content


def _fits(image: Image.Image, file_format: ImageFormat, exif: bytes) -> bool:
    too_large = max(image.size) > LARGEST_SIDE[file_format]
    return not too_large and (file_format != "jpg" or len(exif) <= LARGEST_JPEG_EXIF)


def _exif(infotext: str) -> bytes:
    """Return an EXIF block with `infotext` as UserComment: in UTF-16, the high byte first, like A1111's."""
    exif = Image.Exif()
    comment = _UNICODE + infotext.encode("utf-16-be", "replace")
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.UserComment] = comment
    return exif.tobytes()


def _opaque(image: Image.Image) -> Image.Image:
    """Return `image` as RGB; what is transparent becomes white, not the colour that is hidden there."""
    if image.mode != "RGBA":
        return image.convert("RGB")
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image).convert("RGB")
