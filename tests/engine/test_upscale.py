from __future__ import annotations

import itertools
from collections.abc import Generator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from tests.tiny_upscalers import compact_weights, compute_compact, rrdb_weights, write
from webui.domain.upscaling import UpscalerRef
from webui.engine.engine import Control, EngineOptions
from webui.engine.upscale import TileDone, Upscalers, cut, upscale, upscale_in_tiles
from webui.engine.vae import to_pixels
from webui.errors import BadFile, GenerationError, OutOfMemory
from webui.weights.loading.upscalers import Upscaler

LANCZOS = UpscalerRef(name="Lanczos", kind="plain")


@pytest.fixture
def networks(options: EngineOptions) -> Upscalers:
    return Upscalers(options)


@pytest.fixture
def picture() -> Image.Image:
    numbers = np.random.default_rng(5).integers(0, 256, (37, 61, 3), dtype=np.uint8)
    return Image.fromarray(numbers).resize((122, 74), Image.Resampling.BICUBIC)


@pytest.fixture
def doubling(tmp_path: Path) -> UpscalerRef:
    return network(write(tmp_path / "x2.safetensors", compact_weights(2)))


def network(path: Path, tile: int = 0, overlap: int = 8) -> UpscalerRef:
    return UpscalerRef(name=path.stem, kind="network", path=path, sha256=path.name, tile=tile, overlap=overlap)


def enlarge(picture: Image.Image, upscaler: UpscalerRef, width: int, height: int, networks: Upscalers) -> Image.Image:
    enlarged = upscale(picture, upscaler, width, height, networks, Control())
    assert enlarged is not None
    return enlarged


def difference(one: Image.Image, other: Image.Image) -> int:
    return int(np.abs(np.asarray(one).astype(int) - np.asarray(other)).max())


class Limited(nn.Module):
    """A network on a device that holds so many pixels; larger ones run out of memory."""

    def __init__(self, inner: nn.Module, most: int) -> None:
        super().__init__()
        self.inner = inner
        self.most = most
        self.seen: list[tuple[int, int]] = []

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append((x.shape[-1], x.shape[-2]))
        if x.shape[-1] * x.shape[-2] > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return self.inner(x)


def limit(networks: Upscalers, upscaler: UpscalerRef, most: int) -> Limited:
    """Load `upscaler` and let its device hold no more than `most` pixels."""
    loaded = networks.get(upscaler)
    limited = Limited(loaded.network, most)
    networks._kept = Upscaler(limited, loaded.scale)
    return limited


def test_a_network_makes_of_a_picture_what_its_weights_say(
    networks: Upscalers, picture: Image.Image, doubling: UpscalerRef
) -> None:
    expected = compute_compact(compact_weights(2), to_pixels(picture).unsqueeze(0), 2)[0]
    found = to_pixels(enlarge(picture, doubling, 244, 148, networks))
    assert (found - expected.clamp(0, 1)).abs().max() < 0.51 / 255


@pytest.mark.parametrize(("tile", "overlap"), [(96, 24), (64, 24), (40, 20), (33, 48)])
def test_tiles_do_not_show(
    networks: Upscalers, picture: Image.Image, doubling: UpscalerRef, tile: int, overlap: int
) -> None:
    whole = enlarge(picture, doubling, 244, 148, networks)
    tiled = enlarge(picture, doubling.replace(tile=tile, overlap=overlap), 244, 148, networks)
    assert difference(whole, tiled) <= 2
    assert enlarge(picture, doubling.replace(tile=tile, overlap=overlap), 244, 148, networks) == tiled, "deterministic"


def test_without_overlap_they_would_show(networks: Upscalers, picture: Image.Image, doubling: UpscalerRef) -> None:
    whole = enlarge(picture, doubling, 244, 148, networks)
    tiled = enlarge(picture, doubling.replace(tile=32, overlap=0), 244, 148, networks)
    assert difference(whole, tiled) > 20


@pytest.mark.parametrize(("length", "tile", "overlap"), [(100, 40, 8), (193, 192, 8), (500, 192, 48), (64, 16, 12)])
def test_tiles_cover_everything_and_overlap(length: int, tile: int, overlap: int) -> None:
    tiles = cut(length, tile, overlap)
    assert (tiles[0][0], tiles[-1][1]) == (0, length)
    assert {end - start for start, end in tiles} == {tile}
    shared = [before[1] - after[0] for before, after in itertools.pairwise(tiles)]
    assert min(shared) >= overlap
    assert (len(tiles) - 1) * (tile - overlap) + overlap < length, "one tile less is too few"


def test_one_tile_is_enough_for_small_pictures_or_without_a_limit() -> None:
    assert cut(100, 192, 8) == cut(100, 100, 8) == cut(100, 0, 8) == [(0, 100)]


def test_a_network_runs_until_the_size_is_reached(
    networks: Upscalers, picture: Image.Image, doubling: UpscalerRef
) -> None:
    twice = enlarge(enlarge(picture, doubling, 244, 148, networks), doubling, 488, 296, networks)
    assert enlarge(picture, doubling, 488, 296, networks) == twice
    odd = enlarge(picture, doubling, 300, 200, networks)
    assert odd == twice.resize((300, 200), Image.Resampling.LANCZOS)


def test_at_the_same_size_a_network_still_runs_and_below_it_does_not(
    networks: Upscalers, picture: Image.Image, doubling: UpscalerRef
) -> None:
    doubled = enlarge(picture, doubling, 244, 148, networks)
    assert enlarge(picture, doubling, *picture.size, networks) == doubled.resize(picture.size, Image.Resampling.LANCZOS)
    assert enlarge(picture, doubling, 61, 37, networks) == picture.resize((61, 37), Image.Resampling.LANCZOS)


def test_a_network_that_enlarges_nothing_runs_once(tmp_path: Path, networks: Upscalers, picture: Image.Image) -> None:
    weights = compact_weights(1)
    cleaner = network(write(tmp_path / "x1.safetensors", weights))
    cleaned = enlarge(picture, cleaner, *picture.size, networks)
    expected = compute_compact(weights, to_pixels(picture).unsqueeze(0), 1)[0].clamp(0, 1)
    assert (to_pixels(cleaned) - expected).abs().max() < 0.51 / 255
    assert enlarge(picture, cleaner, 200, 150, networks) == cleaned.resize((200, 150), Image.Resampling.LANCZOS)


@pytest.mark.parametrize("size", [(1, 1), (3, 2), (61, 37)])
def test_networks_that_want_multiples_take_any_size(tmp_path: Path, networks: Upscalers, size: tuple[int, int]) -> None:
    upscaler = network(write(tmp_path / "x1.safetensors", rrdb_weights(inputs=48)), tile=32)
    assert enlarge(Image.new("RGB", size, "red"), upscaler, *size, networks).size == size


def test_plain_ways(networks: Upscalers, picture: Image.Image) -> None:
    assert enlarge(picture, LANCZOS, 200, 100, networks) == picture.resize((200, 100), Image.Resampling.LANCZOS)
    nearest = UpscalerRef(name="Nearest", kind="plain")
    assert enlarge(picture, nearest, 244, 148, networks) == picture.resize((244, 148), Image.Resampling.NEAREST)
    nothing = UpscalerRef(name="None", kind="plain")
    assert enlarge(picture, nothing, *picture.size, networks) == picture
    with pytest.raises(GenerationError, match="enlarges latents"):
        enlarge(picture, UpscalerRef(name="Latent", kind="latent"), 200, 100, networks)


def test_transparency_is_kept(networks: Upscalers, picture: Image.Image, doubling: UpscalerRef) -> None:
    alpha = Image.linear_gradient("L").resize(picture.size)
    see_through = picture.copy()
    see_through.putalpha(alpha)
    found = enlarge(see_through, doubling, 244, 148, networks)
    assert found.getchannel("A") == alpha.resize((244, 148), Image.Resampling.LANCZOS)
    assert found.convert("RGB") == enlarge(picture, doubling, 244, 148, networks)


def steps(work: Generator[TileDone, None, Image.Image]) -> list[tuple[int, int]]:
    return [(tile.number, tile.count) for tile in work]


def test_progress_counts_the_tiles_of_all_passes(
    networks: Upscalers, picture: Image.Image, doubling: UpscalerRef
) -> None:
    told = steps(upscale_in_tiles(picture, doubling.replace(tile=64), 488, 296, networks))
    count = 3 * 2 + 5 * 3  # 122×74 and then 244×148 in tiles of 64 that overlap by 8
    assert told == [(number, count) for number in range(1, count + 1)]
    assert steps(upscale_in_tiles(picture, LANCZOS, 488, 296, networks)) == []


def test_when_memory_runs_out_the_tiles_become_smaller(
    networks: Upscalers, picture: Image.Image, doubling: UpscalerRef
) -> None:
    upscaler = doubling.replace(tile=192, overlap=30)
    whole = enlarge(picture, upscaler, 244, 148, networks)
    limited = limit(networks, upscaler, most=61 * 61)
    assert difference(enlarge(picture, upscaler, 244, 148, networks), whole) <= 2
    assert limited.seen[:2] == [(122, 74), (61, 61)]
    assert set(limited.seen[1:]) == {(61, 61)}


def test_when_nothing_helps_the_error_says_so(networks: Upscalers, picture: Image.Image, doubling: UpscalerRef) -> None:
    limited = limit(networks, doubling, most=100)
    with pytest.raises(OutOfMemory, match="even 61 pixels at a time with x2"):
        enlarge(picture, doubling, 244, 148, networks)
    assert limited.seen == [(122, 74), (61, 61)]


def test_a_network_that_overflows_says_so(tmp_path: Path, networks: Upscalers, picture: Image.Image) -> None:
    weights = compact_weights(2) | {"body.0.bias": torch.full((8,), torch.nan)}
    with pytest.raises(GenerationError, match="NaN"):
        enlarge(picture, network(write(tmp_path / "nan.safetensors", weights)), 244, 148, networks)


def test_in_half_precision_it_computes_again_in_single(
    networks: Upscalers, picture: Image.Image, doubling: UpscalerRef, caplog: pytest.LogCaptureFixture
) -> None:
    expected = enlarge(picture, doubling, 244, 148, networks)
    inner = networks.get(doubling).network

    class Overflowing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = inner.half()

        def forward(self, x: Tensor) -> Tensor:
            return self.inner(x) if x.dtype == torch.float32 else x.new_full((1, 3, *x.shape[2:]), torch.inf)

    networks._kept = Upscaler(Overflowing(), 2)
    assert difference(enlarge(picture, doubling, 244, 148, networks), expected) <= 1
    assert "float32 from now on" in caplog.text


def test_the_last_network_is_kept(tmp_path: Path, networks: Upscalers, doubling: UpscalerRef) -> None:
    other = network(write(tmp_path / "x4.safetensors", rrdb_weights()))
    assert not networks.holds(doubling)
    kept = networks.get(doubling)
    assert networks.holds(doubling) and networks.get(doubling) is kept
    (tmp_path / "broken.safetensors").write_bytes(b"nothing")
    with pytest.raises(BadFile):
        networks.get(network(tmp_path / "broken.safetensors"))
    assert networks.get(doubling) is kept, "a broken file leaves the old one loaded"
    networks.get(other)
    assert networks.holds(other) and not networks.holds(doubling)
    networks.release()
    assert not networks.holds(other)
    assert networks.holds(LANCZOS), "plain ways need no loading"


def test_a_stopped_picture_is_none(networks: Upscalers, picture: Image.Image, doubling: UpscalerRef) -> None:
    assert upscale(picture, doubling, 244, 148, networks, Control(interrupted=True)) is None
    assert upscale(picture, LANCZOS, 244, 148, networks, Control(skipped=True)) is None
