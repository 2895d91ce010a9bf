"""Tiny random Kolors folders: SDXL's network told a text by a ChatGLM of three narrow layers."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from torch import nn

from tests.tiny_dits import make_vae
from tests.tiny_models import write_folder
from tests.tiny_texts import write_pieces
from webui.weights.formats.sentencepieces import Piece

WIDTH = 32  # of texts
SCHEDULER = {
    "_class_name": "EulerDiscreteScheduler", "num_train_timesteps": 1100, "beta_start": 0.00085, "beta_end": 0.014,
    "beta_schedule": "scaled_linear", "prediction_type": "epsilon", "trained_betas": None,
}  # fmt: skip
WORDS = ("▁a", "▁cat", "▁dog", "▁dull", "▁castle")


def make_chat_glm() -> Any:
    """Return a text encoder of random weights, without warnings of what its module compiles."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        from diffusers.pipelines.kolors.text_encoder import ChatGLMConfig, ChatGLMModel
    model = ChatGLMModel(
        ChatGLMConfig(
            num_layers=3, padded_vocab_size=400, hidden_size=WIDTH, ffn_hidden_size=48, kv_channels=16,
            num_attention_heads=2, seq_length=300, multi_query_attention=True, multi_query_group_num=1,
            add_qkv_bias=True, original_rope=True,
        ),
        empty_init=False,
    )  # fmt: skip
    with torch.no_grad():
        model.embedding.word_embeddings.weight.normal_(std=0.5)
        for name, parameter in model.named_parameters():
            if "norm" in name:  # the class leaves these as memory is
                parameter.fill_(1)
    return model


def make_networks(seed: int = 0) -> dict[str, nn.Module]:
    """Return the networks with random weights that react to the prompt."""
    torch.manual_seed(seed)
    unet = UNet2DConditionModel(
        sample_size=8, in_channels=4, out_channels=4, block_out_channels=(32, 64), layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=24, attention_head_dim=(2, 4), norm_num_groups=8, use_linear_projection=True,
        encoder_hid_dim=WIDTH, encoder_hid_dim_type="text_proj", addition_embed_type="text_time",
        addition_time_embed_dim=8, projection_class_embeddings_input_dim=WIDTH + 6 * 8,
    )  # fmt: skip
    with torch.no_grad():
        for name, parameter in unet.named_parameters():
            if "attn2" in name and parameter.dim() == 2:
                parameter.mul_(4)
    networks = {"unet": unet, "vae": make_vae(), "text_encoder": make_chat_glm()}
    return {name: network.eval() for name, network in networks.items()}


def make_folder(path: Path, seed: int = 0) -> Path:
    """Write a diffusers folder to `path` and return it."""
    index = {
        "_class_name": "KolorsPipeline", "force_zeros_for_empty_prompt": False,
        "scheduler": ["diffusers", "EulerDiscreteScheduler"], "text_encoder": ["kolors", "ChatGLMModel"],
        "tokenizer": ["kolors", "ChatGLMTokenizer"], "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }  # fmt: skip
    write_folder(path, make_networks(seed), index, SCHEDULER)
    grown = dict.fromkeys(word[:end] for word in WORDS for end in range(1, len(word) + 1))
    letters = [chr(number) for number in range(33, 127)]
    octets = [Piece(f"<0x{number:02X}>", 0.0, 6) for number in range(256)]
    words = [Piece(text, -float(rank), 1) for rank, text in enumerate(dict.fromkeys([*grown, *letters]))]
    (path / "tokenizer").mkdir()
    write_pieces(path / "tokenizer" / "tokenizer.model", [Piece("<unk>", 0.0, 2), *octets, *words], merged=True)
    return path
