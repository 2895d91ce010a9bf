"""Networks without weights, from a class's name and its configuration: built without taking memory."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import diffusers
import transformers
from accelerate import init_empty_weights
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.initialization import no_init_weights

from webui.weights.checkpoint import Part

Config = Mapping[str, Any]

_CLIP_SETTINGS = (
    "vocab_size", "hidden_size", "intermediate_size", "projection_dim", "num_hidden_layers", "num_attention_heads",
    "max_position_embeddings", "hidden_act", "layer_norm_eps", "bos_token_id", "eos_token_id", "pad_token_id",
)  # fmt: skip
_T5_SETTINGS = (
    "vocab_size", "d_model", "d_kv", "d_ff", "num_layers", "num_heads", "relative_attention_num_buckets",
    "relative_attention_max_distance", "layer_norm_epsilon", "feed_forward_proj",
)  # fmt: skip


_NEW_NAMES = {"Transformer2DModel": "PixArtTransformer2DModel"}  # what folders of 2023 call it: as in diffusers


def build(part: Part) -> nn.Module:
    """Return the network of `part` with its weights on the meta device: no memory is taken.

    What a network computes for itself (positions, frequencies) is there. Raises whatever the libraries do for a
    configuration that makes no sense.
    """
    settings = {name: value for name, value in part.config.items() if not name.startswith("_")}
    with init_empty_weights(include_buffers=False), no_init_weights():
        if part.network in _TEXT_ENCODERS:
            return _TEXT_ENCODERS[part.network](settings)
        network: type[nn.Module] = getattr(diffusers, _NEW_NAMES.get(part.network, part.network))
        known = inspect.signature(network).parameters
        return network(**{name: value for name, value in settings.items() if name in known})


def _clip(network: type[nn.Module]) -> Callable[[Config], nn.Module]:
    return lambda config: network(transformers.CLIPTextConfig(**_chosen(config, _CLIP_SETTINGS)))


def _t5(network: type[PreTrainedModel]) -> Callable[[Config], nn.Module]:
    return lambda config: network(network.config_class(**_chosen(config, _T5_SETTINGS)))


def _language(network: type[PreTrainedModel]) -> Callable[[Config], nn.Module]:
    """Build what reads in a language model: without the head that writes, and without eyes."""
    return lambda config: network(network.config_class(**_own_settings(read_language(config), network.config_class)))


def _chat_glm(config: Config) -> nn.Module:
    """Build Kolors' text encoder, which diffusers brings along."""
    with warnings.catch_warnings():  # its module compiles something in a way that torch deprecates
        warnings.simplefilter("ignore", DeprecationWarning)
        from diffusers.pipelines.kolors.text_encoder import ChatGLMConfig, ChatGLMModel

    known = inspect.signature(ChatGLMConfig).parameters.keys() | {"original_rope"}
    settings = {"original_rope": True, **_chosen(config, tuple(known))}
    return ChatGLMModel(ChatGLMConfig(**settings), empty_init=False)


def _bert(config: Config) -> nn.Module:
    """Build what reads a text's tokens; the view of it as a whole is not asked for."""
    settings = _own_settings(config, transformers.BertConfig)
    return transformers.BertModel(transformers.BertConfig(**settings), add_pooling_layer=False)


def read_language(config: Config) -> Config:
    """Return the configuration of the part that reads: models that see, too, keep it in `text_config`."""
    nested = config.get("text_config")
    return nested if isinstance(nested, dict) else config


def _own_settings(config: Config, of: type[PreTrainedConfig]) -> dict[str, Any]:
    """Return what a class of configurations adds to what all have, which tells how a network is run; `rope_theta` and
    `rope_scaling` are the old names of its `rope_parameters`."""
    added = inspect.signature(of).parameters.keys() - inspect.signature(PreTrainedConfig).parameters.keys()
    return _chosen(config, (*sorted(added), "rope_theta", "rope_scaling"))


def _chosen(config: Config, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: config[name] for name in names if name in config}


_TEXT_ENCODERS: Mapping[str, Callable[[Config], nn.Module]] = MappingProxyType(
    {
        "CLIPTextModel": _clip(transformers.CLIPTextModel),
        "CLIPTextModelWithProjection": _clip(transformers.CLIPTextModelWithProjection),
        "T5EncoderModel": _t5(transformers.T5EncoderModel),
        "BertModel": _bert,
        "ChatGLMModel": _chat_glm,
        "UMT5EncoderModel": _t5(transformers.UMT5EncoderModel),
        "Gemma2Model": _language(transformers.Gemma2Model),
        "Gemma2ForCausalLM": _language(transformers.Gemma2Model),
        "Qwen3Model": _language(transformers.Qwen3Model),
        "Qwen3ForCausalLM": _language(transformers.Qwen3Model),
        "Qwen2_5_VLForConditionalGeneration": _language(transformers.Qwen2_5_VLTextModel),
        "Mistral3ForConditionalGeneration": _language(transformers.MistralModel),
    }
)
