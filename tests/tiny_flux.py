"""Tiny random Flux checkpoints: the whole architecture at a width that runs in milliseconds."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import AutoencoderKL, FluxTransformer2DModel
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, T5Config, T5EncoderModel, T5Tokenizer

from tests.tiny_models import write_json, write_tokenizer

WIDTHS = 32, 40  # of CLIP and of T5
WORDS = ("cat", "dog", "dull", "castle", "night", "photo", "bird", "at", "of", "a")
SCHEDULERS = {
    "dev": {
        "_class_name": "FlowMatchEulerDiscreteScheduler", "num_train_timesteps": 1000, "shift": 3.0,
        "use_dynamic_shifting": True, "base_shift": 0.5, "max_shift": 1.15, "base_image_seq_len": 256,
        "max_image_seq_len": 4096,
    },
    "schnell": {
        "_class_name": "FlowMatchEulerDiscreteScheduler", "num_train_timesteps": 1000, "shift": 1.0,
        "use_dynamic_shifting": False, "base_shift": 0.5, "max_shift": 1.15, "base_image_seq_len": 256,
        "max_image_seq_len": 4096,
    },
}  # fmt: skip
INDEX = {
    "_class_name": "FluxPipeline", "_diffusers_version": "0.42.1",
    "feature_extractor": [None, None], "image_encoder": [None, None],
    "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
    "text_encoder": ["transformers", "CLIPTextModel"], "text_encoder_2": ["transformers", "T5EncoderModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"], "tokenizer_2": ["transformers", "T5TokenizerFast"],
    "transformer": ["diffusers", "FluxTransformer2DModel"], "vae": ["diffusers", "AutoencoderKL"],
}  # fmt: skip


def make_networks(kind: str, seed: int = 0) -> dict[str, nn.Module]:
    """Return the networks of a tiny "dev" or "schnell", with random weights that react to the prompt."""
    torch.manual_seed(seed)
    transformer = FluxTransformer2DModel(
        patch_size=1, in_channels=64, num_layers=1, num_single_layers=2, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=WIDTHS[1], pooled_projection_dim=WIDTHS[0], guidance_embeds=kind == "dev",
        axes_dims_rope=(4, 6, 6),
    )  # fmt: skip
    vae = AutoencoderKL(
        in_channels=3, out_channels=3, latent_channels=16, sample_size=64, scaling_factor=0.3611, shift_factor=0.1159,
        use_quant_conv=False, use_post_quant_conv=False,
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(32, 32, 64, 64), layers_per_block=1, norm_num_groups=8,
    )  # fmt: skip
    clip = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=49408, hidden_size=WIDTHS[0], intermediate_size=64, num_hidden_layers=2, num_attention_heads=1,
            max_position_embeddings=77, hidden_act="quick_gelu", projection_dim=WIDTHS[0], bos_token_id=0,
            eos_token_id=2, pad_token_id=1,
        )
    )  # fmt: skip
    t5 = T5EncoderModel(
        T5Config(
            vocab_size=400, d_model=WIDTHS[1], d_kv=10, d_ff=64, num_layers=2, num_heads=4,
            feed_forward_proj="gated-gelu",
        )
    )  # fmt: skip
    with torch.no_grad():
        clip.embeddings.token_embedding.weight.normal_(std=1.0)
        for name, parameter in transformer.named_parameters():
            if "context_embedder" in name or "text_embedder" in name or "guidance_embedder" in name:
                parameter.mul_(4)
    networks = {"transformer": transformer, "vae": vae, "text_encoder": clip, "text_encoder_2": t5}
    return {name: network.eval() for name, network in networks.items()}


def make_folder(path: Path, kind: str = "dev", seed: int = 0) -> Path:
    """Write a diffusers folder to `path` and return it."""
    path.mkdir(parents=True)
    for name, network in make_networks(kind, seed).items():
        network.save_pretrained(path / name)
    write_json(path / "model_index.json", INDEX)
    write_json(path / "scheduler" / "scheduler_config.json", SCHEDULERS[kind])
    write_tokenizer(path / "tokenizer")
    write_piece_tokenizer(path / "tokenizer_2")
    return path


def write_piece_tokenizer(path: Path) -> None:
    """Write a tokenizer that works as T5's does: a few words, and all printable characters alone."""
    letters = [chr(number) for number in (*range(33, 127), *range(161, 256))]
    pieces = [("▁", -4.0), *((f"▁{word}", -1.0) for word in WORDS), *((letter, -6.0) for letter in letters)]
    special = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    T5Tokenizer(vocab=[*special, *pieces], extra_ids=60, model_max_length=512).save_pretrained(path)
