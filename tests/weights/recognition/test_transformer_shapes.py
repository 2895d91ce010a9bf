"""Configurations from shapes are those that diffusers has for the real sizes; nothing of that size is made."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers import FluxTransformer2DModel, SD3Transformer2DModel
from torch import nn
from transformers import T5Config, T5EncoderModel

from tests import tiny_flux, tiny_sd3
from webui.weights.recognition.transformer_shapes import describe_flux, describe_sd3, describe_t5

FLUX = {"guidance_embeds": True}
SCHNELL = {"guidance_embeds": False}
FILL = {"guidance_embeds": True, "in_channels": 384, "out_channels": 64}
SD3 = {"num_layers": 24, "num_attention_heads": 24, "caption_projection_dim": 1536, "pos_embed_max_size": 192}
LARGE = {
    "num_layers": 38, "num_attention_heads": 38, "caption_projection_dim": 2432, "pos_embed_max_size": 192,
    "qk_norm": "rms_norm",
}  # fmt: skip
MEDIUM = SD3 | {"pos_embed_max_size": 384, "qk_norm": "rms_norm", "dual_attention_layers": tuple(range(13))}


def empty(network: type[nn.Module], **config: Any) -> nn.Module:
    with torch.device("meta"):
        return network(**config)


@pytest.mark.parametrize("config", [FLUX, SCHNELL, FILL], ids=["dev", "schnell", "fill"])
def test_flux(config: dict[str, Any]) -> None:
    network = empty(FluxTransformer2DModel, **config)
    shapes = {name: tuple(tensor.shape) for name, tensor in tiny_flux.transformer_weights(network).items()}
    found = describe_flux(shapes)
    assert found == {name: network.config[name] or found["out_channels"] for name in found} | {
        "guidance_embeds": config["guidance_embeds"]
    }
    assert found["axes_dims_rope"] == (16, 56, 56) and found["out_channels"] == 64


@pytest.mark.parametrize("config", [SD3, MEDIUM, LARGE], ids=["3", "3.5 medium", "3.5 large"])
def test_sd3(config: dict[str, Any]) -> None:
    network = empty(SD3Transformer2DModel, **config)
    shapes = {name: tuple(tensor.shape) for name, tensor in tiny_sd3.transformer_weights(network).items()}
    found = describe_sd3(shapes)
    assert found == {name: network.config[name] for name in found}


def test_t5() -> None:
    config = T5Config(
        vocab_size=32128, d_model=4096, d_kv=64, d_ff=10240, num_layers=24, num_heads=64, feed_forward_proj="gated-gelu"
    )
    shapes = {name: tuple(tensor.shape) for name, tensor in empty(T5EncoderModel, config=config).state_dict().items()}
    found = describe_t5(shapes)
    assert found == {name: getattr(config, name) for name in found}


@pytest.mark.parametrize("describe", [describe_flux, describe_sd3, describe_t5])
def test_other_networks_are_none(describe: Any) -> None:
    with pytest.raises((KeyError, IndexError, ValueError)):
        describe({"input_blocks.0.0.weight": (320, 4, 3, 3)})
