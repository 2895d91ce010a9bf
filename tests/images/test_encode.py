"""PNG files carry their infotext where A1111 puts it."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from webui.images.encode import encode_jpeg, encode_png
from webui.images.open import open_image, read_infotext


@pytest.mark.parametrize("infotext", ["a cat\nSteps: 20", "カエル 🐸 – ünïcode\nSteps: 20", "x" * 50_000])
def test_png_text_is_read_back(infotext: str) -> None:
    content = encode_png(Image.new("RGB", (8, 8), "red"), infotext)
    assert read_infotext(content) == (infotext, {})
    with Image.open(io.BytesIO(content)) as image:
        assert image.info["parameters"] == infotext


def test_png_is_exact_and_bare_without_infotext() -> None:
    image = Image.effect_noise((16, 16), 50).convert("RGB")
    content = encode_png(image)
    assert read_infotext(content) == (None, {})
    assert open_image(content).tobytes() == image.tobytes()


def test_jpeg_of_any_mode() -> None:
    for mode in ("RGB", "RGBA", "L"):
        content = encode_jpeg(Image.new(mode, (8, 8)))
        assert content[:2] == b"\xff\xd8"
        assert open_image(content).size == (8, 8)


def test_jpeg_quality_counts() -> None:
    image = Image.effect_noise((64, 64), 50)
    assert len(encode_jpeg(image, 30)) < len(encode_jpeg(image, 90))
