"""Tiny random SD2 checkpoints: the whole architecture at a width that runs in milliseconds, in both layouts."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel

from tests import tiny_models
from tests.tiny_models import INDEX, SCHEDULER, unet_key, vae_key, write_folder, write_tokenizer
from tests.tiny_xl import open_clip_weights

WIDTH, LAYERS = 64, 4  # of the whole text encoder; folders have all layers but the last
_TEXT = "cond_stage_model.model."


def make_networks(seed: int = 0, channels: int = 4) -> dict[str, nn.Module]:
    """Return the networks of a folder with random weights that react to the prompt."""
    networks = tiny_models.make_networks(seed, channels)
    torch.manual_seed(seed)
    networks["unet"] = UNet2DConditionModel(
        sample_size=8, in_channels=channels, out_channels=4, block_out_channels=(64, 128, 128), layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=WIDTH, attention_head_dim=(1, 2, 2), norm_num_groups=16, use_linear_projection=True,
    ).eval()  # fmt: skip
    networks["text_encoder"] = _make_text(LAYERS - 1)
    with torch.no_grad():
        for name, parameter in networks["unet"].named_parameters():
            if "attn2" in name and parameter.dim() == 2:
                parameter.mul_(4)
    return networks


def _make_text(layers: int) -> CLIPTextModel:
    config = CLIPTextConfig(
        vocab_size=49408, hidden_size=WIDTH, intermediate_size=128, num_hidden_layers=layers, num_attention_heads=1,
        max_position_embeddings=77, hidden_act="gelu", projection_dim=WIDTH, bos_token_id=49406, eos_token_id=49407,
        pad_token_id=1,
    )  # fmt: skip
    text = CLIPTextModel(config)
    with torch.no_grad():
        text.embeddings.token_embedding.weight.normal_(std=1.0)
        text.final_layer_norm.bias.normal_(mean=-0.1, std=0.1)
    return text.eval()


def make_folder(path: Path, seed: int = 0, channels: int = 4, prediction: str = "v_prediction") -> Path:
    """Write a diffusers folder to `path` and return it."""
    write_folder(path, make_networks(seed, channels), INDEX, SCHEDULER | {"prediction_type": prediction})
    write_tokenizer(path / "tokenizer", padding="!")
    return path


def make_single_file(path: Path, seed: int = 0, channels: int = 4, **extra: Tensor) -> Path:
    """Write the same weights as one .safetensors file in the original key layout and return it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(original_weights(seed, channels) | extra, path)
    return path


def original_weights(seed: int = 0, channels: int = 4) -> dict[str, Tensor]:
    """Return the weights under the key names of SD2's release, with the last layer that folders leave out."""
    networks = {name: each.state_dict() for name, each in make_networks(seed, channels).items()}
    weights = {f"model.diffusion_model.{unet_key(key)}": each for key, each in networks["unet"].items()}
    for key, value in networks["vae"].items():
        is_projection = "attentions" in key and value.dim() == 2
        weights[f"first_stage_model.{vae_key(key)}"] = value[:, :, None, None] if is_projection else value
    text = {f"text_model.{key}": value for key, value in networks["text_encoder"].items()}
    last, behind = f"layers.{LAYERS - 2}.", f"layers.{LAYERS - 1}."
    text |= {key.replace(last, behind): value + 1 for key, value in text.items() if last in key}
    weights |= open_clip_weights(text, _TEXT)
    weights[f"{_TEXT}text_projection"] = torch.zeros(WIDTH, WIDTH)
    return {key: value.contiguous() for key, value in weights.items()}
