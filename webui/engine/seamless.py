"""Pictures without seams: convolutions that see the other edge of the picture beyond its edge, instead of nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from webui.domain.passes import Tiling

_HEIGHT, _WIDTH = 0, 1  # of a convolution's sizes, strides and paddings


@contextmanager
def seamless(networks: Sequence[nn.Module], tiling: Tiling) -> Iterator[None]:
    """Let the convolutions of `networks` wrap around in the directions of `tiling` while the block runs.

    A convolution pads its input with zeros, and that stays so. Before it runs, its input grows at both ends by what
    lies at the other end; afterwards what came of the growth is cut off. Nothing in the networks changes but their
    hooks.
    """
    axes = {"none": (), "both": (_HEIGHT, _WIDTH), "x": (_WIDTH,), "y": (_HEIGHT,)}[tiling]
    with ExitStack() as hooks:
        for network in networks:
            for layer in network.modules():
                if isinstance(layer, nn.Conv2d) and axes and _pads(layer):
                    hooks.callback(layer.register_forward_pre_hook(_Grow(axes)).remove)
                    hooks.callback(layer.register_forward_hook(_Crop(axes)).remove)
        yield


def _pads(layer: nn.Conv2d) -> bool:
    return layer.padding_mode == "zeros" and not isinstance(layer.padding, str) and any(layer.padding)


def _reach(layer: nn.Conv2d, axis: int) -> int:
    """Return by how many places the output must grow at each end to hold all that the padding can touch."""
    return -(-int(layer.padding[axis]) // layer.stride[axis])


class _Grow:
    """Wraps a convolution's input [B,C,h,w] around, by whole strides so that none of its steps shifts."""

    def __init__(self, axes: Sequence[int]) -> None:
        self._axes = axes

    def __call__(self, layer: nn.Conv2d, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        latents: Tensor = inputs[0]
        sides = [0, 0, 0, 0]  # left, right, top, bottom
        for axis in self._axes:
            grown = _reach(layer, axis) * layer.stride[axis]
            sides[2 - 2 * axis] = sides[3 - 2 * axis] = grown
        return (_wrap(latents, sides), *inputs[1:])


class _Crop:
    """Cuts off a convolution's output what came of the growth."""

    def __init__(self, axes: Sequence[int]) -> None:
        self._axes = axes

    def __call__(self, layer: nn.Conv2d, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
        for axis in self._axes:
            reach = _reach(layer, axis)
            size = inputs[0].shape[2 + axis] - 2 * reach * layer.stride[axis]
            span = layer.dilation[axis] * (layer.kernel_size[axis] - 1) + 1
            length = (size + 2 * int(layer.padding[axis]) - span) // layer.stride[axis] + 1
            output = output.narrow(2 + axis, reach, length)
        return output


def _wrap(latents: Tensor, sides: Sequence[int]) -> Tensor:
    """Return `latents` continued by themselves; as often as needed where they are smaller than the growth."""
    height, width = latents.shape[-2:]
    if sides[0] <= width and sides[2] <= height:
        return functional.pad(latents, tuple(sides), mode="circular")
    rows = [(row - sides[2]) % height for row in range(height + 2 * sides[2])]
    columns = [(column - sides[0]) % width for column in range(width + 2 * sides[0])]
    return latents[..., rows, :][..., columns]
