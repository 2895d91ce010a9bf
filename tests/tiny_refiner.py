"""Tiny random SDXL refiners: the whole architecture at a width that runs in milliseconds, in both layouts."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import save_file
from torch import Tensor, nn

from tests import tiny_xl
from tests.tiny_models import SCHEDULER, unet_key, vae_key, write_folder, write_tokenizer
from tests.tiny_xl import POOLED, WIDTHS, open_clip_weights

INDEX = tiny_xl.INDEX | {
    "_class_name": "StableDiffusionXLImg2ImgPipeline", "requires_aesthetics_score": True,
    "text_encoder": [None, None], "tokenizer": [None, None],
}  # fmt: skip


def make_networks(seed: int = 0) -> dict[str, nn.Module]:
    """Return UNet, VAE and the one text encoder with random weights that react to the prompt."""
    networks = tiny_xl.make_networks(seed)
    del networks["text_encoder"]
    torch.manual_seed(seed)
    unet = UNet2DConditionModel(
        sample_size=8, in_channels=4, out_channels=4, block_out_channels=(48, 96, 96), layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=(1, 2, 2), attention_head_dim=(1, 1, 1), cross_attention_dim=WIDTHS[1],
        norm_num_groups=12, use_linear_projection=True, addition_embed_type="text_time", addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=POOLED + 5 * 8,
    ).eval()  # fmt: skip
    with torch.no_grad():
        for name, parameter in unet.named_parameters():
            if "attn2" in name and parameter.dim() == 2:
                parameter.mul_(4)
    return networks | {"unet": unet}


def make_folder(path: Path, seed: int = 0) -> Path:
    """Write a diffusers folder to `path` and return it."""
    write_folder(path, make_networks(seed), INDEX, SCHEDULER)
    write_tokenizer(path / "tokenizer_2", padding="!")
    return path


def make_single_file(path: Path, seed: int = 0) -> Path:
    """Write the same weights as one .safetensors file in the original key layout and return it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(original_weights(seed), path)
    return path


def original_weights(seed: int = 0) -> dict[str, Tensor]:
    """Return the weights under the key names of the refiner's first release."""
    networks = {name: each.state_dict() for name, each in make_networks(seed).items()}
    weights = {f"model.diffusion_model.{unet_key(key, attends=(1,))}": each for key, each in networks["unet"].items()}
    for key, value in networks["vae"].items():
        is_projection = "attentions" in key and value.dim() == 2
        weights[f"first_stage_model.{vae_key(key)}"] = value[:, :, None, None] if is_projection else value
    weights |= open_clip_weights(networks["text_encoder_2"], "conditioner.embedders.0.model.")
    return {key: value.contiguous() for key, value in weights.items()}
