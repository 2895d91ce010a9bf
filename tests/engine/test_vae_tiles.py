from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from webui.engine import vae
from webui.engine.vae_tiles import compute_in_tiles, fade, spans
from webui.weights.loading.load import load
from webui.weights.memory import EngineOptions, Resident, choose_placement
from webui.weights.recognition.identify import identify

POCKET = Path(__file__).parents[2] / "models" / "Stable-diffusion" / "pocket-sd1"


@pytest.mark.parametrize(("length", "side"), [(64, 32), (65, 32), (33, 32), (200, 48), (32, 32), (8, 32), (2048, 512)])
def test_tiles_cover_a_side_and_fade_into_each_other(length: int, side: int) -> None:
    weights = torch.zeros(length)
    for begin, end, before, after in spans(length, side):
        assert begin % 2 == 0
        assert end - begin == min(side, length) or (end == length and end - begin == side + 1)
        weights[begin:end] += fade(end - begin, before, after)
    assert torch.allclose(weights, torch.ones(length), atol=1e-6)


@pytest.mark.parametrize(("height", "width"), [(64, 64), (40, 100), (17, 70), (20, 20)])
def test_what_sees_nothing_around_it_comes_out_the_same(height: int, width: int) -> None:
    whole = torch.randn(4, height, width)

    def enlarged(tile: Tensor) -> Tensor:
        return functional.interpolate(tile[None], scale_factor=8, mode="nearest")[0]

    assert torch.allclose(compute_in_tiles(enlarged, whole, 32), enlarged(whole), atol=1e-5)

    def shrunk(tile: Tensor) -> Tensor:
        return functional.avg_pool2d(tile[None], 8)[0]

    pixels = enlarged(whole)
    assert torch.allclose(compute_in_tiles(shrunk, pixels, 256), whole, atol=1e-5)


def test_no_tile_is_larger_than_asked_for() -> None:
    seen: list[tuple[int, ...]] = []

    def watched(tile: Tensor) -> Tensor:
        seen.append(tuple(tile.shape))
        return tile

    compute_in_tiles(watched, torch.randn(4, 100, 20), 32)
    assert set(seen) == {(4, 32, 20)}


@pytest.fixture(scope="module")
def pocket() -> Resident:
    checkpoint = identify(POCKET)
    placement = choose_placement(EngineOptions(use_cpu=frozenset({"all"}), half=False), checkpoint)
    return Resident(load(checkpoint, placement.dtypes), placement)


def scene(side: int) -> Image.Image:
    """Return a smooth picture with a few edges, as the model knows them."""
    across = np.linspace(0, 1, side)
    pixels = np.stack(np.broadcast_arrays(across[None], across[:, None], 0.5 + 0 * across[None]), -1)
    pixels[side // 3 : side // 2, side // 5 : side // 2] = (0.9, 0.1, 0.1)
    return Image.fromarray((pixels * 255).astype(np.uint8))


def test_seams_are_not_seen(pocket: Resident, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiles of half a picture: their colours differ by 3 of 255 (attention sees less), but they do so smoothly."""
    picture = scene(384)
    whole = vae.encode(pocket, picture)
    before = np.asarray(vae.decode(pocket, whole), np.int16)
    monkeypatch.setattr(pocket, "vae_tile", lambda *_: 32)
    tiled = vae.encode(pocket, picture)
    assert (tiled - whole).abs().mean() < 0.05 * whole.std()
    off = np.asarray(vae.decode(pocket, whole), np.int16) - before
    assert 0 < np.abs(off).mean() < 3
    steps = np.abs(np.diff(off, axis=1)).mean((0, 2))
    seams = [
        column * 8 + shift for span in spans(48, 32) for column in span[:2] if 0 < column < 48 for shift in (-1, 0)
    ]
    assert steps[seams].max() < 1
