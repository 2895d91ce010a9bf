"""The networks that enlarge pictures. Weights and parts have the names that published files give them."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

_SLOPE = 0.2  # of leaky ReLU for what is negative
_SHARE = 0.2  # of a block's result that is added to what came in (ESRGAN's residual scaling)


class DenseBlock(nn.Module):
    """Five convolutions, each of which sees what all before it found; the last one's result is added to the input.

    Wang et al. 2018, ESRGAN, arXiv:1809.00219, figure 4.
    """

    def __init__(self, features: int, growth: int) -> None:
        super().__init__()
        for number in range(1, 6):
            width = features if number == 5 else growth
            self.add_module(f"conv{number}", _convolution(features + (number - 1) * growth, width))

    def forward(self, x: Tensor) -> Tensor:
        found = [x]
        for number in range(1, 5):
            convolution = self.get_submodule(f"conv{number}")
            found.append(functional.leaky_relu(convolution(torch.cat(found, 1)), _SLOPE))
        return x + _SHARE * self.get_submodule("conv5")(torch.cat(found, 1))


class ResidualDenseBlocks(nn.Module):
    """Three dense blocks and a way around them: "residual in residual"."""

    def __init__(self, features: int, growth: int) -> None:
        super().__init__()
        self.rdb1 = DenseBlock(features, growth)
        self.rdb2 = DenseBlock(features, growth)
        self.rdb3 = DenseBlock(features, growth)

    def forward(self, x: Tensor) -> Tensor:
        return x + _SHARE * self.rdb3(self.rdb2(self.rdb1(x)))


class RRDBNet(nn.Module):
    """ESRGAN and Real-ESRGAN (Wang et al. 2021, arXiv:2107.10833): [B,3,h,w] in 0 … 1 to [B,3,h·scale,w·scale].

    `unshuffle`: so many pixels of a row and a column become channels first, which makes a network of a smaller scale
    from the same parts; the sides of the input are multiples of it. `doublings` enlarges twice each.
    """

    def __init__(self, features: int, growth: int, blocks: int, doublings: int, unshuffle: int = 1) -> None:
        super().__init__()
        self.unshuffle = unshuffle
        self.conv_first = _convolution(3 * unshuffle**2, features)
        self.body = nn.Sequential(*(ResidualDenseBlocks(features, growth) for _ in range(blocks)))
        self.conv_body = _convolution(features, features)
        self.ups = [f"conv_up{number}" for number in range(1, doublings + 1)]
        for name in self.ups:
            self.add_module(name, _convolution(features, features))
        self.conv_hr = _convolution(features, features)
        self.conv_last = _convolution(features, 3)

    def forward(self, x: Tensor) -> Tensor:
        first = self.conv_first(functional.pixel_unshuffle(x, self.unshuffle))
        features = first + self.conv_body(self.body(first))
        for name in self.ups:
            doubled = functional.interpolate(features, scale_factor=2, mode="nearest")
            features = functional.leaky_relu(self.get_submodule(name)(doubled), _SLOPE)
        return self.conv_last(functional.leaky_relu(self.conv_hr(features), _SLOPE))


class CompactNet(nn.Module):
    """Real-ESRGAN's compact network (SRVGGNetCompact): plain convolutions at the small size, enlarged at the very end.

    [B,3,h,w] in 0 … 1 to [B,3,h·scale,w·scale]; what it computes is added to the nearest-neighbour enlargement.
    """

    def __init__(self, features: int, convolutions: int, scale: int) -> None:
        super().__init__()
        self.scale = scale
        parts: list[nn.Module] = [_convolution(3, features), nn.PReLU(features)]
        for _ in range(convolutions):
            parts += [_convolution(features, features), nn.PReLU(features)]
        self.body = nn.Sequential(*parts, _convolution(features, 3 * scale**2))

    def forward(self, x: Tensor) -> Tensor:
        enlarged = functional.interpolate(x, scale_factor=self.scale, mode="nearest")
        return functional.pixel_shuffle(self.body(x), self.scale) + enlarged


def _convolution(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1)
