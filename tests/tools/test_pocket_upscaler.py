"""The shipped upscaler against Lanczos on scenes it never saw, and the way it was trained."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL

from tools.pocket import upscaler as pocket
from tools.pocket.scenes import CANVAS
from tools.pocket.upscaler import CODER, CompactNet, Degrade
from webui.weights.loading.upscalers import load_upscaler
from webui.weights.recognition.upscaler_files import CompactShape, identify_upscaler

SHIPPED = Path("models/ESRGAN/pocket-x2.safetensors")


@pytest.fixture(scope="module")
def shipped() -> CompactNet:
    network = load_upscaler(identify_upscaler(SHIPPED)).network
    assert isinstance(network, CompactNet)
    return network


def coded() -> Degrade:
    return pocket.Coded(AutoencoderKL.from_pretrained(CODER, torch_dtype=torch.float32))


def test_it_is_small_and_says_what_it_is() -> None:
    assert SHIPPED.stat().st_size < 1_000_000
    assert identify_upscaler(SHIPPED).shape == CompactShape(pocket.FEATURES, pocket.CONVOLUTIONS, pocket.SCALE)
    assert "Apache-2.0" in SHIPPED.with_suffix(".md").read_text(encoding="utf-8")


def test_it_is_clearly_better_than_lanczos_on_unseen_scenes(shipped: CompactNet) -> None:
    scores = pocket.measure(shipped, {"small": pocket.shrink, "spoilt": pocket.spoil}, count=10)
    assert scores["small"]["network"] > scores["small"]["lanczos"] + 5
    assert scores["spoilt"]["network"] > scores["spoilt"]["lanczos"] + 5


def test_it_is_better_on_what_the_pocket_model_draws_and_its_edges_are_sharper(shipped: CompactNet) -> None:
    small, large = pocket.draw_pairs(10, 77, (coded(),), CANVAS)
    plain = [pocket.lanczos(each) for each in small]
    enlarged = [pocket.enlarge(shipped, each) for each in small]
    assert pocket.psnr(enlarged, large) > pocket.psnr(plain, large) + 0.2

    def steepest(pictures: list[np.ndarray]) -> float:
        """The mean of the steepest hundredth of all steps from pixel to pixel."""
        jumps = np.sort(np.abs(np.diff(np.stack(pictures).astype(int), axis=2)).max(-1).ravel())
        return float(jumps[-len(jumps) // 100 :].mean())

    assert steepest(enlarged) > 1.15 * steepest(plain)


def test_the_ways_to_make_a_picture_small_are_worse_in_turn() -> None:
    ways = {"small": pocket.shrink, "spoilt": pocket.spoil, "coded": coded()}
    found = {}
    for name, way in ways.items():
        small, large = pocket.draw_pairs(6, 5, (way,), 128)
        assert {each.shape for each in small} == {(64, 64, 3)} and {each.shape for each in large} == {(128, 128, 3)}
        found[name] = pocket.psnr([pocket.lanczos(each) for each in small], large)
    assert found["small"] > found["spoilt"] > 20
    assert found["small"] > found["coded"] > 20


def test_training_learns_and_ships_what_it_learnt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    monkeypatch.setattr(pocket, "FEATURES", 8)
    monkeypatch.setattr(pocket, "CONVOLUTIONS", 1)
    small, large = pocket.draw_pairs(8, 1, (pocket.shrink,), 128)
    network = pocket.new_network()
    before = pocket.psnr([pocket.enlarge(network, each) for each in small], large)
    steps = pocket.train(network, small, large, minutes=8 / 60)
    after = pocket.psnr([pocket.enlarge(network, each) for each in small], large)
    assert steps > 5 and after > before + 3
    path = tmp_path / "new" / "x2.safetensors"
    pocket.save(network, path)
    pocket.write_card(path, {"made small": {"lanczos": 30.0, "network": 29.5}}, {"steps": "7", "minutes": "1"})
    read = load_upscaler(identify_upscaler(path)).network
    picture = torch.rand(1, 3, 16, 16)
    torch.testing.assert_close(read(picture), network(picture), atol=2e-3, rtol=0)
    card = path.with_suffix(".md").read_text(encoding="utf-8")
    assert "| made small | 30.0 dB | 29.5 dB | -0.5 dB |" in card and "7 steps" in card
    assert json.loads(path.with_suffix(".easel.json").read_text(encoding="utf-8"))["title"] == "Pocket x2"
