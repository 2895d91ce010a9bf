"""Weights under the names that diffusers' and transformers' classes use, from those that files use."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from diffusers.loaders.single_file_utils import (
    convert_ldm_unet_checkpoint,
    convert_ldm_vae_checkpoint,
    convert_open_clip_checkpoint,
    convert_sd3_transformer_checkpoint_to_diffusers,
)
from torch import nn

from webui.weights.checkpoint import Part
from webui.weights.formats.tensors import Weights
from webui.weights.loading.naming_flux import rename_flux
from webui.weights.recognition.text_files import t5_name

_T5_WORDS = ("shared.weight", "encoder.embed_tokens.weight")  # the same, under two names
_LANGUAGE_MODELS = (
    "Gemma2Model", "Gemma2ForCausalLM", "Qwen3Model", "Qwen3ForCausalLM", "Qwen2_5_VLForConditionalGeneration",
    "Mistral3ForConditionalGeneration",
)  # fmt: skip
_LANGUAGE_PREFIXES = "model.language_model.", "language_model.model.", "model."  # of what reads in them
_VAE_PARTS = ("encoder.", "decoder.", "quant_conv.", "post_quant_conv.")
_UNET = "model.diffusion_model."
_OLD_VAE_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}

Rename = Callable[[Weights, Part, nn.Module], Weights]


def rename(weights: Weights, part: Part, network: nn.Module) -> Weights:
    """Return the weights of `part` under the names that `network` uses.

    Raises `KeyError` or `IndexError` when some are missing that others are made of.
    """
    known = _RENAMES.get((part.layout, part.network))
    return known(weights, part, network) if known is not None else weights


def modern_attention(name: str) -> str:
    """Return the present name of a VAE attention weight: folders from 2022 call them query, key, value, proj_attn."""
    *path, layer, kind = name.split(".")
    return ".".join([*path, _OLD_VAE_ATTENTION.get(layer, layer), kind])


def _original_unet(weights: Weights, part: Part, network: nn.Module) -> Weights:
    plain = _without_prefix(weights, part, network)  # a UNet's own file has none, but diffusers expects it
    return convert_ldm_unet_checkpoint({f"{_UNET}{name}": plain[name] for name in plain}, dict(part.config))


def _original_vae(weights: Weights, part: Part, network: nn.Module) -> Weights:
    return convert_ldm_vae_checkpoint(weights, dict(part.config))


def _open_clip(weights: Weights, part: Part, network: nn.Module) -> Weights:
    converted = convert_open_clip_checkpoint(network, weights, prefix=part.prefix)
    if part.network == "CLIPTextModel":
        converted = _flat_clip(converted, part, network)
        converted.pop("text_projection.weight", None)
    # SD2's files have a last layer that its texts never pass.
    behind = f"encoder.layers.{part.config['num_hidden_layers']}."
    return {name: tensor for name, tensor in converted.items() if not name.startswith(behind)}


def _without_prefix(weights: Weights, part: Part, network: nn.Module) -> Weights:
    return {name.removeprefix(part.prefix): tensor for name, tensor in weights.items()}


def _flat_clip(weights: Weights, part: Part, network: nn.Module) -> Weights:
    plain = _without_prefix(weights, part, network)
    return {name.removeprefix("text_model."): tensor for name, tensor in plain.items()}


def _unprojected_clip(weights: Weights, part: Part, network: nn.Module) -> Weights:
    """Let the projection change nothing."""
    plain = _without_prefix(weights, part, network)
    words = plain["text_model.embeddings.token_embedding.weight"]
    return plain | {"text_projection.weight": torch.eye(words.shape[1], dtype=words.dtype)}


def _flux(weights: Weights, part: Part, network: nn.Module) -> Weights:
    config = part.config
    width = config["attention_head_dim"] * config["num_attention_heads"]
    return rename_flux(_without_prefix(weights, part, network), width)


def _sd3(weights: Weights, part: Part, network: nn.Module) -> Weights:
    return convert_sd3_transformer_checkpoint_to_diffusers(_without_prefix(weights, part, network))


def _t5_of_gguf(weights: Weights, part: Part, network: nn.Module) -> Weights:
    return _t5({t5_name(name): tensor for name, tensor in weights.items()}, part, network)


def _t5(weights: Weights, part: Part, network: nn.Module) -> Weights:
    weights = _without_prefix(weights, part, network)
    words = next((weights[name] for name in _T5_WORDS if name in weights), None)
    return weights if words is None else weights | dict.fromkeys(_T5_WORDS, words)


def _bert(weights: Weights, part: Part, network: nn.Module) -> Weights:
    """Leave out the view of a text as a whole, and the numbers of places, which old files hold."""
    plain = {name.removeprefix("bert."): tensor for name, tensor in weights.items()}
    return {name: tensor for name, tensor in plain.items() if not name.startswith(("pooler.", "cls."))}


def _language(weights: Weights, part: Part, network: nn.Module) -> Weights:
    """Leave out what does not read: the head that writes, and eyes. Some old files hold frequencies, too."""
    before = next((start for start in _LANGUAGE_PREFIXES if any(name.startswith(start) for name in weights)), "")
    return {
        name.removeprefix(before): tensor
        for name, tensor in weights.items()
        if name.startswith(before) and not name.startswith("lm_head.") and not name.endswith("rotary_emb.inv_freq")
    }


def _vae(weights: Weights, part: Part, network: nn.Module) -> Weights:
    """Leave out what a VAE was trained with."""
    plain = _without_prefix(weights, part, network)
    return {modern_attention(name): tensor for name, tensor in plain.items() if name.startswith(_VAE_PARTS)}


_RENAMES: Mapping[tuple[str, str], Rename] = MappingProxyType(  # by layout and class
    {
        ("original", "UNet2DConditionModel"): _original_unet,
        ("original", "AutoencoderKL"): _original_vae,
        ("original", "CLIPTextModel"): _without_prefix,
        ("open_clip", "CLIPTextModel"): _open_clip,
        ("open_clip", "CLIPTextModelWithProjection"): _open_clip,
        ("diffusers", "UNet2DConditionModel"): _without_prefix,
        ("diffusers", "CLIPTextModel"): _flat_clip,
        ("original", "FluxTransformer2DModel"): _flux,
        ("original", "SD3Transformer2DModel"): _sd3,
        ("diffusers", "CLIPTextModelWithProjection"): _without_prefix,
        ("unprojected", "CLIPTextModelWithProjection"): _unprojected_clip,
        ("diffusers", "T5EncoderModel"): _t5,
        ("gguf", "T5EncoderModel"): _t5_of_gguf,
        ("diffusers", "UMT5EncoderModel"): _t5,
        ("diffusers", "BertModel"): _bert,
        ("diffusers", "AutoencoderKL"): _vae,
        **{("diffusers", language): _language for language in _LANGUAGE_MODELS},
    }
)
