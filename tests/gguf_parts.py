"""GGUF files of tiny networks, written by llama.cpp's own library."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy
import torch
from gguf import GGMLQuantizationType, GGUFWriter, quants
from torch import Tensor

from tests.tiny_models import original_weights

UNET = "model.diffusion_model."


def write_gguf(path: Path, weights: Mapping[str, Tensor], dtype: str = "Q8_0", architecture: str = "sd1") -> Path:
    """Write `weights` with their matrices quantised where the rows are long enough, other matrices in float16."""
    kind = GGMLQuantizationType[dtype]
    block, _ = quants.GGML_QUANT_SIZES[kind]
    writer = GGUFWriter(path, architecture)
    for name, tensor in weights.items():
        numbers = tensor.detach().float().numpy()
        if tensor.dim() == 2 and tensor.shape[1] % block == 0:
            writer.add_tensor(name, quants.quantize(numbers, kind), raw_dtype=kind)
        else:
            writer.add_tensor(name, numbers.astype(numpy.float16) if tensor.dim() > 1 else numbers)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def unet_weights(seed: int = 0) -> dict[str, Tensor]:
    """Return the tiny UNet under the names that GGUF files use: the original ones, without what comes before them."""
    whole = original_weights(seed).items()
    return {name.removeprefix(UNET): tensor for name, tensor in whole if name.startswith(UNET)}


def as_quantised(tensor: Tensor, dtype: str = "Q8_0") -> Tensor:
    """Return the numbers that are left of `tensor`, told by the library's own arithmetic."""
    kind = GGMLQuantizationType[dtype]
    block, _ = quants.GGML_QUANT_SIZES[kind]
    if tensor.dim() != 2 or tensor.shape[1] % block:
        return tensor.half().float() if tensor.dim() > 1 else tensor
    return torch.from_numpy(quants.dequantize(quants.quantize(tensor.detach().float().numpy(), kind), kind))


def gguf_name(name: str) -> str:
    """Return llama.cpp's name of a tensor of T5, empty for a second name of the same."""
    top = {"shared.weight": "token_embd.weight", "encoder.final_layer_norm.weight": "enc.output_norm.weight"}
    inner = {
        "relative_attention_bias": "attn_rel_b", "wi_0": "ffn_gate", "wi_1": "ffn_up", "wo": "ffn_down",
        **{letter: f"attn_{letter}" for letter in "qkvo"},
    }  # fmt: skip
    if not name.startswith("encoder.block."):
        return top.get(name, "")
    _, _, number, _, layer, *rest = name.split(".")
    norms = {"0": "attn_norm", "1": "ffn_norm"}
    return f"enc.blk.{number}.{norms[layer] if rest[0] == 'layer_norm' else inner[rest[1]]}.weight"
