"""Tiny random Flux.2 klein checkpoints: the whole architecture at a width that runs in milliseconds."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import AutoencoderKLFlux2, Flux2Transformer2DModel
from torch import nn
from transformers import Qwen3Config, Qwen3ForCausalLM

from tests.tiny_models import write_json
from tests.tiny_texts import VOCABULARY
from tests.tiny_z_image import write_chat_tokenizer

WIDTH = 16  # of Qwen
SCHEDULER = {
    "_class_name": "FlowMatchEulerDiscreteScheduler", "num_train_timesteps": 1000, "shift": 3.0,
    "use_dynamic_shifting": True, "base_shift": 0.5, "max_shift": 1.15, "base_image_seq_len": 256,
    "max_image_seq_len": 4096, "time_shift_type": "exponential",
}  # fmt: skip
INDEX = {
    "_class_name": "Flux2KleinPipeline", "_diffusers_version": "0.42.1", "is_distilled": False,
    "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
    "text_encoder": ["transformers", "Qwen3ForCausalLM"], "tokenizer": ["transformers", "Qwen2TokenizerFast"],
    "transformer": ["diffusers", "Flux2Transformer2DModel"], "vae": ["diffusers", "AutoencoderKLFlux2"],
}  # fmt: skip


def make_networks(seed: int = 0) -> dict[str, nn.Module]:
    """Return the networks of a tiny Flux.2 klein, with random weights that react to the prompt."""
    torch.manual_seed(seed)
    transformer = Flux2Transformer2DModel(
        in_channels=128, num_layers=1, num_single_layers=2, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=3 * WIDTH, timestep_guidance_channels=16, axes_dims_rope=(4, 4, 4, 4), guidance_embeds=False,
    )  # fmt: skip
    vae = AutoencoderKLFlux2(
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4, sample_size=64,
        block_out_channels=(16, 16, 32, 32), layers_per_block=1, latent_channels=32, norm_num_groups=8,
    )  # fmt: skip
    vae.bn.running_mean.normal_(std=0.3)
    vae.bn.running_var.uniform_(0.5, 2.0)
    text = Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=VOCABULARY, hidden_size=WIDTH, intermediate_size=24, num_hidden_layers=28, head_dim=8,
            num_attention_heads=2, num_key_value_heads=1, rope_theta=1e6,
        )
    )  # fmt: skip
    text.model.embed_tokens.weight.data.normal_(std=0.5)
    networks = {"transformer": transformer, "vae": vae, "text_encoder": text}
    return {name: network.eval() for name, network in networks.items()}


def make_folder(path: Path, seed: int = 0, *, distilled: bool = False) -> Path:
    """Write a diffusers folder to `path` and return it."""
    path.mkdir(parents=True)
    for name, network in make_networks(seed).items():
        network.save_pretrained(path / name)
    write_json(path / "model_index.json", INDEX | {"is_distilled": distilled})
    write_json(path / "scheduler" / "scheduler_config.json", SCHEDULER)
    write_chat_tokenizer(path / "tokenizer")
    return path
