"""Colour correction: the reference's colours, the picture's own light."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from webui.images.colours import from_lab, match_colours, to_lab


def test_lab_of_known_colours() -> None:
    image = Image.new("RGB", (3, 1))
    image.putdata([(255, 255, 255), (255, 0, 0), (0, 0, 255)])
    white, red, blue = to_lab(image)[0]
    assert white == pytest.approx([100, 0, 0], abs=0.01)
    assert red == pytest.approx([53.24, 80.09, 67.20], abs=0.02)
    assert blue == pytest.approx([32.30, 79.19, -107.86], abs=0.02)


def test_there_and_back_changes_nothing() -> None:
    noise = Image.fromarray(np.random.default_rng(1).integers(0, 256, (40, 40, 3), np.uint8))
    assert from_lab(to_lab(noise)).tobytes() == noise.tobytes()


def test_a_picture_matched_to_itself_is_itself() -> None:
    noise = Image.fromarray(np.random.default_rng(1).integers(0, 256, (40, 40, 3), np.uint8))
    assert match_colours(noise, noise).tobytes() == noise.tobytes()


def test_colours_come_from_the_reference_and_light_from_the_picture() -> None:
    drawn = np.random.default_rng(2)
    tinted = Image.fromarray(drawn.normal((120, 160, 120), 12, (64, 64, 3)).clip(0, 255).astype(np.uint8))
    reference = Image.fromarray(drawn.normal((150, 110, 120), 12, (48, 80, 3)).clip(0, 255).astype(np.uint8))
    matched = to_lab(match_colours(tinted, reference))
    wanted = to_lab(reference)
    assert matched[..., 1:].mean((0, 1)) == pytest.approx(wanted[..., 1:].mean((0, 1)), abs=0.5)
    assert matched[..., 1:].std((0, 1)) == pytest.approx(wanted[..., 1:].std((0, 1)), abs=0.5)
    assert np.abs(matched[..., 0] - to_lab(tinted)[..., 0]).mean() < 0.5


def test_flat_pictures_can_be_matched() -> None:
    grey, red = Image.new("RGB", (8, 8), (128, 128, 128)), Image.new("RGB", (8, 8), (200, 40, 40))
    matched = match_colours(grey, red).getpixel((0, 0))
    assert isinstance(matched, tuple) and matched[0] > matched[1]
