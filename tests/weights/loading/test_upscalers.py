from __future__ import annotations

import sys
import types
from pathlib import Path

import pytest
import torch
from transformers import Swin2SRConfig, Swin2SRForImageSuperResolution

from tests.tiny_upscalers import (
    compact_weights,
    compute_compact,
    compute_rrdb,
    oldest_names,
    paper_names,
    rrdb_weights,
    write,
)
from webui.errors import BadFile
from webui.weights.loading.upscalers import load_upscaler
from webui.weights.recognition import upscaler_files
from webui.weights.recognition.upscaler_files import (
    CompactShape,
    RrdbShape,
    Swin2srShape,
    UpscalerFile,
    identify_upscaler,
)

PICTURE = torch.rand(1, 3, 8, 12, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("prefix", ["", "params.", "params_ema.", "module."])
def test_rrdb_computes_what_its_weights_say(tmp_path: Path, prefix: str) -> None:
    weights = rrdb_weights()
    file = identify_upscaler(write(tmp_path / "x4.safetensors", weights, prefix))
    upscaler = load_upscaler(file)
    assert file.shape == RrdbShape(features=6, growth=4, blocks=2, doublings=2, unshuffle=1)
    assert (upscaler.scale, upscaler.multiple) == (4, 1)
    torch.testing.assert_close(upscaler.network(PICTURE), compute_rrdb(weights, PICTURE), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("doublings", [0, 1, 2, 3])
def test_the_oldest_names_mean_the_same(tmp_path: Path, doublings: int) -> None:
    weights = rrdb_weights(doublings=doublings)
    upscaler = load_upscaler(identify_upscaler(write(tmp_path / "a.safetensors", oldest_names(weights, doublings))))
    assert upscaler.scale == 2**doublings
    expected = compute_rrdb(weights, PICTURE, doublings=doublings)
    torch.testing.assert_close(upscaler.network(PICTURE), expected, atol=1e-5, rtol=1e-5)


def test_the_papers_names_mean_the_same(tmp_path: Path) -> None:
    weights = rrdb_weights()
    upscaler = load_upscaler(identify_upscaler(write(tmp_path / "a.safetensors", paper_names(weights))))
    torch.testing.assert_close(upscaler.network(PICTURE), compute_rrdb(weights, PICTURE), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("inputs", "unshuffle", "scale"), [(12, 2, 2), (48, 4, 1)])
def test_smaller_scales_take_several_pixels_at_once(tmp_path: Path, inputs: int, unshuffle: int, scale: int) -> None:
    weights = rrdb_weights(inputs=inputs)
    upscaler = load_upscaler(identify_upscaler(write(tmp_path / "x2.safetensors", weights)))
    assert (upscaler.scale, upscaler.multiple) == (scale, unshuffle)
    expected = compute_rrdb(weights, PICTURE, unshuffle)
    assert expected.shape[-2:] == (8 * scale, 12 * scale)
    torch.testing.assert_close(upscaler.network(PICTURE), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("scale", [1, 2, 4])
def test_compact_networks_compute_what_their_weights_say(tmp_path: Path, scale: int) -> None:
    weights = compact_weights(scale)
    file = identify_upscaler(write(tmp_path / "anime.safetensors", weights, "params."))
    upscaler = load_upscaler(file)
    assert (file.shape, upscaler.scale) == (CompactShape(features=8, convolutions=3, scale=scale), scale)
    expected = compute_compact(weights, PICTURE, scale)
    torch.testing.assert_close(upscaler.network(PICTURE), expected, atol=1e-5, rtol=1e-5)


def test_half_precision_files_compute_in_single(tmp_path: Path) -> None:
    weights = {name: tensor.half() for name, tensor in compact_weights().items()}
    network = load_upscaler(identify_upscaler(write(tmp_path / "half.safetensors", weights))).network
    assert {each.dtype for each in network.parameters()} == {torch.float32}
    assert not any(each.requires_grad for each in network.parameters())


@pytest.mark.parametrize(
    ("upsampler", "scale"),
    [("pixelshuffle", 2), ("pixelshuffledirect", 3), ("nearest+conv", 4), ("pixelshuffle_aux", 4), ("", 1)],
)
def test_swin2sr_is_what_transformers_makes_of_it(tmp_path: Path, upsampler: str, scale: int) -> None:
    torch.manual_seed(0)
    config = Swin2SRConfig(
        embed_dim=12, depths=[2, 1], num_heads=[2, 3], window_size=4, mlp_ratio=1.5, upscale=scale, upsampler=upsampler
    )
    reference = Swin2SRForImageSuperResolution(config).eval()
    reference.save_pretrained(tmp_path / "swin")
    file = identify_upscaler(tmp_path / "swin")
    upscaler = load_upscaler(file)
    assert isinstance(file.shape, Swin2srShape)
    assert (file.shape.window, upscaler.scale) == (4, scale)
    with torch.inference_mode():
        torch.testing.assert_close(upscaler.network(PICTURE), reference(PICTURE).reconstruction)


def test_a_swin2sr_file_alone_has_the_usual_windows(tmp_path: Path) -> None:
    config = Swin2SRConfig(embed_dim=12, depths=[1], num_heads=[2], upscale=2)
    reference = Swin2SRForImageSuperResolution(config).eval()
    file = write(tmp_path / "swin.safetensors", {name: value.clone() for name, value in reference.state_dict().items()})
    picture = torch.rand(1, 3, 16, 16)
    with torch.inference_mode():
        found = load_upscaler(identify_upscaler(file)).network(picture)
        torch.testing.assert_close(found, reference(picture).reconstruction)


def test_weights_that_do_not_fit_are_named(tmp_path: Path) -> None:
    weights = compact_weights()
    lacking = {name: tensor for name, tensor in weights.items() if name != "body.4.bias"}
    with pytest.raises(BadFile, match=r"lacks body\.4\.bias"):
        load_upscaler(identify_upscaler(write(tmp_path / "a.safetensors", lacking)))
    with pytest.raises(BadFile, match="holds the unknown extra"):
        load_upscaler(identify_upscaler(write(tmp_path / "b.safetensors", weights | {"extra": torch.zeros(1)})))
    odd = weights | {"body.2.weight": torch.zeros(8, 7, 3, 3)}
    with pytest.raises(BadFile, match=r"body\.2\.weight has the shape \[8, 7, 3, 3\] instead of \[8, 8, 3, 3\]"):
        load_upscaler(identify_upscaler(write(tmp_path / "c.safetensors", odd)))


def foreign(folder: Path, monkeypatch: pytest.MonkeyPatch) -> UpscalerFile:
    """Return a file that only spandrel could know, as if it were installed."""
    monkeypatch.setattr(upscaler_files, "SPANDREL", ())
    return identify_upscaler(write(folder / "dat.safetensors", {"scale": torch.tensor(3.0)}))


def test_a_library_that_does_not_work_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "spandrel", None)
    with pytest.raises(BadFile, match=r"dat\.safetensors: spandrel, which could open it, does not work here"):
        load_upscaler(foreign(tmp_path, monkeypatch))


class Stretch(torch.nn.Module):
    def __init__(self, scale: torch.Tensor) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(scale)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.repeat_interleave(int(self.scale), 2).repeat_interleave(int(self.scale), 3)


class Descriptor:
    """What spandrel says of a network, as far as it concerns us."""

    input_channels = output_channels = 3
    supports_half = False

    def __init__(self, scale: torch.Tensor) -> None:
        self.model = Stretch(scale)
        self.scale = int(scale)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return self.model(x)


class Loader:
    def __init__(self, device: str) -> None:
        assert device == "cpu"

    def load_from_state_dict(self, weights: dict[str, torch.Tensor]) -> Descriptor:
        return Descriptor(weights["scale"])


def test_what_spandrel_builds_enlarges(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = types.ModuleType("spandrel")
    library.__dict__.update(ImageModelDescriptor=Descriptor, ModelLoader=Loader)
    monkeypatch.setitem(sys.modules, "spandrel", library)
    file = foreign(tmp_path, monkeypatch)
    upscaler = load_upscaler(file)
    assert (upscaler.scale, upscaler.multiple, upscaler.robust) == (3, 1, False)
    assert not any(each.requires_grad for each in upscaler.network.parameters())
    torch.testing.assert_close(upscaler.network(PICTURE)[:, :, ::3, ::3], PICTURE)
    monkeypatch.setattr(Descriptor, "output_channels", 1)
    with pytest.raises(BadFile, match="does not make one picture of another"):
        load_upscaler(file)
    monkeypatch.setattr(Loader, "load_from_state_dict", lambda self, weights: weights["unknown"])
    with pytest.raises(BadFile, match="neither Easel nor spandrel knows"):
        load_upscaler(file)
