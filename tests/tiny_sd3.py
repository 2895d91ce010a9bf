"""Tiny random SD3 checkpoints: the whole architecture at a width that runs in milliseconds, in both layouts."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import AutoencoderKL, SD3Transformer2DModel
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModelWithProjection, T5Config, T5EncoderModel

from tests.tiny_flux import vae_weights, write_piece_tokenizer
from tests.tiny_models import write_folder, write_tokenizer

CLIP_WIDTHS = 24, 40  # three to five, as in the real ones
STATES = 72
SCHEDULER = {"_class_name": "FlowMatchEulerDiscreteScheduler", "num_train_timesteps": 1000, "shift": 3.0}
INDEX = {
    "_class_name": "StableDiffusion3Pipeline", "_diffusers_version": "0.42.1",
    "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
    "text_encoder": ["transformers", "CLIPTextModelWithProjection"],
    "text_encoder_2": ["transformers", "CLIPTextModelWithProjection"],
    "text_encoder_3": ["transformers", "T5EncoderModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"], "tokenizer_2": ["transformers", "CLIPTokenizer"],
    "tokenizer_3": ["transformers", "T5TokenizerFast"],
    "transformer": ["diffusers", "SD3Transformer2DModel"], "vae": ["diffusers", "AutoencoderKL"],
}  # fmt: skip


def make_networks(kind: str = "3.5", seed: int = 0) -> dict[str, nn.Module]:
    """Return the networks of a tiny "3" or "3.5", with random weights that react to the prompt.

    Both have CLIP-L project nothing, as the real ones do.
    """
    torch.manual_seed(seed)
    modern = kind == "3.5"
    transformer = SD3Transformer2DModel(
        sample_size=16, patch_size=2, in_channels=16, num_layers=3, attention_head_dim=16, num_attention_heads=3,
        joint_attention_dim=STATES, caption_projection_dim=48, pooled_projection_dim=sum(CLIP_WIDTHS), out_channels=16,
        pos_embed_max_size=24, dual_attention_layers=(0, 1) if modern else (), qk_norm="rms_norm" if modern else None,
    )  # fmt: skip
    vae = AutoencoderKL(
        in_channels=3, out_channels=3, latent_channels=16, sample_size=64, scaling_factor=1.5305, shift_factor=0.0609,
        use_quant_conv=False, use_post_quant_conv=False,
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(32, 32, 64, 64), layers_per_block=1, norm_num_groups=8,
    )  # fmt: skip
    first = CLIPTextModelWithProjection(_clip_config(CLIP_WIDTHS[0], 3, "quick_gelu"))
    second = CLIPTextModelWithProjection(_clip_config(CLIP_WIDTHS[1], 4, "gelu"))
    t5 = T5EncoderModel(
        T5Config(
            vocab_size=400, d_model=STATES, d_kv=10, d_ff=64, num_layers=2, num_heads=4,
            feed_forward_proj="gated-gelu",
        )
    )  # fmt: skip
    with torch.no_grad():
        first.text_projection.weight.copy_(torch.eye(CLIP_WIDTHS[0]))
        second.text_projection.weight.normal_(std=0.3)
        for clip in (first, second):
            clip.text_model.embeddings.token_embedding.weight.normal_(std=1.0)
        for name, parameter in transformer.named_parameters():
            if "context_embedder" in name or "text_embedder" in name:
                parameter.mul_(4)
    networks = {
        "transformer": transformer, "vae": vae, "text_encoder": first, "text_encoder_2": second, "text_encoder_3": t5,
    }  # fmt: skip
    return {name: network.eval() for name, network in networks.items()}


def _clip_config(width: int, layers: int, activation: str) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=49408, hidden_size=width, intermediate_size=2 * width, num_hidden_layers=layers,
        num_attention_heads=1, max_position_embeddings=77, hidden_act=activation, projection_dim=width,
        bos_token_id=49406, eos_token_id=49407, pad_token_id=1,
    )  # fmt: skip


def make_folder(path: Path, kind: str = "3.5", seed: int = 0, *, t5: bool = True) -> Path:
    """Write a diffusers folder to `path`, with or without T5, and return it."""
    networks = make_networks(kind, seed)
    if not t5:
        networks.pop("text_encoder_3")
    index = INDEX if t5 else INDEX | {"text_encoder_3": [None, None], "tokenizer_3": [None, None]}
    write_folder(path, networks, index, SCHEDULER)
    write_tokenizer(path / "tokenizer")
    write_tokenizer(path / "tokenizer_2", padding="!")
    if t5:
        write_piece_tokenizer(path / "tokenizer_3")
    return path


def make_single_file(path: Path, kind: str = "3.5", seed: int = 0, *, t5: bool = True) -> Path:
    """Write the same weights as one .safetensors file in the layout of its makers and return it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    networks = make_networks(kind, seed)
    weights = {
        f"model.diffusion_model.{name}": tensor for name, tensor in transformer_weights(networks["transformer"]).items()
    }
    weights |= {f"first_stage_model.{name}": tensor for name, tensor in vae_weights(networks["vae"]).items()}
    texts = {"text_encoder": "clip_l", "text_encoder_2": "clip_g", **({"text_encoder_3": "t5xxl"} if t5 else {})}
    for part, place in texts.items():
        for name, tensor in networks[part].state_dict().items():
            weights[f"text_encoders.{place}.transformer.{name}"] = tensor.clone()
    save_file({name: tensor.contiguous() for name, tensor in weights.items()}, path)
    return path


_TOP = {
    "pos_embed.pos_embed": "pos_embed", "pos_embed.proj": "x_embedder.proj",
    "time_text_embed.timestep_embedder.linear_1": "t_embedder.mlp.0",
    "time_text_embed.timestep_embedder.linear_2": "t_embedder.mlp.2",
    "time_text_embed.text_embedder.linear_1": "y_embedder.mlp.0",
    "time_text_embed.text_embedder.linear_2": "y_embedder.mlp.2",
    "context_embedder": "context_embedder", "proj_out": "final_layer.linear",
    "norm_out.linear": "final_layer.adaLN_modulation.1",
}  # fmt: skip
_BLOCK = {
    "attn.norm_q": "x_block.attn.ln_q", "attn.norm_k": "x_block.attn.ln_k",
    "attn.norm_added_q": "context_block.attn.ln_q", "attn.norm_added_k": "context_block.attn.ln_k",
    "attn.to_out.0": "x_block.attn.proj", "attn.to_add_out": "context_block.attn.proj",
    "attn2.norm_q": "x_block.attn2.ln_q", "attn2.norm_k": "x_block.attn2.ln_k", "attn2.to_out.0": "x_block.attn2.proj",
    "norm1.linear": "x_block.adaLN_modulation.1", "norm1_context.linear": "context_block.adaLN_modulation.1",
    "ff.net.0.proj": "x_block.mlp.fc1", "ff.net.2": "x_block.mlp.fc2",
    "ff_context.net.0.proj": "context_block.mlp.fc1", "ff_context.net.2": "context_block.mlp.fc2",
}  # fmt: skip
_FUSED = {
    "attn.to_q": "x_block.attn.qkv", "attn.add_q_proj": "context_block.attn.qkv", "attn2.to_q": "x_block.attn2.qkv",
}  # fmt: skip


def transformer_weights(network: nn.Module) -> dict[str, Tensor]:
    """Return the weights of an SD3 transformer under the names of its makers."""
    weights, original = network.state_dict(), {}
    last = network.config.num_layers - 1
    for name, tensor in weights.items():
        if name in _TOP:
            original[_TOP[name]] = tensor
            continue
        layer, _, leaf = name.rpartition(".")
        if layer in _TOP:
            swapped = layer == "norm_out.linear"
            original[f"{_TOP[layer]}.{leaf}"] = torch.cat(tensor.chunk(2)[::-1]) if swapped else tensor
            continue
        _, number, inner = layer.split(".", 2)
        place = f"joint_blocks.{number}."
        if inner in _FUSED:
            others = [name.replace("to_q", f"to_{letter}").replace("add_q", f"add_{letter}") for letter in "qkv"]
            original[f"{place}{_FUSED[inner]}.{leaf}"] = torch.cat([weights[other] for other in others])
        elif inner in _BLOCK:
            swapped = inner == "norm1_context.linear" and int(number) == last
            original[f"{place}{_BLOCK[inner]}.{leaf}"] = torch.cat(tensor.chunk(2)[::-1]) if swapped else tensor
    return original


def make_transformer_file(path: Path, kind: str = "3.5", seed: int = 0) -> Path:
    """Write the transformer alone in the layout of its makers and return the file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    weights = transformer_weights(make_networks(kind, seed)["transformer"])
    save_file({name: tensor.contiguous() for name, tensor in weights.items()}, path)
    return path


def make_text_files(folder: Path, seed: int = 0, *, t5: bool = True) -> None:
    """Write clip_l_of_sd3, clip_g and perhaps t5_of_sd3 into `folder`."""
    networks = make_networks("3.5", seed)
    names = {
        "text_encoder": "clip_l_of_sd3",
        "text_encoder_2": "clip_g",
        **({"text_encoder_3": "t5_of_sd3"} if t5 else {}),
    }
    for part, name in names.items():
        weights = {key: tensor.clone() for key, tensor in networks[part].state_dict().items()}
        save_file(weights, folder / f"{name}.safetensors")
