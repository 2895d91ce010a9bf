"""The texts inside an opened image file: PNG's text chunks, EXIF, XMP, comments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from PIL import ExifTags, Image

from webui.images.encode import INFOTEXT_KEY

XMP_KEY: Final = "XMP"
EXIF_KEYS: Mapping[int, str] = {
    ExifTags.Base.ImageDescription: "ImageDescription",
    ExifTags.Base.Make: "Make",
    ExifTags.Base.Model: "Model",
    ExifTags.Base.Software: "Software",
    ExifTags.Base.XPComment: "XPComment",
}
"""EXIF's fields where programs put texts besides UserComment → the name the text gets here."""

_PNG_XMP = "XML:com.adobe.xmp"
_COMMENT = "comment"  # of JPEG and GIF; there, A1111 puts what other formats have in EXIF
_CODES: Mapping[bytes, str] = {b"ASCII\0\0\0": "ascii", b"JIS\0\0\0\0\0": "iso2022_jp", b"\0" * 8: "utf-8"}


def texts_of(image: Image.Image) -> dict[str, str]:
    """Return every text in an image by name. What A1111 would call its parameters has the name `parameters`.

    A damaged EXIF block has no texts.
    """
    texts = {str(key): value for key, value in image.info.items() if isinstance(value, str)}
    texts |= {key: _decoded(value) for key in (_COMMENT,) if isinstance(value := image.info.get(key), bytes)}
    xmp = texts.pop(_PNG_XMP, None) or _xmp(image)
    comment, fields = _exif_texts(image)
    found = {**fields, **({XMP_KEY: xmp} if xmp else {}), **texts}
    if INFOTEXT_KEY not in found and (parameters := comment or found.pop(_COMMENT, None)):
        found[INFOTEXT_KEY] = parameters
    return found


def _decoded(content: bytes) -> str:
    return content.decode("utf-8", "replace").strip("\0")


def _xmp(image: Image.Image) -> str | None:
    xmp = image.info.get("xmp")
    return _decoded(xmp) if isinstance(xmp, bytes) else None


def _exif_texts(image: Image.Image) -> tuple[str | None, dict[str, str]]:
    """Return the UserComment, and the other texts by their names."""
    try:
        exif = image.getexif()
        comment = _comment(exif.get_ifd(ExifTags.IFD.Exif).get(ExifTags.Base.UserComment))
        fields = {name: _field(exif.get(tag)) for tag, name in EXIF_KEYS.items()}
    except Exception:  # decoders meet hostile bytes with any exception there is
        return None, {}
    return comment, {name: text for name, text in fields.items() if text}


def _field(value: object) -> str:
    """Return a field of EXIF as text. Pillow takes ASCII for Latin-1; XPComment is UTF-16."""
    if isinstance(value, bytes):
        return value.decode("utf-16-le", "replace").strip("\0")
    if not isinstance(value, str):
        return ""
    try:
        return value.encode("latin-1").decode("utf-8").strip("\0")
    except UnicodeError:
        return value.strip("\0")


def _comment(raw: object) -> str | None:
    """Return a UserComment, or None when there is none."""
    if isinstance(raw, str):
        return raw.strip("\0") or None
    if not isinstance(raw, bytes):
        return None
    return _comment_text(raw[:8], raw[8:]).strip("\0") or None


def _comment_text(code: bytes, content: bytes) -> str:
    if code == b"UNICODE\0":
        return content.decode(_utf16_order(content), "replace")
    if code in _CODES:
        return content.decode(_CODES[code], "replace")
    return (code + content).decode("utf-8", "replace")  # written without the eight bytes of its code


def _utf16_order(content: bytes) -> str:
    """Tell the byte order: programs disagree, but the high bytes of most text are zero."""
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return "utf-16"
    return "utf-16-le" if content[1::2].count(0) > content[0::2].count(0) else "utf-16-be"
