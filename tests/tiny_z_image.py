"""Tiny random Z-Image checkpoints: the whole architecture at a width that runs in milliseconds."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from diffusers import ZImageTransformer2DModel
from torch import nn

from tests.tiny_chroma import make_vae
from tests.tiny_models import write_folder, write_json
from tests.tiny_texts import make_qwen, write_qwen_tokenizer

WIDTH = 32  # of Qwen
SCHEDULER = {"_class_name": "FlowMatchEulerDiscreteScheduler", "num_train_timesteps": 1000, "shift": 3.0}
INDEX = {
    "_class_name": "ZImagePipeline", "_diffusers_version": "0.42.1",
    "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"], "text_encoder": ["transformers", "Qwen3Model"],
    "tokenizer": ["transformers", "Qwen2Tokenizer"], "transformer": ["diffusers", "ZImageTransformer2DModel"],
    "vae": ["diffusers", "AutoencoderKL"],
}  # fmt: skip
CHAT = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if not enable_thinking %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)


def make_networks(seed: int = 0) -> dict[str, nn.Module]:
    """Return the networks of a tiny Z-Image, with random weights that react to the prompt."""
    torch.manual_seed(seed)
    transformer = ZImageTransformer2DModel(
        dim=32, n_layers=2, n_refiner_layers=1, n_heads=2, n_kv_heads=2, cap_feat_dim=WIDTH, axes_dims=[4, 6, 6],
        axes_lens=[1024, 64, 64],
    )  # fmt: skip
    with torch.no_grad():  # what pads rows is not made by the class
        transformer.x_pad_token.normal_()
        transformer.cap_pad_token.normal_()
    networks = {"transformer": transformer, "vae": make_vae(), "text_encoder": make_qwen(WIDTH)}
    return {name: network.eval() for name, network in networks.items()}


def make_folder(path: Path, seed: int = 0) -> Path:
    """Write a diffusers folder to `path` and return it."""
    write_folder(path, make_networks(seed), INDEX, SCHEDULER)
    write_chat_tokenizer(path / "tokenizer")
    return path


def write_chat_tokenizer(path: Path) -> None:
    """Write a tokenizer like Qwen's with what is said around a text."""
    write_qwen_tokenizer(path)
    settings = json.loads((path / "tokenizer_config.json").read_text("utf-8"))
    write_json(path / "tokenizer_config.json", settings | {"chat_template": CHAT})
