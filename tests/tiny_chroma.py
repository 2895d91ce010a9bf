"""Tiny random Chroma checkpoints: the whole architecture at a width that runs in milliseconds."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import AutoencoderKL, ChromaTransformer2DModel
from torch import nn
from transformers import T5Config, T5EncoderModel

from tests.tiny_flux import write_piece_tokenizer
from tests.tiny_models import write_folder

WIDTH = 40  # of T5
SCHEDULER = {
    "_class_name": "FlowMatchEulerDiscreteScheduler", "num_train_timesteps": 1000, "shift": 3.0,
    "use_dynamic_shifting": True, "base_shift": 0.5, "max_shift": 1.15, "base_image_seq_len": 256,
    "max_image_seq_len": 4096,
}  # fmt: skip
INDEX = {
    "_class_name": "ChromaPipeline", "_diffusers_version": "0.42.1", "feature_extractor": [None, None],
    "image_encoder": [None, None], "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
    "text_encoder": ["transformers", "T5EncoderModel"], "tokenizer": ["transformers", "T5TokenizerFast"],
    "transformer": ["diffusers", "ChromaTransformer2DModel"], "vae": ["diffusers", "AutoencoderKL"],
}  # fmt: skip


def make_networks(seed: int = 0) -> dict[str, nn.Module]:
    """Return the networks of a tiny Chroma, with random weights that react to the prompt."""
    torch.manual_seed(seed)
    transformer = ChromaTransformer2DModel(
        in_channels=64, num_layers=1, num_single_layers=2, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=WIDTH, axes_dims_rope=(4, 6, 6), approximator_num_channels=8, approximator_hidden_dim=16,
        approximator_layers=1,
    )  # fmt: skip
    t5 = T5EncoderModel(
        T5Config(
            vocab_size=400, d_model=WIDTH, d_kv=10, d_ff=64, num_layers=2, num_heads=4, feed_forward_proj="gated-gelu"
        )
    )
    with torch.no_grad():
        transformer.context_embedder.weight.mul_(4)
    networks = {"transformer": transformer, "vae": make_vae(), "text_encoder": t5}
    return {name: network.eval() for name, network in networks.items()}


def make_vae() -> AutoencoderKL:
    """Return a VAE of Flux's latents."""
    return AutoencoderKL(
        in_channels=3, out_channels=3, latent_channels=16, sample_size=64, scaling_factor=0.3611, shift_factor=0.1159,
        use_quant_conv=False, use_post_quant_conv=False,
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(16, 16, 32, 32), layers_per_block=1, norm_num_groups=8,
    )  # fmt: skip


def make_folder(path: Path, seed: int = 0) -> Path:
    """Write a diffusers folder to `path` and return it."""
    write_folder(path, make_networks(seed), INDEX, SCHEDULER)
    write_piece_tokenizer(path / "tokenizer")
    return path
