"""Random SD1 networks of a chosen width, for measuring without any download."""

from __future__ import annotations

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel

REAL = (320, 640, 1280, 1280)
POCKET = (64, 96, 128)


def make_unet(channels: tuple[int, ...], context: int, layers: int) -> UNet2DConditionModel:
    """Return SD1's UNet with the given channels per level, context width and blocks per level."""
    levels = len(channels)
    return UNet2DConditionModel(
        sample_size=64, in_channels=4, out_channels=4, block_out_channels=channels, layers_per_block=layers,
        down_block_types=("CrossAttnDownBlock2D",) * (levels - 1) + ("DownBlock2D",),
        up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * (levels - 1),
        cross_attention_dim=context, attention_head_dim=8, norm_num_groups=min(32, channels[0] // 4),
    ).eval().requires_grad_(False)  # fmt: skip


def make_vae(channels: tuple[int, ...], layers: int) -> AutoencoderKL:
    """Return SD1's VAE with the given channels per level and blocks per level."""
    return AutoencoderKL(
        in_channels=3, out_channels=3, latent_channels=4, scaling_factor=0.18215,
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=channels, layers_per_block=layers, norm_num_groups=min(32, channels[0] // 4),
    ).eval().requires_grad_(False)  # fmt: skip


def count(network: torch.nn.Module) -> int:
    """Return the number of parameters."""
    return sum(parameter.numel() for parameter in network.parameters())
