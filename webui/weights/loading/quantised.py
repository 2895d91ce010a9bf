"""Networks whose weights stay as small in memory as they are in their file: in blocks (GGUF) or as 8-bit floats.

Only those of linear layers do, which make them plain numbers each time they compute. Embeddings and convolutions, which
files rarely quantise, are made plain when they are loaded.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from diffusers.quantizers.gguf.utils import GGUFLinear, GGUFParameter, dequantize_gguf_tensor
from gguf import GGMLQuantizationType
from torch import Tensor, nn
from torch.nn import functional


def quantised(stored: Tensor, dtype: str) -> Tensor:
    """Return bytes [rows…, bytes of a row] as the weights that they are; `dtype` is a name of `tensor_facts.BLOCKS`.

    As int8 and not uint8: transformers' T5 would cast what goes into its layers to any other type of a weight.
    """
    return GGUFParameter(stored.view(torch.int8), quant_type=GGMLQuantizationType[dtype])


def eight_bit(stored: Tensor, scale: float = 1.0) -> Tensor:
    """Return 8-bit floats that stay so, as int8 for the same reason."""
    return EightBitParameter(stored.view(torch.int8), stored.dtype, scale)


def is_quantised(tensor: Tensor) -> bool:
    """Tell whether `tensor` holds something else than plain numbers."""
    return isinstance(tensor, GGUFParameter | EightBitParameter)


def dequantise(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """Return plain numbers."""
    if isinstance(tensor, EightBitParameter):
        return tensor.read(dtype)
    return dequantize_gguf_tensor(tensor).to(dtype)


def cast(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """Return `tensor` as `dtype`, unless it stays quantised."""
    return tensor if is_quantised(tensor) else tensor.to(dtype)


def hold_quantised(network: nn.Module, weights: Mapping[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    """Give `network` (on the meta device) layers for those of its `weights` that are quantised and belong to linear
    layers, which will compute in `dtype`. Return all weights, the quantised ones of other layers made plain."""
    held, layers = dict(weights), dict(network.named_modules())
    for name, tensor in [entry for entry in weights.items() if is_quantised(entry[1])]:
        place, _, leaf = name.rpartition(".")
        layer = layers.get(place)
        if layer is not None and type(layer) is nn.Linear and leaf == "weight" and _shape(tensor) == layer.weight.shape:
            network.set_submodule(place, _make_layer(layer, tensor, dtype))
        else:
            held[name] = dequantise(tensor, dtype)
    return held


def hold_eight_bit(network: nn.Module, weights: Mapping[str, Tensor], dtype: torch.dtype) -> frozenset[str]:
    """Let the plain linear layers of `network` keep 8-bit floats and compute in `dtype`; return the names of their
    weights, which `to_eight_bit` makes so."""
    names: set[str] = set()
    for place, layer in list(network.named_modules()):
        if type(layer) is nn.Linear and f"{place}.weight" in weights:
            network.set_submodule(place, _make_layer(layer, layer.weight, dtype).requires_grad_(False))
            names.add(f"{place}.weight")
    return frozenset(names)


def to_eight_bit(tensor: Tensor) -> Tensor:
    """Return plain numbers as 8-bit floats, scaled so that the largest one becomes the largest that there is."""
    plain = tensor.float()
    scale = plain.abs().max().item() / torch.finfo(torch.float8_e4m3fn).max or 1.0
    return eight_bit((plain / scale).to(torch.float8_e4m3fn), scale)


def recast(network: nn.Module, dtype: torch.dtype) -> None:
    """Let the quantised layers of `network` compute in another precision from now on."""
    for layer in network.modules():
        if isinstance(layer, GGUFLinear | EightBitLinear):
            layer.compute_dtype = dtype


def _shape(tensor: Tensor) -> tuple[int, ...]:
    return tuple(tensor.quant_shape if isinstance(tensor, GGUFParameter) else tensor.shape)


def _make_layer(layer: nn.Linear, weight: Tensor, dtype: torch.dtype) -> nn.Linear:
    kind = GGUFLinear if isinstance(weight, GGUFParameter) else EightBitLinear
    with torch.device("meta"):
        made = kind(layer.in_features, layer.out_features, layer.bias is not None, compute_dtype=dtype)
    made.weight = weight
    return made


class EightBitParameter(nn.Parameter):
    """8-bit floats of the type `kind`, kept as int8: each number is `scale` times what is stored.

    Parts of it (what is split, chunked, moved) stay what it is, as those of diffusers' `GGUFParameter` do.
    """

    kind: torch.dtype
    scale: float

    def __new__(cls, stored: Tensor, kind: torch.dtype, scale: float) -> EightBitParameter:
        made = torch.Tensor._make_subclass(cls, stored, False)
        made.kind, made.scale = kind, scale
        return made

    def read(self, dtype: torch.dtype) -> Tensor:
        """Return plain numbers."""
        with torch._C.DisableTorchFunctionSubclass():
            stored = torch.Tensor._make_subclass(torch.Tensor, self).view(self.kind)
            return stored.to(dtype) if self.scale == 1 else stored.to(dtype) * self.scale

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        with torch._C.DisableTorchFunctionSubclass():
            result = func(*args, **(kwargs or {}))
        known = {(each.kind, each.scale) for each in _each(args) if isinstance(each, cls)}
        if len(known) > 1:
            raise ValueError("8-bit weights of different scales cannot be joined")

        def mark(value: Any) -> Any:
            stays = known and type(value) is Tensor and value.dtype == torch.int8
            return cls(value, *next(iter(known))) if stays else value

        return type(result)(map(mark, result)) if type(result) in (list, tuple) else mark(result)


def _each(values: Any) -> list[Any]:
    return [inner for value in values for inner in (value if isinstance(value, list | tuple) else [value])]


class EightBitLinear(nn.Linear):
    """A linear layer whose weight is an `EightBitParameter`."""

    def __init__(self, inputs: int, outputs: int, bias: bool, compute_dtype: torch.dtype) -> None:
        super().__init__(inputs, outputs, bias)
        self.compute_dtype = compute_dtype

    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(x, dequantise(self.weight, self.compute_dtype), self.bias)
