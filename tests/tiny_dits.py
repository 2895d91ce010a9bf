"""Tiny random folders of the families whose network is a transformer: whole architectures that run in milliseconds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AuraFlowTransformer2DModel,
    AutoencoderDC,
    AutoencoderKL,
    HunyuanDiT2DModel,
    Lumina2Transformer2DModel,
    PixArtTransformer2DModel,
    SanaTransformer2DModel,
)
from torch import nn
from transformers import (
    BertConfig,
    BertModel,
    BertTokenizer,
    PreTrainedModel,
    T5Config,
    T5EncoderModel,
    UMT5Config,
    UMT5EncoderModel,
)

from tests.tiny_flux import write_piece_tokenizer
from tests.tiny_models import write_json
from tests.tiny_texts import make_gemma, write_gemma_tokenizer
from webui.domain.models import Family

WIDTH = 40  # of texts
LINEAR = {
    "_class_name": "DPMSolverMultistepScheduler", "num_train_timesteps": 1000, "beta_start": 0.0001, "beta_end": 0.02,
    "beta_schedule": "linear", "prediction_type": "epsilon", "trained_betas": None,
}  # fmt: skip
VELOCITY = {
    "_class_name": "DDPMScheduler", "num_train_timesteps": 1000, "beta_start": 0.00085, "beta_end": 0.03,
    "beta_schedule": "scaled_linear", "prediction_type": "v_prediction", "trained_betas": None,
}  # fmt: skip
FLOW = {
    "_class_name": "FlowMatchEulerDiscreteScheduler", "num_train_timesteps": 1000, "shift": 1.73,
    "use_dynamic_shifting": False,
}  # fmt: skip
SOLVER_FLOW = {
    "_class_name": "DPMSolverMultistepScheduler", "num_train_timesteps": 1000, "prediction_type": "flow_prediction",
    "use_flow_sigmas": True, "flow_shift": 3.0,
}  # fmt: skip
_T5 = {
    "vocab_size": 400, "d_model": WIDTH, "d_kv": 10, "d_ff": 64, "num_layers": 2, "num_heads": 4,
    "feed_forward_proj": "gated-gelu",
}  # fmt: skip

Networks = dict[str, nn.Module]


def make_vae(channels: int = 4, scale: float = 0.13025, shift: float | None = None) -> AutoencoderKL:
    """Return a VAE that shrinks pictures 8 times."""
    return AutoencoderKL(
        in_channels=3, out_channels=3, latent_channels=channels, sample_size=64, scaling_factor=scale,
        shift_factor=shift, down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(32, 32, 64, 64), layers_per_block=1, norm_num_groups=8,
    )  # fmt: skip


def _t5() -> PreTrainedModel:
    return T5EncoderModel(T5Config(**_T5))


def _pixart(told: bool) -> Networks:
    transformer = PixArtTransformer2DModel(
        num_attention_heads=2, attention_head_dim=24, in_channels=4, out_channels=8, num_layers=2,
        cross_attention_dim=48, sample_size=128 if told else 64, caption_channels=WIDTH, use_additional_conditions=told,
    )  # fmt: skip
    return {"transformer": transformer, "vae": make_vae(scale=0.18215 if told else 0.13025), "text_encoder": _t5()}


def _auraflow() -> Networks:
    transformer = AuraFlowTransformer2DModel(
        sample_size=16, num_mmdit_layers=1, num_single_dit_layers=1, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=WIDTH, caption_projection_dim=32, pos_embed_max_size=64,
    )  # fmt: skip
    return {"transformer": transformer, "vae": make_vae(), "text_encoder": UMT5EncoderModel(UMT5Config(**_T5))}


def _sana() -> Networks:
    transformer = SanaTransformer2DModel(
        in_channels=32, out_channels=32, num_attention_heads=2, attention_head_dim=16, num_layers=2,
        num_cross_attention_heads=2, cross_attention_head_dim=16, cross_attention_dim=32, caption_channels=WIDTH,
        sample_size=32,
    )  # fmt: skip
    vae = AutoencoderDC(
        latent_channels=32, attention_head_dim=8, encoder_block_types="ResBlock", decoder_block_types="ResBlock",
        encoder_block_out_channels=(8, 8, 8, 16, 16, 32), decoder_block_out_channels=(8, 8, 8, 16, 16, 32),
        encoder_layers_per_block=(1,) * 6, decoder_layers_per_block=(1,) * 6, encoder_qkv_multiscales=((),) * 6,
        decoder_qkv_multiscales=((),) * 6, scaling_factor=0.41407,
    )  # fmt: skip
    return {"transformer": transformer, "vae": vae, "text_encoder": make_gemma(WIDTH)}


def _lumina2() -> Networks:
    transformer = Lumina2Transformer2DModel(
        sample_size=16, hidden_size=24, num_layers=2, num_refiner_layers=1, num_attention_heads=2, num_kv_heads=1,
        multiple_of=16, axes_dim_rope=(4, 4, 4), axes_lens=(300, 64, 64), cap_feat_dim=WIDTH,
    )  # fmt: skip
    vae = make_vae(16, 0.3611, 0.1159)
    return {"transformer": transformer, "vae": vae, "text_encoder": make_gemma(WIDTH)}


def _hunyuan_dit() -> Networks:
    transformer = HunyuanDiT2DModel(
        num_attention_heads=2, attention_head_dim=16, in_channels=4, patch_size=2, sample_size=16, hidden_size=32,
        num_layers=4, mlp_ratio=2.0, cross_attention_dim=32, cross_attention_dim_t5=WIDTH, pooled_projection_dim=16,
    )  # fmt: skip
    bert = BertModel(
        BertConfig(
            vocab_size=500, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2,
            max_position_embeddings=128,
        )
    )  # fmt: skip
    bert.embeddings.word_embeddings.weight.data.normal_(std=0.5)
    return {"transformer": transformer, "vae": make_vae(), "text_encoder": bert, "text_encoder_2": _t5()}


def write_bert_tokenizer(path: Path) -> None:
    """Write a tokenizer that works as BERT's does: words, and letters that words go on with."""
    letters = [chr(number) for number in (*range(33, 127), *range(161, 256))]
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    names = dict.fromkeys([*special, *letters, *(f"##{letter}" for letter in letters), "cat", "dog", "castle", "猫"])
    BertTokenizer(vocab={name: number for number, name in enumerate(names)}).save_pretrained(path)


_MAKERS: Mapping[str, Callable[[], Networks]] = {
    "pixart_alpha": lambda: _pixart(told=True),
    "pixart_sigma": lambda: _pixart(told=False),
    "auraflow": _auraflow,
    "sana": _sana,
    "lumina2": _lumina2,
    "hunyuan_dit": _hunyuan_dit,
}
PIPELINES = {
    "pixart_alpha": "PixArtAlphaPipeline",
    "pixart_sigma": "PixArtSigmaPipeline",
    "auraflow": "AuraFlowPipeline",
    "sana": "SanaPipeline",
    "lumina2": "Lumina2Pipeline",
    "hunyuan_dit": "HunyuanDiTPipeline",
}
SCHEDULERS: Mapping[str, Mapping[str, Any]] = {
    "pixart_alpha": LINEAR, "pixart_sigma": LINEAR, "auraflow": FLOW, "sana": SOLVER_FLOW, "lumina2": FLOW,
    "hunyuan_dit": VELOCITY,
}  # fmt: skip
_TOKENIZERS: Mapping[str, Callable[[Path], None]] = {  # by class
    "T5Tokenizer": write_piece_tokenizer,
    "GemmaTokenizer": write_gemma_tokenizer,
    "BertTokenizer": write_bert_tokenizer,
}
_READERS = {"T5EncoderModel": "T5Tokenizer", "UMT5EncoderModel": "T5Tokenizer", "Gemma2Model": "GemmaTokenizer",
            "BertModel": "BertTokenizer"}  # fmt: skip
KINDS = tuple(_MAKERS)
_LOUD = {"caption": 4, "context_embedder": 8, "add_v": 40, "text_embedd": 4, "attn2.to_v": 4}  # what texts pass through


def make_networks(kind: str, seed: int = 0) -> Networks:
    """Return the networks of a family with random weights that react to the prompt."""
    torch.manual_seed(seed)
    networks = _MAKERS[kind]()
    with torch.no_grad():
        for name, parameter in networks["transformer"].named_parameters():
            factors = [factor for word, factor in _LOUD.items() if word in name]
            if Family(kind).is_flow and (
                "proj_out" in name or name == "norm_out.linear_2.weight"
            ):  # a small velocity would leave nothing but noise
                factors = [8]
            parameter.mul_(factors[0] if factors and parameter.dim() == 2 else 1)
    return {name: network.eval() for name, network in networks.items()}


def make_folder(path: Path, kind: str, seed: int = 0) -> Path:
    """Write a diffusers folder of a family to `path` and return it."""
    path.mkdir(parents=True)
    networks = make_networks(kind, seed)
    index: dict[str, Any] = {"_class_name": PIPELINES[kind], "_diffusers_version": "0.42.1"}
    for name, network in networks.items():
        network.save_pretrained(path / name)
        library = "transformers" if isinstance(network, PreTrainedModel) else "diffusers"
        index[name] = [library, type(network).__name__]
        if library == "transformers":
            tokenizer, part = _READERS[type(network).__name__], name.replace("text_encoder", "tokenizer")
            _TOKENIZERS[tokenizer](path / part)
            index[part] = ["transformers", tokenizer]
    scheduler = SCHEDULERS[kind]
    write_json(path / "scheduler" / "scheduler_config.json", scheduler)
    index["scheduler"] = ["diffusers", scheduler["_class_name"]]
    write_json(path / "model_index.json", index)
    return path
