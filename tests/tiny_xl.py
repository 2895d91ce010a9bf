"""Tiny random SDXL checkpoints: the whole architecture at a width that runs in milliseconds, in both layouts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from tests.tiny_models import SCHEDULER, unet_key, vae_key, write_folder, write_tokenizer

WIDTHS = 32, 48  # of the text encoders
POOLED = 40
INDEX = {
    "_class_name": "StableDiffusionXLPipeline", "_diffusers_version": "0.42.1",
    "feature_extractor": [None, None], "image_encoder": [None, None],
    "scheduler": ["diffusers", "EulerDiscreteScheduler"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "text_encoder_2": ["transformers", "CLIPTextModelWithProjection"],
    "tokenizer": ["transformers", "CLIPTokenizer"], "tokenizer_2": ["transformers", "CLIPTokenizer"],
    "unet": ["diffusers", "UNet2DConditionModel"], "vae": ["diffusers", "AutoencoderKL"],
}  # fmt: skip


UNET: Mapping[str, Any] = {
    "sample_size": 8, "out_channels": 4, "block_out_channels": (32, 64, 128), "layers_per_block": 1,
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "transformer_layers_per_block": (1, 1, 2), "attention_head_dim": (1, 1, 2), "cross_attention_dim": sum(WIDTHS),
    "norm_num_groups": 8, "use_linear_projection": True, "addition_embed_type": "text_time",
    "addition_time_embed_dim": 8, "projection_class_embeddings_input_dim": POOLED + 6 * 8,
}  # fmt: skip
VAE: Mapping[str, Any] = {
    "in_channels": 3, "out_channels": 3, "latent_channels": 4, "sample_size": 64, "scaling_factor": 0.13025,
    "down_block_types": ("DownEncoderBlock2D",) * 4, "up_block_types": ("UpDecoderBlock2D",) * 4,
    "block_out_channels": (32, 32, 64, 64), "layers_per_block": 1, "norm_num_groups": 8,
}  # fmt: skip


def make_networks(
    seed: int = 0, channels: int = 4, *, unet_changes: Mapping[str, Any] = {}, vae_changes: Mapping[str, Any] = {}
) -> dict[str, nn.Module]:
    """Return the networks (a UNet of so many input channels) with random weights that react to the prompt."""
    torch.manual_seed(seed)
    unet = UNet2DConditionModel(**{**UNET, "in_channels": channels, **unet_changes})
    vae = AutoencoderKL(**{**VAE, **vae_changes})
    first = CLIPTextModel(_text_config(WIDTHS[0], 3, "quick_gelu", WIDTHS[0]))
    second = CLIPTextModelWithProjection(_text_config(WIDTHS[1], 4, "gelu", POOLED))
    with torch.no_grad():
        first.embeddings.token_embedding.weight.normal_(std=1.0)
        second.text_model.embeddings.token_embedding.weight.normal_(std=1.0)
        second.text_projection.weight.normal_(std=0.3)
        for name, parameter in unet.named_parameters():
            if "attn2" in name and parameter.dim() == 2:
                parameter.mul_(4)
    networks = {"unet": unet, "vae": vae, "text_encoder": first, "text_encoder_2": second}
    return {name: network.eval() for name, network in networks.items()}


def _text_config(width: int, layers: int, activation: str, projection: int) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=49408, hidden_size=width, intermediate_size=2 * width, num_hidden_layers=layers,
        num_attention_heads=1, max_position_embeddings=77, hidden_act=activation, projection_dim=projection,
        bos_token_id=49406, eos_token_id=49407, pad_token_id=1,
    )  # fmt: skip


def make_folder(
    path: Path,
    seed: int = 0,
    channels: int = 4,
    *,
    unet_changes: Mapping[str, Any] = {},
    vae_changes: Mapping[str, Any] = {},
    scheduler: Mapping[str, Any] = SCHEDULER,
    **index: object,
) -> Path:
    """Write a diffusers folder to `path` and return it; other keywords go into its index."""
    networks = make_networks(seed, channels, unet_changes=unet_changes, vae_changes=vae_changes)
    write_folder(path, networks, INDEX | index, scheduler)
    write_tokenizer(path / "tokenizer")
    write_tokenizer(path / "tokenizer_2", padding="!")
    return path


def make_single_file(path: Path, seed: int = 0, channels: int = 4, **extra: Tensor) -> Path:
    """Write the same weights as one .safetensors file in the original key layout and return it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(original_weights(seed, channels) | extra, path)
    return path


def original_weights(
    seed: int = 0, channels: int = 4, *, unet_changes: Mapping[str, Any] = {}, vae_changes: Mapping[str, Any] = {}
) -> dict[str, Tensor]:
    """Return the weights under the key names of SDXL's first release."""
    made = make_networks(seed, channels, unet_changes=unet_changes, vae_changes=vae_changes)
    networks = {name: each.state_dict() for name, each in made.items()}
    weights = {f"model.diffusion_model.{unet_key(key, attends=(0, 1))}": each for key, each in networks["unet"].items()}
    for key, value in networks["vae"].items():
        is_projection = "attentions" in key and value.dim() == 2
        weights[f"first_stage_model.{vae_key(key)}"] = value[:, :, None, None] if is_projection else value
    for key, value in networks["text_encoder"].items():
        weights[f"conditioner.embedders.0.transformer.text_model.{key}"] = value
    weights["conditioner.embedders.0.transformer.text_model.embeddings.position_ids"] = torch.arange(77).unsqueeze(0)
    weights |= open_clip_weights(networks["text_encoder_2"], "conditioner.embedders.1.model.")
    return {key: value.contiguous() for key, value in weights.items()}


def open_clip_weights(weights: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return a text encoder's weights under OpenCLIP's names, which begin with `prefix`."""
    separate = dict(weights)
    for key in weights:
        if ".q_proj." in key:  # OpenCLIP has the three in one
            together = [separate.pop(key.replace("q_proj", kind)) for kind in ("q_proj", "k_proj", "v_proj")]
            separate[key.replace(".q_proj.", ".in_proj_")] = torch.cat(together)
    named = {
        f"{prefix}{_open_clip_key(key)}": value.T if "projection" in key else value for key, value in separate.items()
    }
    return named | {f"{prefix}logit_scale": torch.tensor(4.6)}


_OPEN_CLIP = {
    "text_model.encoder.layers.": "transformer.resblocks.", "text_model.final_layer_norm": "ln_final",
    "text_model.embeddings.token_embedding": "token_embedding",
    "text_model.embeddings.position_embedding.weight": "positional_embedding",
    "text_projection.weight": "text_projection", "self_attn": "attn", "layer_norm1": "ln_1", "layer_norm2": "ln_2",
    "fc1": "c_fc", "fc2": "c_proj",
}  # fmt: skip


def _open_clip_key(key: str) -> str:
    for ours, theirs in _OPEN_CLIP.items():
        key = key.replace(ours, theirs)
    return key
