"""The guarded front door for image files: nothing else opens one."""

from __future__ import annotations

import io
from pathlib import Path
from typing import BinaryIO, Final

from PIL import Image, ImageOps, UnidentifiedImageError

from webui.errors import BadFile
from webui.images.embedded import texts_of
from webui.images.encode import INFOTEXT_KEY
from webui.images.json_text import parse_json
from webui.images.stealth import read_stealth

FORMATS: Final = ("PNG", "JPEG", "WEBP", "AVIF", "BMP", "GIF", "TIFF")
LOSSLESS: Final = ("PNG", "WEBP")  # formats whose pixels can hide a text
MAX_BYTES: Final = 64 * 1024 * 1024
MAX_PIXELS: Final = 64 * 1024 * 1024  # 8192×8192
MAX_SIDE: Final = 32_768
MAX_TEXT: Final = 4 * 1024 * 1024  # characters of all texts in one image together

Source = bytes | Path | BinaryIO

_HINT = "Use a PNG, JPEG, WebP, AVIF, BMP, GIF or TIFF file."


def open_image(source: Source) -> Image.Image:
    """Return the first frame, decoded and upright, as mode RGB, or RGBA if anything can be transparent.

    Raises `BadFile` when the file is too large, is no image of a known format, or is damaged.
    """
    with _open_header(_read(source)) as image:
        return _decode(image)


def read_infotext(source: Source) -> tuple[str | None, dict[str, str]]:
    """Return the generation parameters in an image file, if there are any, and its other texts by name.

    PNG keeps them in text chunks, JPEG, WebP and AVIF in the EXIF field UserComment; a file without any text may hide
    one in its pixels. Raises `BadFile` like `open_image`.
    """
    with _open_header(_read(source)) as image:
        if image.format == "PNG" and INFOTEXT_KEY not in image.info:
            _load(image)  # texts may also stand behind the pixels
        texts = texts_of(image)
        if not texts and image.format in LOSSLESS:
            _load(image)
            texts = _hidden(image)
    if sum(map(len, texts.values())) > MAX_TEXT:
        raise BadFile("The image holds too much text.", hint=f"At most {MAX_TEXT // 2**20} million characters.")
    infotext = texts.pop(INFOTEXT_KEY, None)
    return infotext or None, texts


def _hidden(image: Image.Image) -> dict[str, str]:
    """Return what the pixels hide: parameters, or the text chunks of a PNG as JSON."""
    text = read_stealth(image)
    if text is None:
        return {}
    chunks = parse_json(text)
    if not isinstance(chunks, dict):
        return {INFOTEXT_KEY: text}
    return {key: value for key, value in chunks.items() if isinstance(value, str)}


def read_size(source: Source) -> tuple[int, int]:
    """Return width and height in pixels as stored (not turned upright), from the header alone. Raises `BadFile`."""
    with _open_header(_read(source)) as image:
        return image.size


def _read(source: Source) -> bytes:
    if isinstance(source, Path):
        if not source.is_file():  # a named pipe or a device would block or never end
            raise BadFile(f"There is no image file {source}.")
        try:
            with source.open("rb") as file:
                return _read(file)
        except OSError as error:
            raise BadFile(f"The image {source} could not be read: {error.strerror}.") from error
    content = source if isinstance(source, bytes) else source.read(MAX_BYTES + 1)
    if not content:
        raise BadFile("The image file is empty.", hint=_HINT)
    if len(content) > MAX_BYTES:
        raise BadFile(f"The image file is larger than {MAX_BYTES // 2**20} MiB.", hint="Use a smaller file.")
    return content


def _open_header(content: bytes) -> Image.Image:
    """Return the image with its header read and its size checked, nothing decoded."""
    try:
        image = Image.open(io.BytesIO(content), formats=FORMATS)
    except UnidentifiedImageError as error:
        raise BadFile("The file is not an image that can be read here.", hint=_HINT) from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise BadFile("The image has too many pixels.", hint=_largest()) from error
    except Exception as error:  # decoders meet hostile bytes with any exception there is
        raise _damaged(error) from error
    try:
        _check_size(image)
    except BadFile:
        image.close()
        raise
    return image


def _check_size(image: Image.Image) -> None:
    width, height = image.size
    if width * height > MAX_PIXELS or max(width, height) > MAX_SIDE:
        raise BadFile(f"The image is too large: {width}×{height} pixels.", hint=_largest())
    if width < 1 or height < 1:
        raise BadFile(f"The image is empty: {width}×{height} pixels.")


def _largest() -> str:
    return f"At most {MAX_PIXELS // 2**20} megapixels; make it smaller first."


def _damaged(error: Exception) -> BadFile:
    return BadFile(f"The image file is damaged ({str(error)[:200] or type(error).__name__}).", hint=_HINT)


def _load(image: Image.Image) -> None:
    try:
        image.load()
    except Exception as error:  # as above
        raise _damaged(error) from error


def _decode(image: Image.Image) -> Image.Image:
    _load(image)
    try:
        return _plain(_upright(image))
    except Exception as error:  # palettes and colour tables are decoded only now
        raise _damaged(error) from error


def _upright(image: Image.Image) -> Image.Image:
    """Return `image` turned as its EXIF data says; a damaged EXIF block says nothing."""
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # as above; the pixels are fine
        return image


def _plain(image: Image.Image) -> Image.Image:
    """Return `image` as RGB or RGBA. 16-bit grey is scaled, not cut off as Pillow does."""
    if image.mode.startswith("I"):
        image = image.convert("I").point(lambda value: value * (1 / 257)).convert("L")
    if image.mode == "RGBA" or image.has_transparency_data:
        return image.convert("RGBA")
    return image.convert("RGB")
