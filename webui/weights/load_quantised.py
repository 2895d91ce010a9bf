"""Networks whose weights stay quantised in memory: diffusers' layers for GGUF, which compute with them as they are.

Only those of linear layers do. Embeddings and convolutions, which files rarely quantise, are made plain numbers.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from diffusers.quantizers.gguf.utils import GGUFLinear, GGUFParameter, dequantize_gguf_tensor
from gguf import GGMLQuantizationType
from torch import Tensor, nn


def quantised(stored: Tensor, dtype: str) -> Tensor:
    """Return bytes [rows…, bytes of a row] as the weights that they are; `dtype` is a name of `tensor_facts.BLOCKS`.

    As int8 and not uint8: transformers' T5 would cast what goes into its layers to any other type of a weight.
    """
    return GGUFParameter(stored.view(torch.int8), quant_type=GGMLQuantizationType[dtype])


def is_quantised(tensor: Tensor) -> bool:
    """Tell whether `tensor` holds blocks of numbers that share a scale."""
    return isinstance(tensor, GGUFParameter)


def dequantise(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """Return plain numbers."""
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
        if isinstance(layer, nn.Linear) and leaf == "weight" and tensor.quant_shape == layer.weight.shape:
            network.set_submodule(place, _make_layer(layer, tensor, dtype))
        else:
            held[name] = dequantise(tensor, dtype)
    return held


def _make_layer(layer: nn.Linear, weight: Tensor, dtype: torch.dtype) -> GGUFLinear:
    with torch.device("meta"):
        made = GGUFLinear(layer.in_features, layer.out_features, layer.bias is not None, compute_dtype=dtype)
    made.weight = weight
    return made


def recast(network: nn.Module, dtype: torch.dtype) -> None:
    """Let the quantised layers of `network` compute in another precision from now on."""
    for layer in network.modules():
        if isinstance(layer, GGUFLinear):
            layer.compute_dtype = dtype
