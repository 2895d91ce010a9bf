"""Tiny random Flux checkpoints: the whole architecture at a width that runs in milliseconds."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import AutoencoderKL, FluxTransformer2DModel
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, T5Config, T5EncoderModel, T5Tokenizer

from tests.tiny_models import vae_key, write_folder, write_tokenizer

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
    """Return the networks of a tiny "dev", "schnell", "fill", "control" or "kontext", with random weights that react
    to the prompt."""
    torch.manual_seed(seed)
    transformer = FluxTransformer2DModel(
        patch_size=1, in_channels={"fill": 384, "control": 128}.get(kind, 64), out_channels=64, num_layers=1,
        num_single_layers=2, attention_head_dim=16, num_attention_heads=2, joint_attention_dim=WIDTHS[1],
        pooled_projection_dim=WIDTHS[0], guidance_embeds=kind != "schnell", axes_dims_rope=(4, 6, 6),
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
    pipelines = {"fill": "FluxFillPipeline", "control": "FluxControlPipeline", "kontext": "FluxKontextPipeline"}
    index = INDEX | {"_class_name": pipelines.get(kind, "FluxPipeline")}
    write_folder(path, make_networks(kind, seed), index, SCHEDULERS.get(kind, SCHEDULERS["dev"]))
    write_tokenizer(path / "tokenizer")
    write_piece_tokenizer(path / "tokenizer_2")
    return path


def write_piece_tokenizer(path: Path) -> None:
    """Write a tokenizer that works as T5's does: a few words, and all printable characters alone."""
    letters = [chr(number) for number in (*range(33, 127), *range(161, 256))]
    pieces = [("▁", -4.0), *((f"▁{word}", -1.0) for word in WORDS), *((letter, -6.0) for letter in letters)]
    special = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    T5Tokenizer(vocab=[*special, *pieces], extra_ids=60, model_max_length=512).save_pretrained(path)


def make_single_file(
    path: Path, kind: str = "dev", seed: int = 0, *, parts: bool = True, prefix: str | None = None
) -> Path:
    """Write the same weights as one .safetensors file in the layout of its makers and return it: with VAE and text
    encoders, or without these `parts`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    networks = make_networks(kind, seed)
    before = ("model.diffusion_model." if parts else "") if prefix is None else prefix
    weights = {f"{before}{name}": tensor for name, tensor in transformer_weights(networks["transformer"]).items()}
    if parts:
        weights |= {f"vae.{name}": tensor for name, tensor in vae_weights(networks["vae"]).items()}
        for part, place in (("text_encoder", "clip_l.transformer.text_model"), ("text_encoder_2", "t5xxl.transformer")):
            state = networks[part].state_dict()
            weights |= {f"text_encoders.{place}.{name}": tensor.clone() for name, tensor in state.items()}
    save_file({name: tensor.contiguous() for name, tensor in weights.items()}, path)
    return path


def make_part_files(folder: Path, kind: str = "dev", seed: int = 0) -> Path:
    """Write VAE/ae, text_encoder/clip_l and text_encoder/t5xxl, with T5's tokenizer beside it, as users have them."""
    networks = make_networks(kind, seed)
    for name in ("VAE", "text_encoder"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    save_file(vae_weights(networks["vae"]), folder / "VAE" / "ae.safetensors")
    clip = {f"text_model.{name}": tensor for name, tensor in networks["text_encoder"].state_dict().items()}
    save_file(clip | {"text_projection.weight": torch.eye(WIDTHS[0])}, folder / "text_encoder" / "clip_l.safetensors")
    t5 = networks["text_encoder_2"].state_dict()
    t5.pop("encoder.embed_tokens.weight")
    save_file(t5, folder / "text_encoder" / "t5xxl_fp16.safetensors")
    write_piece_tokenizer(folder / "tokenizer")
    (folder / "tokenizer" / "tokenizer.json").rename(folder / "text_encoder" / "t5xxl_fp16.tokenizer.json")
    return folder


def vae_weights(vae: nn.Module) -> dict[str, Tensor]:
    """Return a VAE's weights under the names of its makers."""
    weights = {}
    for name, tensor in vae.state_dict().items():
        projects = "attentions" in name and tensor.dim() == 2
        weights[vae_key(name)] = (tensor[:, :, None, None] if projects else tensor).contiguous()
    return weights


_TOP = {
    "x_embedder": "img_in", "context_embedder": "txt_in",
    "time_text_embed.timestep_embedder.linear_1": "time_in.in_layer",
    "time_text_embed.timestep_embedder.linear_2": "time_in.out_layer",
    "time_text_embed.text_embedder.linear_1": "vector_in.in_layer",
    "time_text_embed.text_embedder.linear_2": "vector_in.out_layer",
    "time_text_embed.guidance_embedder.linear_1": "guidance_in.in_layer",
    "time_text_embed.guidance_embedder.linear_2": "guidance_in.out_layer",
    "proj_out": "final_layer.linear", "norm_out.linear": "final_layer.adaLN_modulation.1",
}  # fmt: skip
_DOUBLE = {
    "norm1.linear": "img_mod.lin", "norm1_context.linear": "txt_mod.lin", "attn.to_out.0": "img_attn.proj",
    "attn.to_add_out": "txt_attn.proj", "ff.net.0.proj": "img_mlp.0", "ff.net.2": "img_mlp.2",
    "ff_context.net.0.proj": "txt_mlp.0", "ff_context.net.2": "txt_mlp.2",
    "attn.norm_q": "img_attn.norm.query_norm", "attn.norm_k": "img_attn.norm.key_norm",
    "attn.norm_added_q": "txt_attn.norm.query_norm", "attn.norm_added_k": "txt_attn.norm.key_norm",
}  # fmt: skip
_SINGLE = {
    "norm.linear": "modulation.lin", "proj_out": "linear2", "attn.norm_q": "norm.query_norm",
    "attn.norm_k": "norm.key_norm",
}  # fmt: skip
_FUSED = {
    ("transformer_blocks", "attn.to_q"): ("img_attn.qkv", ("attn.to_q", "attn.to_k", "attn.to_v")),
    ("transformer_blocks", "attn.add_q_proj"): (
        "txt_attn.qkv", ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"),
    ),
    ("single_transformer_blocks", "attn.to_q"): ("linear1", ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp")),
}  # fmt: skip


def transformer_weights(network: nn.Module) -> dict[str, Tensor]:
    """Return the weights of a Flux transformer under the names of its makers."""
    weights, original = network.state_dict(), {}
    for name, tensor in weights.items():
        layer, _, leaf = name.rpartition(".")
        if layer in _TOP:
            swapped = layer == "norm_out.linear"
            original[f"{_TOP[layer]}.{leaf}"] = torch.cat(tensor.chunk(2)[::-1]) if swapped else tensor
            continue
        kind, number, inner = layer.split(".", 2)
        place = f"{'double' if kind == 'transformer_blocks' else 'single'}_blocks.{number}."
        plain = (_DOUBLE if kind == "transformer_blocks" else _SINGLE).get(inner)
        if (kind, inner) in _FUSED:
            fused, others = _FUSED[kind, inner]
            together = [weights[f"{kind}.{number}.{other}.{leaf}"] for other in others]
            original[f"{place}{fused}.{leaf}"] = torch.cat(together)
        elif plain is not None:
            original[f"{place}{plain}.{'scale' if 'norm.' in plain else leaf}"] = tensor
    return original
