"""Texts are found wherever programs put them in an image file."""

from __future__ import annotations

import io
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import ExifTags, Image
from PIL.PngImagePlugin import PngInfo

from webui.images.open import read_infotext

XMP = "<x:xmpmeta>é</x:xmpmeta>"


def encoded(file_format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, file_format, **options)
    return buffer.getvalue()


def exif(comment: bytes | None = None, **fields: str | bytes) -> Image.Exif:
    block = Image.Exif()
    for name, value in fields.items():
        block[ExifTags.Base[name]] = value
    if comment is not None:
        block.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.UserComment] = comment
    return block


@pytest.mark.parametrize("file_format", ["JPEG", "WEBP", "AVIF", "PNG"])
def test_fields_of_exif(file_format: str) -> None:
    fields = {
        "Make": "workflow:{}",
        "Model": "prompt:{}",
        "ImageDescription": "é",
    }  # in UTF-8, against the letter of EXIF
    written = {name: text.encode() for name, text in fields.items()}
    block = exif(b"ASCII\0\0\0a cat", **written, XPComment="ü".encode("utf-16-le"))
    infotext, items = read_infotext(encoded(file_format, exif=block))
    assert infotext == "a cat"
    assert {name: items[name] for name in fields} == fields and items["XPComment"] == "ü"


@pytest.mark.parametrize("file_format", ["JPEG", "WEBP", "AVIF"])
def test_xmp(file_format: str) -> None:
    assert read_infotext(encoded(file_format, xmp=XMP.encode())) == (None, {"XMP": XMP})


def test_xmp_of_png() -> None:
    chunks = PngInfo()
    chunks.add_itxt("XML:com.adobe.xmp", XMP)
    assert read_infotext(encoded("PNG", pnginfo=chunks)) == (None, {"XMP": XMP})


@pytest.mark.parametrize("file_format", ["JPEG", "GIF"])
def test_a_comment_counts_where_there_is_nothing_better(file_format: str) -> None:
    assert read_infotext(encoded(file_format, comment="a cat ü".encode())) == ("a cat ü", {})


def test_a_comment_beside_exif_is_an_item() -> None:
    content = encoded("JPEG", comment=b"by hand", exif=exif(b"ASCII\0\0\0a cat"))
    assert read_infotext(content) == ("a cat", {"comment": "by hand"})


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")  # Pillow says so; errors in tests alone
@pytest.mark.filterwarnings("ignore:Truncated File Read")
@given(st.binary(max_size=200))
def test_damaged_exif_says_nothing_or_something(noise: bytes) -> None:
    read_infotext(encoded("JPEG", exif=b"Exif\0\0" + noise))
    read_infotext(encoded("JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08" + noise))


@given(st.binary(max_size=60))
def test_any_comment_is_read(content: bytes) -> None:
    for code in (b"UNICODE\0", b"ASCII\0\0\0", b"JIS\0\0\0\0\0", b"\0" * 8, b""):
        infotext, _ = read_infotext(encoded("JPEG", exif=exif(code + content, XPComment=content)))
        assert infotext is None or infotext.encode()
