"""The front door for images lets good files in upright and keeps hostile ones out with clear words."""

from __future__ import annotations

import io
import os
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import ExifTags, Image, ImageFile, PngImagePlugin

from webui.errors import BadFile
from webui.images.open import FORMATS, MAX_BYTES, MAX_TEXT, open_image, read_infotext, read_size

INFOTEXT = "a cat – 猫\nSteps: 20, Sampler: Euler a, Seed: 1"

AS_IN_PRODUCTION = pytest.mark.filterwarnings("ignore::UserWarning:PIL", "ignore::RuntimeWarning:PIL")
"""Pillow warns about much that it then opens; here as errors, the warnings would hide what happens after them."""


def encoded(image: Image.Image, form: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def picture() -> Image.Image:
    """A picture with four different corners: red green / blue white."""
    image = Image.new("RGB", (16, 8), "white")
    image.paste("red", (0, 0, 8, 4))
    image.paste("lime", (8, 0, 16, 4))
    image.paste("blue", (0, 4, 8, 8))
    return image


def png_chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int = 2, height: int = 2, *chunks: bytes, after: bytes = b"") -> bytes:
    """A grey PNG with more chunks before (and after) its pixels; the pixels suit 2×2."""
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    pixels = png_chunk(b"IDAT", zlib.compress(b"\0\1\2" * 2))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + pixels + after + png_chunk(b"IEND", b"")


# Good files


@pytest.mark.parametrize("form", FORMATS)
def test_all_formats_open(form: str) -> None:
    options = {"lossless": True} if form == "WEBP" else {}
    image = open_image(encoded(picture(), form, **options))
    assert (image.mode, image.size) == ("RGB", (16, 8))
    corners = [image.getpixel(place) for place in ((0, 0), (15, 0), (0, 7), (15, 7))]
    if form not in ("JPEG", "AVIF"):
        assert corners == [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)]


def test_all_sources_open(tmp_path: Path) -> None:
    content = encoded(picture(), "PNG")
    path = tmp_path / "a.png"
    path.write_bytes(content)
    for source in (content, path, io.BytesIO(content)):
        assert open_image(source).tobytes() == picture().tobytes()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_orientation_is_applied_once(form: str, orientation: int) -> None:
    turns = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = picture().transpose(turns[orientation]) if orientation in turns else picture()
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    options: dict[str, Any] = {"JPEG": {"quality": 95, "subsampling": 0}, "WEBP": {"lossless": True}}.get(form, {})
    image = open_image(encoded(stored, form, exif=exif, **options))
    assert image.size == (16, 8)
    for place in ((1, 1), (14, 1), (1, 6), (14, 6)):
        found, wanted = image.getpixel(place), picture().getpixel(place)
        assert isinstance(found, tuple) and isinstance(wanted, tuple)
        assert max(abs(one - other) for one, other in zip(found, wanted, strict=True)) < 12
    assert image.getexif().get(ExifTags.Base.Orientation, 1) == 1


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG", "TIFF"])
def test_only_the_first_frame_counts(form: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "lime", "blue")]
    content = encoded(frames[0], form, save_all=True, append_images=frames[1:])
    image = open_image(content)
    pixel = image.convert("RGB").getpixel((4, 4))
    assert isinstance(pixel, tuple) and pixel[0] > 240 and max(pixel[1:]) < 15


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "CMYK", "F", "LAB"])
def test_opaque_modes_become_rgb(mode: str) -> None:
    source = Image.new("RGB", (4, 4), (255, 255, 255))
    if mode == "P":
        source = source.quantize(4)
    elif mode != "LAB":
        source = source.convert(mode)
    else:
        source = Image.new("LAB", (4, 4), (255, 128, 128))
    image = open_image(encoded(source, "TIFF"))
    pixel = image.getpixel((0, 0))
    assert image.mode == "RGB" and isinstance(pixel, tuple) and min(pixel) > 250


@pytest.mark.parametrize("mode", ["LA", "RGBA", "P"])
def test_transparency_is_kept(mode: str) -> None:
    source = Image.new("RGBA", (4, 4), (255, 0, 0, 0))
    source.paste((0, 0, 255, 255), (0, 0, 2, 4))
    converted = source.quantize(8) if mode == "P" else source.convert(mode)
    image = open_image(encoded(converted, "PNG"))
    assert image.mode == "RGBA"
    assert image.getchannel("A").get_flattened_data() == (255, 255, 0, 0) * 4


def test_sixteen_bits_are_scaled() -> None:
    source = Image.new("I;16", (3, 1))
    for place, value in enumerate((0, 32768, 65535)):
        source.putpixel((place, 0), value)
    for form in ("PNG", "TIFF"):
        image = open_image(encoded(source, form))
        assert [image.getpixel((place, 0)) for place in range(3)] == [(0,) * 3, (127,) * 3, (255,) * 3]


def test_what_follows_the_end_is_ignored() -> None:
    assert open_image(encoded(picture(), "PNG") + b"<script>" * 1000).size == (16, 8)


def test_pillow_is_left_as_it_is() -> None:
    open_image(encoded(picture(), "PNG"))
    assert Image.MAX_IMAGE_PIXELS == 1024 * 1024 * 1024 // 4 // 3
    assert ImageFile.LOAD_TRUNCATED_IMAGES is False
    assert PngImagePlugin.MAX_TEXT_CHUNK == 1024 * 1024


# Hostile files


def bomb() -> bytes:
    return zlib.compress(b"a" * 20_000_000)


def jpeg_header() -> bytes:
    """A JPEG that says it has 65535×65535 pixels."""
    content = encoded(picture(), "JPEG")
    size = content.index(b"\xff\xc0") + 5
    return content[:size] + b"\xff" * 4 + content[size + 4 :]


HOSTILE: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "empty"),
    "signature": (b"\x89PNG\r\n\x1a\n", "not an image"),
    "huge": (png(100_000, 100_000), "too many pixels"),
    "large": (png(9000, 9000), "too large: 9000×9000"),
    "thin": (png(65_536, 1), "too large: 65536×1"),
    "flat": (png(0, 100), "not an image"),
    "short": (png(64, 64), "damaged"),
    "no pixels": (png()[:33] + png_chunk(b"IEND", b""), "damaged"),
    "bad checksum": (png()[:-20] + b"\0" * 4 + png()[-16:], "damaged"),
    "compressed text": (png(2, 2, png_chunk(b"zTXt", b"parameters\0\0" + bomb())), "damaged"),
    "international text": (png(2, 2, png_chunk(b"iTXt", b"parameters\0\1\0\0\0" + bomb())), "damaged"),
    "text behind": (png(after=png_chunk(b"zTXt", b"parameters\0\0" + bomb())), "damaged"),
    "profile": (png(2, 2, png_chunk(b"iCCP", b"x\0\0" + bomb())), "damaged"),
    "svg": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not an image"),
    "html": (b"<!doctype html><script>alert(1)</script>", "not an image"),
    "pdf": (b"%PDF-1.7\n", "not an image"),
    "eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n", "not an image"),
    "jpeg header": (jpeg_header(), "too many pixels"),
}


@AS_IN_PRODUCTION
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_refused_with_the_reason(name: str) -> None:
    content, reason = HOSTILE[name]
    with pytest.raises(BadFile) as caught:
        open_image(content)
    assert reason in caught.value.message
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("form", ["ICO", "PPM", "TGA", "PCX", "DDS", "JPEG2000"])
def test_other_formats_are_refused(form: str) -> None:
    with pytest.raises(BadFile, match="not an image"):
        open_image(encoded(Image.new("RGB", (16, 16)), form))


@pytest.mark.parametrize("form", FORMATS)
def test_truncated_files_are_refused_or_whole(form: str) -> None:
    image = Image.effect_noise((64, 64), 80).convert("RGB")
    content = encoded(image, form)
    for part in range(20):
        cut = content[: len(content) * part // 20]
        with pytest.raises(BadFile):
            open_image(cut)


def test_files_too_large_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    with path.open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    with pytest.raises(BadFile, match="larger than 64 MiB"):
        open_image(path)


def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe", tmp_path / "missing", Path("/dev/zero")):
        with pytest.raises(BadFile, match="no image file"):
            open_image(path)


@AS_IN_PRODUCTION
@pytest.mark.parametrize("form", FORMATS)
def test_changed_bytes_open_or_are_refused(form: str) -> None:
    content = bytearray(encoded(picture(), form))
    for place in range(len(content)):
        for value in (0, 255):
            changed = bytes(content[:place]) + bytes([value]) + bytes(content[place + 1 :])
            try:
                open_image(changed)
                read_infotext(changed)
            except BadFile:
                pass


@given(
    st.binary(max_size=200),
    st.sampled_from([b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF", b"BM", b"GIF89a", b"II*\0"]),
)
def test_noise_is_refused(noise: bytes, start: bytes) -> None:
    with pytest.raises(BadFile):
        open_image(start + noise)


# Texts


def comment_exif(content: bytes | str) -> Image.Exif:
    exif = Image.Exif()
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.UserComment] = content
    return exif


@pytest.mark.parametrize("form", ["JPEG", "WEBP"])
@pytest.mark.parametrize(
    "comment",
    [
        b"UNICODE\0" + INFOTEXT.encode("utf-16-be"),
        b"UNICODE\0" + INFOTEXT.encode("utf-16-le"),
        b"UNICODE\0" + INFOTEXT.encode("utf-16"),
        b"\0" * 8 + INFOTEXT.encode(),
        INFOTEXT.encode() + b"\0",
    ],
    ids=["big-endian", "little-endian", "byte order mark", "undefined", "no code"],
)
def test_user_comments_are_read(form: str, comment: bytes) -> None:
    assert read_infotext(encoded(picture(), form, exif=comment_exif(comment)))[0] == INFOTEXT


def test_plain_user_comments_are_read() -> None:
    assert read_infotext(encoded(picture(), "JPEG", exif=comment_exif(b"ASCII\0\0\0a cat")))[0] == "a cat"
    japanese = b"JIS\0\0\0\0\0" + "猫".encode("iso2022_jp")
    assert read_infotext(encoded(picture(), "JPEG", exif=comment_exif(japanese)))[0] == "猫"


@AS_IN_PRODUCTION
@pytest.mark.parametrize(
    "exif", [b"Exif\0\0garbage", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff"]
)
def test_damaged_exif_says_nothing(exif: bytes) -> None:
    content = encoded(picture(), "JPEG", exif=exif)
    assert read_infotext(content)[0] is None
    assert open_image(content).size == (16, 8)


def test_png_texts_are_read_before_and_behind_the_pixels() -> None:
    text = png_chunk(b"tEXt", b"parameters\0a cat")
    other = png_chunk(b"tEXt", b"Software\0x")
    assert read_infotext(png(2, 2, text, other)) == ("a cat", {"Software": "x"})
    assert read_infotext(png(after=text)) == ("a cat", {})
    assert read_infotext(png()) == (None, {})


def test_a_png_that_ends_early_still_tells_its_text() -> None:
    content = png(64, 64, png_chunk(b"tEXt", b"parameters\0a cat"))
    assert read_infotext(content)[0] == "a cat"


def test_odd_texts_are_harmless() -> None:
    twice = png(2, 2, png_chunk(b"tEXt", b"parameters\0one"), png_chunk(b"tEXt", b"parameters\0two"))
    assert read_infotext(twice)[0] == "two"
    latin = png(2, 2, png_chunk(b"tEXt", b"parameters\0\xff\xfe\x00a"))
    assert read_infotext(latin)[0] == "ÿþ\0a"
    many = png(2, 2, *(png_chunk(b"tEXt", b"key%d\0value" % number) for number in range(10_000)))
    assert len(read_infotext(many)[1]) == 10_000
    assert read_infotext(png(2, 2, png_chunk(b"tEXt", b"\0x")))[0] is None


def test_too_much_text_is_refused_but_the_pixels_open() -> None:
    content = png(2, 2, png_chunk(b"tEXt", b"parameters\0" + b"a" * (MAX_TEXT + 1)))
    with pytest.raises(BadFile, match="too much text"):
        read_infotext(content)
    assert open_image(content).size == (2, 2)


def test_size_is_read_without_the_pixels() -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (40, 30)).save(buffer, format="PNG")
    assert read_size(buffer.getvalue()[:60]) == (40, 30)
