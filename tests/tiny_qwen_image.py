"""Tiny random Qwen-Image checkpoints: the whole architecture at a width that runs in milliseconds."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import AutoencoderKLQwenImage, QwenImageTransformer2DModel
from torch import nn
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

from tests.tiny_models import write_folder
from tests.tiny_texts import VOCABULARY, write_qwen_tokenizer

WIDTH = 32  # of Qwen
SCHEDULER = {
    "_class_name": "FlowMatchEulerDiscreteScheduler", "num_train_timesteps": 1000, "shift": 1.0,
    "use_dynamic_shifting": True, "base_shift": 0.5, "max_shift": 0.9, "base_image_seq_len": 256,
    "max_image_seq_len": 8192, "shift_terminal": 0.02, "time_shift_type": "exponential",
}  # fmt: skip
INDEX = {
    "_class_name": "QwenImagePipeline", "_diffusers_version": "0.42.1",
    "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
    "text_encoder": ["transformers", "Qwen2_5_VLForConditionalGeneration"],
    "tokenizer": ["transformers", "Qwen2Tokenizer"], "transformer": ["diffusers", "QwenImageTransformer2DModel"],
    "vae": ["diffusers", "AutoencoderKLQwenImage"],
}  # fmt: skip


def make_networks(seed: int = 0) -> dict[str, nn.Module]:
    """Return the networks of a tiny Qwen-Image, with random weights that react to the prompt."""
    torch.manual_seed(seed)
    transformer = QwenImageTransformer2DModel(
        in_channels=64, out_channels=16, num_layers=2, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=WIDTH, axes_dims_rope=(4, 6, 6),
    )  # fmt: skip
    vae = AutoencoderKLQwenImage(base_dim=8, z_dim=16, dim_mult=[1, 2, 4, 4], num_res_blocks=1)
    networks = {"transformer": transformer, "vae": vae, "text_encoder": make_qwen_vl()}
    return {name: network.eval() for name, network in networks.items()}


def make_qwen_vl() -> Qwen2_5_VLForConditionalGeneration:
    """Return a Qwen2.5-VL, eyes included, with random weights that react to the text."""
    text = {
        "vocab_size": VOCABULARY, "hidden_size": WIDTH, "intermediate_size": 48, "num_hidden_layers": 2,
        "num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 2048,
        "rope_scaling": {"type": "mrope", "mrope_section": [2, 3, 3], "rope_type": "default"},
    }  # fmt: skip
    eyes = {
        "depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2, "out_hidden_size": WIDTH,
        "fullatt_block_indexes": [0],
    }  # fmt: skip
    model = Qwen2_5_VLForConditionalGeneration(Qwen2_5_VLConfig(text_config=text, vision_config=eyes))
    model.model.language_model.embed_tokens.weight.data.normal_(std=0.5)
    return model


def make_folder(path: Path, seed: int = 0) -> Path:
    """Write a diffusers folder to `path` and return it."""
    write_folder(path, make_networks(seed), INDEX, SCHEDULER)
    write_qwen_tokenizer(path / "tokenizer")
    return path
