"""Files of every format carry their infotext where A1111 puts it."""

from __future__ import annotations

import io
from typing import get_args

import pytest
from PIL import ExifTags, Image

from webui.domain.plan import ImageFormat
from webui.images.encode import LARGEST_SIDE, encode, encode_jpeg, encode_png
from webui.images.open import open_image, read_infotext

TEXTS = ["a cat\nSteps: 20", "カエル 🐸 – ünïcode\nSteps: 20", "x" * 30_000]
FORMATS: tuple[ImageFormat, ...] = get_args(ImageFormat)


@pytest.mark.parametrize("infotext", [*TEXTS, "x" * 50_000])
def test_png_text_is_read_back(infotext: str) -> None:
    content = encode_png(Image.new("RGB", (8, 8), "red"), infotext)
    assert read_infotext(content) == (infotext, {})
    with Image.open(io.BytesIO(content)) as image:
        assert image.info["parameters"] == infotext


@pytest.mark.parametrize("infotext", TEXTS)
@pytest.mark.parametrize("file_format", FORMATS)
def test_every_format_keeps_its_text(file_format: ImageFormat, infotext: str) -> None:
    file = encode(Image.new("RGB", (16, 8), "red"), infotext, file_format)
    assert file.suffix == f".{file_format}"
    assert read_infotext(file.content) == (infotext, {})
    with Image.open(io.BytesIO(file.content)) as image:
        assert (image.format, image.size) == ({"jpg": "JPEG"}.get(file_format, file_format.upper()), (16, 8))


def test_the_comment_is_as_a1111_writes_it() -> None:
    file = encode(Image.new("RGB", (8, 8)), "aé", "jpg")
    with Image.open(io.BytesIO(file.content)) as image:
        comment = image.getexif().get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.UserComment]
    assert comment == b"UNICODE\0\0a\0\xe9"


def test_png_is_exact_and_bare_without_infotext() -> None:
    image = Image.effect_noise((16, 16), 50).convert("RGB")
    content = encode_png(image)
    assert read_infotext(content) == (None, {})
    assert open_image(content).tobytes() == image.tobytes()


def test_webp_can_be_exact_too() -> None:
    image = Image.effect_noise((16, 16), 50).convert("RGB")
    exact, smaller = encode(image, "a", "webp", lossless=True), encode(image, "a", "webp", 50)
    assert open_image(exact.content).tobytes() == image.tobytes() != open_image(smaller.content).tobytes()


@pytest.mark.parametrize("file_format", ["jpg", "webp", "avif"])
def test_quality_counts(file_format: ImageFormat) -> None:
    image = Image.effect_noise((64, 64), 50).convert("RGB")
    low, high = (encode(image, None, file_format, quality).content for quality in (30, 90))
    assert len(low) < len(high)
    assert read_infotext(low) == (None, {})


@pytest.mark.parametrize("file_format", ["jpg", "webp", "avif"])
def test_what_a_format_cannot_hold_becomes_png(file_format: ImageFormat) -> None:
    wide = encode(Image.new("RGB", (LARGEST_SIDE[file_format] + 1, 1)), "a cat", file_format)
    assert wide.suffix == ".png" and wide.content.startswith(b"\x89PNG")
    widest = encode(Image.new("RGB", (LARGEST_SIDE[file_format], 1)), "a cat", file_format)
    assert widest.suffix == f".{file_format}"


def test_a_text_too_long_for_a_jpeg_makes_it_a_png() -> None:
    image, longer = Image.new("RGB", (8, 8)), "x" * 33_000
    file = encode(image, longer, "jpg")
    assert file.suffix == ".png" and read_infotext(file.content) == (longer, {})
    assert encode(image, longer, "webp").suffix == ".webp"


def test_jpeg_of_any_mode() -> None:
    for mode in ("RGB", "RGBA", "L"):
        content = encode_jpeg(Image.new(mode, (8, 8)))
        assert content[:2] == b"\xff\xd8"
        assert open_image(content).size == (8, 8)


def test_what_is_transparent_becomes_white_in_a_jpeg_and_stays_elsewhere() -> None:
    clear = Image.new("RGBA", (16, 16), (0, 0, 0, 0))
    shown = {name: open_image(encode(clear, None, name).content) for name in FORMATS}
    assert {name: image.mode for name, image in shown.items()} == {
        "png": "RGBA", "jpg": "RGB", "webp": "RGBA", "avif": "RGBA",
    }  # fmt: skip
    assert shown["jpg"].getpixel((8, 8)) == (255, 255, 255)
