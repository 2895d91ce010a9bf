"""A checkpoint of SD1's real size with random weights, as one file in the layout of the first release (2.1 GB)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel

from benchmarks.sd1_random import REAL, make_unet, make_vae
from tests.tiny_models import unet_key, vae_key

VAE_CHANNELS = (128, 256, 512, 512)


def make_file(path: Path, dtype: torch.dtype = torch.float16) -> Path:
    """Write such a file unless it is there already, and return it."""
    if path.exists():
        return path
    with torch.device("meta"):
        unet, vae = make_unet(REAL, 768, 2), make_vae(VAE_CHANNELS, 2)
        text = CLIPTextModel(CLIPTextConfig(hidden_size=768, intermediate_size=3072, num_attention_heads=12))
    weights = {f"model.diffusion_model.{unet_key(name, (1, 2), 2)}": tensor for name, tensor in fill(unet, dtype)}
    for name, tensor in fill(vae, dtype):
        is_projection = "attentions" in name and tensor.dim() == 2
        weights[f"first_stage_model.{vae_key(name)}"] = tensor[:, :, None, None] if is_projection else tensor
    for name, tensor in fill(text, dtype):
        weights[f"cond_stage_model.transformer.text_model.{name.removeprefix('text_model.')}"] = tensor
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.contiguous() for name, tensor in weights.items()}, path)
    return path


def fill(network: nn.Module, dtype: torch.dtype) -> Iterator[tuple[str, Tensor]]:
    """Yield random numbers, small enough that nothing overflows, for each weight of a network on the meta device."""
    generator = torch.Generator().manual_seed(0)
    for name, tensor in network.state_dict().items():
        if tensor.is_floating_point():
            small = 0.5 / max(tensor[0].numel() if tensor.dim() else 1, 1) ** 0.5
            yield name, (torch.randn(tensor.shape, generator=generator) * small).to(dtype)
