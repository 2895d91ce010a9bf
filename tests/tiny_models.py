"""Tiny random SD1 checkpoints: the whole architecture at a width that runs in milliseconds, in both layouts."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, AutoencoderTiny, UNet2DConditionModel
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel

from webui.weights.vocabulary import read_clip_vocabulary

WIDTH = 64  # of the text encoder
SCHEDULER = {
    "_class_name": "PNDMScheduler", "num_train_timesteps": 1000, "beta_start": 0.00085, "beta_end": 0.012,
    "beta_schedule": "scaled_linear", "skip_prk_steps": True, "set_alpha_to_one": False, "steps_offset": 1,
    "trained_betas": None, "clip_sample": False, "prediction_type": "epsilon",
}  # fmt: skip
INDEX = {
    "_class_name": "StableDiffusionPipeline", "_diffusers_version": "0.42.1",
    "feature_extractor": [None, None], "image_encoder": [None, None], "safety_checker": [None, None],
    "requires_safety_checker": False,
    "scheduler": ["diffusers", "PNDMScheduler"], "text_encoder": ["transformers", "CLIPTextModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"], "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
}  # fmt: skip


def make_networks(seed: int = 0, channels: int = 4, unet_changes: Mapping[str, Any] = {}) -> dict[str, nn.Module]:
    """Return UNet (of so many input channels), VAE and text encoder with random weights that react to the prompt."""
    torch.manual_seed(seed)
    unet = UNet2DConditionModel(
        sample_size=8, in_channels=channels, out_channels=4, block_out_channels=(32, 64, 64), layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=WIDTH, attention_head_dim=8, norm_num_groups=8, **unet_changes,
    )  # fmt: skip
    vae = AutoencoderKL(
        in_channels=3, out_channels=3, latent_channels=4, sample_size=64, scaling_factor=0.18215,
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(32, 32, 64, 64), layers_per_block=1, norm_num_groups=8,
    )  # fmt: skip
    text_encoder = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=49408,
            hidden_size=WIDTH,
            intermediate_size=128,
            num_hidden_layers=3,
            num_attention_heads=1,
            max_position_embeddings=77,
            hidden_act="quick_gelu",
            projection_dim=WIDTH,
            bos_token_id=49406,
            eos_token_id=49407,
            pad_token_id=49407,
        )
    )
    with torch.no_grad():
        text_encoder.embeddings.token_embedding.weight.normal_(std=1.0)
        text_encoder.final_layer_norm.bias.normal_(mean=-0.1, std=0.1)
        for name, parameter in unet.named_parameters():
            if "attn2" in name and parameter.dim() == 2:
                parameter.mul_(4)
    return {name: network.eval() for name, network in (("unet", unet), ("vae", vae), ("text_encoder", text_encoder))}


def write_folder(
    path: Path, networks: Mapping[str, nn.Module], index: Mapping[str, Any], scheduler: Mapping[str, Any]
) -> None:
    """Write what a diffusers folder holds beside its tokenizers to `path`, which must not exist."""
    path.mkdir(parents=True)
    for name, network in networks.items():
        network.save_pretrained(path / name)
    write_json(path / "model_index.json", index)
    write_json(path / "scheduler" / "scheduler_config.json", scheduler)


def make_folder(path: Path, seed: int = 0, channels: int = 4, unet_changes: Mapping[str, Any] = {}) -> Path:
    """Write a diffusers folder to `path` and return it."""
    write_folder(path, make_networks(seed, channels, unet_changes), INDEX, SCHEDULER)
    write_tokenizer(path / "tokenizer")
    return path


def write_tokenizer(path: Path, padding: str = "<|endoftext|>") -> None:
    """Write CLIP's tokenizer as diffusers' folders have it."""
    vocabulary, merges = read_clip_vocabulary()
    write_json(path / "vocab.json", vocabulary)
    (path / "merges.txt").write_text(
        "\n".join(["#version: 0.2", *(f"{left} {right}" for left, right in merges)]) + "\n", encoding="utf-8"
    )
    special = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>"}
    settings = {"tokenizer_class": "CLIPTokenizer", "model_max_length": 77, "pad_token": padding, **special}
    write_json(path / "tokenizer_config.json", settings)


def write_json(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


def make_single_file(path: Path, seed: int = 0, **extra: Tensor) -> Path:
    """Write the same weights as one .safetensors file in the original key layout and return it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(original_weights(seed) | extra, path)
    return path


def original_weights(seed: int = 0) -> dict[str, Tensor]:
    """Return the weights under the key names of the first Stable Diffusion release."""
    networks = make_networks(seed)
    weights = {f"model.diffusion_model.{unet_key(key)}": value for key, value in _weights(networks["unet"])}
    for key, value in _weights(networks["vae"]):
        is_projection = "attentions" in key and value.dim() == 2
        weights[f"first_stage_model.{vae_key(key)}"] = value[:, :, None, None].contiguous() if is_projection else value
    for key, value in _weights(networks["text_encoder"]):
        weights[f"cond_stage_model.transformer.text_model.{key.removeprefix('text_model.')}"] = value
    weights["cond_stage_model.transformer.text_model.embeddings.position_ids"] = torch.arange(77).unsqueeze(0)
    weights["alphas_cumprod"] = torch.zeros(1000)
    return weights


def vae_weights(seed: int = 0, *, layout: str = "original", prefix: str = "") -> dict[str, Tensor]:
    """Return the weights of the tiny VAE alone, under the names of either layout."""
    if layout == "diffusers":
        return {f"{prefix}{key}": value for key, value in _weights(make_networks(seed)["vae"])}
    whole = original_weights(seed).items()
    return {
        f"{prefix}{key.removeprefix('first_stage_model.')}": value
        for key, value in whole
        if key.startswith("first_stage_model.")
    }


def make_taesd(seed: int = 0) -> AutoencoderTiny:
    """Return a TAESD of random weights and another depth on each level."""
    torch.manual_seed(seed)
    return AutoencoderTiny(
        encoder_block_out_channels=(8, 8, 8, 8), decoder_block_out_channels=(8, 8, 8, 8),
        num_encoder_blocks=(1, 2, 1, 1), num_decoder_blocks=(2, 1, 1, 1),
    ).eval()  # fmt: skip


def taesd_weights(half: str, seed: int = 0) -> dict[str, Tensor]:
    """Return half a TAESD under the names of its original files, where the decoder begins with a layer more."""
    first = {"encoder": 0, "decoder": 1}[half]
    named = [key.split(".", 3) for key in make_taesd(seed).state_dict()]
    weights = dict(_weights(make_taesd(seed)))
    return {
        f"{int(number) + first}.{rest}": weights[f"{side}.layers.{number}.{rest}"]
        for side, _, number, rest in named
        if side == half
    }


def _weights(network: nn.Module) -> list[tuple[str, Tensor]]:
    return [(key, value.contiguous()) for key, value in network.state_dict().items()]


_RESNET = {
    "norm1": "in_layers.0", "conv1": "in_layers.2", "norm2": "out_layers.0", "conv2": "out_layers.3",
    "time_emb_proj": "emb_layers.1", "conv_shortcut": "skip_connection",
}  # fmt: skip
_TOP = {
    "time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0", "add_embedding.linear_2": "label_emb.0.2",
    "conv_in": "input_blocks.0.0", "conv_norm_out": "out.0", "conv_out": "out.2",
}  # fmt: skip
_VAE_ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}
_LAYERS = 1


def unet_key(key: str, attends: Collection[int] = (1, 2), layers: int = _LAYERS) -> str:
    """Return the original name of a UNet's weight; `attends` are the levels on the way up that have attention."""
    name, _, leaf = key.rpartition(".")
    if name in _TOP:
        return f"{_TOP[name]}.{leaf}"
    side, *path = name.split(".")
    if side == "mid_block":
        kind, index, *rest = path
        place = "middle_block.1" if kind == "attentions" else f"middle_block.{2 * int(index)}"
    else:
        level, kind, index, *rest = path
        place = _unet_place(side, int(level), kind, int(index), attends, layers)
        rest = rest[1:] if kind.endswith("samplers") else rest
        if kind.endswith("samplers"):
            return f"{place}.{leaf}"
    inner = ".".join(_RESNET.get(part, part) if kind == "resnets" else part for part in rest)
    return f"{place}.{inner}.{leaf}"


def _unet_place(side: str, level: int, kind: str, index: int, attends: Collection[int], layers: int) -> str:
    if side == "down_blocks":
        if kind == "downsamplers":
            return f"input_blocks.{(level + 1) * (layers + 1)}.0.op"
        return f"input_blocks.{1 + level * (layers + 1) + index}.{int(kind == 'attentions')}"
    if kind == "upsamplers":
        return f"output_blocks.{level * (layers + 1) + layers}.{2 if level in attends else 1}.conv"
    return f"output_blocks.{level * (layers + 1) + index}.{int(kind == 'attentions')}"


def vae_key(key: str) -> str:
    """Return the original name of a VAE's weight."""
    name, _, leaf = key.rpartition(".")
    parts = name.replace("conv_norm_out", "norm_out").replace("conv_shortcut", "nin_shortcut").split(".")
    if len(parts) < 3:
        return f"{'.'.join(parts)}.{leaf}"
    side, block, *rest = parts
    if block == "mid_block":
        kind, index, *inner = rest
        if kind == "attentions":
            return f"{side}.mid.attn_1.{_VAE_ATTENTION['.'.join(inner)]}.{leaf}"
        return f"{side}.mid.block_{int(index) + 1}.{'.'.join(inner)}.{leaf}"
    level, kind, index, *inner = rest
    number = 3 - int(level) if side == "decoder" else int(level)
    folder = "up" if side == "decoder" else "down"
    if kind.endswith("samplers"):
        return f"{side}.{folder}.{number}.{folder}sample.conv.{leaf}"
    return f"{side}.{folder}.{number}.block.{index}.{'.'.join(inner)}.{leaf}"
