from __future__ import annotations

import copy
import itertools
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from webui.domain.passes import Tiling
from webui.engine.seamless import seamless
from webui.weights.memory import Resident


def random(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(3))


def unet_of(model: Resident, latents: Tensor) -> Tensor:
    with model.on_device("unet") as unet, torch.inference_mode():
        return unet(latents, torch.tensor(5.0), encoder_hidden_states=random(1, 77, 64), return_dict=False)[0]


def vae_of(model: Resident, latents: Tensor) -> Tensor:
    with model.on_device("vae") as vae, torch.inference_mode():
        return vae.decode(latents, return_dict=False)[0]


def snapshot(network: nn.Module) -> list[object]:
    """Return all that could be changed in a network: weights, hooks, the way each layer pads."""
    hooks = [
        (len(each._forward_hooks), len(each._forward_pre_hooks), len(vars(each)), getattr(each, "padding_mode", ""))
        for each in network.modules()
    ]
    return [hooks, {name: tensor.clone() for name, tensor in network.state_dict().items()}]


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "dilation"), [(3, 1, 1, 1), (3, 2, 1, 1), (5, 1, 2, 1), (3, 1, 2, 2), (4, 2, 1, 1)]
)
def test_a_layer_equals_torchs_circular_padding(kernel: int, stride: int, padding: int, dilation: int) -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(3, 4, kernel, stride, padding, dilation)
    circular = nn.Conv2d(3, 4, kernel, stride, padding, dilation, padding_mode="circular")
    circular.load_state_dict(layer.state_dict())
    for height, width in [(8, 8), (9, 12), (6, 5)]:
        pixels = random(2, 3, height, width)
        with seamless([layer], "both"):
            assert torch.allclose(layer(pixels), circular(pixels), atol=1e-5)


@pytest.mark.parametrize("tiling", ["x", "y"])
def test_one_direction_is_padded_with_zeros_still(tiling: Tiling) -> None:
    torch.manual_seed(0)
    layer, pixels = nn.Conv2d(2, 2, 3, padding=1), random(1, 2, 6, 6)
    plain = layer(pixels)
    with seamless([layer], tiling):
        tiled = layer(pixels)
    with seamless([layer], "both"):
        both = layer(pixels)
    rows, columns = (slice(1, -1), slice(None)) if tiling == "x" else (slice(None), slice(1, -1))
    assert torch.allclose(tiled[..., rows, columns], both[..., rows, columns], atol=1e-6)
    assert torch.allclose(tiled[..., columns, rows], plain[..., columns, rows], atol=1e-6)
    assert not torch.allclose(tiled, plain, atol=1e-3)


@pytest.mark.parametrize("part", ["unet", "vae"])
@pytest.mark.parametrize("tiling", ["both", "x", "y"])
def test_changes_what_a_network_makes(tiny: Resident, part: str, tiling: Tiling) -> None:
    compute = unet_of if part == "unet" else vae_of
    latents = random(1, 4, 8, 8)
    plain = compute(tiny, latents)
    with seamless([tiny.network(part)], tiling):
        assert (compute(tiny, latents) - plain).abs().max() > 1e-2 * plain.std()


def test_nothing_changes_without_tiling(tiny: Resident) -> None:
    latents = random(1, 4, 8, 8)
    plain = unet_of(tiny, latents)
    with seamless([tiny.network("unet")], "none"):
        assert torch.equal(unet_of(tiny, latents), plain)


def test_puts_back_what_it_found(tiny: Resident) -> None:
    networks = [tiny.network("unet"), tiny.network("vae")]
    before = [snapshot(network) for network in networks]
    plain = unet_of(tiny, random(1, 4, 8, 8))
    with pytest.raises(KeyError), seamless(networks, "both"):
        raise KeyError
    for network, (hooks, weights) in zip(networks, before, strict=True):
        now_hooks, now_weights = snapshot(network)
        assert now_hooks == hooks
        assert all(torch.equal(now_weights[name], weights[name]) for name in weights)
    assert torch.equal(unet_of(tiny, random(1, 4, 8, 8)), plain)


@pytest.mark.parametrize("part", ["unet", "vae"])
def test_networks_equal_torchs_circular_padding(tiny: Resident, part: str) -> None:
    network = tiny.network(part)
    circular = copy.deepcopy(network)
    for layer in circular.modules():
        if isinstance(layer, nn.Conv2d):
            layer.padding_mode = "circular"
    for height, width in [(8, 8), (4, 6)]:
        latents = random(1, 4, height, width)
        with torch.inference_mode(), seamless([network], "both"):
            ours, theirs = (run(each, part, latents) for each in (network, circular))
        assert (ours - theirs).abs().max() < 1e-4 * theirs.std()


def run(network: nn.Module, part: str, latents: Tensor) -> Tensor:
    if part == "vae":
        return network.decode(latents, return_dict=False)[0]
    return network(latents, torch.tensor(5.0), encoder_hidden_states=random(1, 77, 64), return_dict=False)[0]


@pytest.mark.parametrize(("tiling", "shift"), [("both", (4, 4)), ("x", (0, 4)), ("y", (4, 0))])
def test_a_rolled_picture_gives_a_rolled_result(tiny: Resident, tiling: Tiling, shift: tuple[int, int]) -> None:
    """What has no seam has no place of its own: by 4 latents, since the network halves its size twice."""
    latents = random(1, 4, 8, 16)

    def distance(compute: Callable[[Resident, Tensor], Tensor], scale: int) -> float:
        still = compute(tiny, latents).roll([scale * by for by in shift], (2, 3))
        return float((compute(tiny, latents.roll(shift, (2, 3))) - still).abs().max() / still.std())

    for compute, scale in ((unet_of, 1), (vae_of, 8)):
        assert distance(compute, scale) > 0.05
        with seamless([tiny.network("unet"), tiny.network("vae")], tiling):
            assert distance(compute, scale) < 1e-3


def test_pictures_smaller_than_a_kernel_wrap_more_than_once() -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(1, 1, 5, padding=2)
    for height, width in itertools.product([1, 2], [1, 3]):
        pixels = random(1, 1, height, width)
        repeated = pixels.repeat(1, 1, 7, 7)
        with seamless([layer], "both"):
            small = layer(pixels)
        middle = layer(repeated)[..., 3 * height : 4 * height, 3 * width : 4 * width]
        assert torch.allclose(small, middle, atol=1e-5)
