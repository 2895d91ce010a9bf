"""Networks without weights, from a class's name and its configuration: built on the meta device."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import diffusers
import torch
import transformers
from torch import nn

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


def build(part: Part) -> nn.Module:
    """Return the network of `part` on the meta device: no memory is taken.

    Raises whatever the libraries do for a configuration that makes no sense.
    """
    settings = {name: value for name, value in part.config.items() if not name.startswith("_")}
    with torch.device("meta"):
        if part.network in _TEXT_ENCODERS:
            return _TEXT_ENCODERS[part.network](settings)
        network: type[nn.Module] = getattr(diffusers, part.network)
        known = inspect.signature(network).parameters
        return network(**{name: value for name, value in settings.items() if name in known})


def _clip(network: type[nn.Module]) -> Callable[[Config], nn.Module]:
    return lambda config: network(transformers.CLIPTextConfig(**_chosen(config, _CLIP_SETTINGS)))


def _t5(config: Config) -> nn.Module:
    return transformers.T5EncoderModel(transformers.T5Config(**_chosen(config, _T5_SETTINGS)))


def _chosen(config: Config, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: config[name] for name in names if name in config}


_TEXT_ENCODERS: Mapping[str, Callable[[Config], nn.Module]] = MappingProxyType(
    {
        "CLIPTextModel": _clip(transformers.CLIPTextModel),
        "CLIPTextModelWithProjection": _clip(transformers.CLIPTextModelWithProjection),
        "T5EncoderModel": _t5,
    }
)


def complete(network: nn.Module) -> None:
    """Give a network the buffers that no file holds: the numbers of CLIP's positions."""
    for name, buffer in list(network.named_buffers()):
        place, _, leaf = name.rpartition(".")
        if leaf == "position_ids" and buffer.is_meta:
            positions = torch.arange(buffer.shape[-1]).unsqueeze(0)
            network.get_submodule(place).register_buffer(leaf, positions, persistent=False)
