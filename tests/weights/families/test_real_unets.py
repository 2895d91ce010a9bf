"""UNets as large as they were published: built without memory, described by their original shapes, built again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel

from tests.tiny_models import unet_key
from webui.weights.recognition.shapes import count_heads, describe_unet, describe_unet_xl

XL: Mapping[str, Any] = {
    "block_out_channels": (320, 640, 1280), "attention_head_dim": (5, 10, 20), "cross_attention_dim": 2048,
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"), "use_linear_projection": True,
    "addition_embed_type": "text_time", "addition_time_embed_dim": 256, "projection_class_embeddings_input_dim": 2816,
}  # fmt: skip
REFINER = XL | {
    "block_out_channels": (384, 768, 1536, 1536), "attention_head_dim": (6, 12, 24, 24), "cross_attention_dim": 1280,
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "transformer_layers_per_block": 4, "projection_class_embeddings_input_dim": 2560,
}  # fmt: skip
SSD_1B = XL | {
    "transformer_layers_per_block": [1, 2, 4], "reverse_transformer_layers_per_block": [[4, 4, 10], [2, 1, 1], 1],
    "mid_block_type": "UNetMidBlock2D",
}  # fmt: skip
VEGA = XL | {"transformer_layers_per_block": [1, 1, 2], "mid_block_type": "UNetMidBlock2D"}
CASES: Mapping[str, tuple[Mapping[str, Any], tuple[int, ...], int, int, int]] = {
    # its configuration, the levels that attend on the way up, what it is told: of a text, numbers; its parameters
    "SDXL's refiner": (REFINER, (1, 2), 1280, 5, 2_256_000_000),
    "SSD-1B": (SSD_1B, (0, 1), 1280, 6, 1_331_000_000),
    "Segmind Vega": (VEGA, (0, 1), 1280, 6, 746_000_000),
}


def original_shapes(network: UNet2DConditionModel, attends: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    return {unet_key(key, attends, layers=2): tuple(value.shape) for key, value in network.state_dict().items()}


def build(config: Mapping[str, Any]) -> UNet2DConditionModel:
    with torch.device("meta"):
        return UNet2DConditionModel(**config)


def shapes_of(network: UNet2DConditionModel) -> dict[str, torch.Size]:
    return {key: value.shape for key, value in network.state_dict().items()}


@pytest.mark.parametrize("name", CASES)
def test_relatives_of_sdxl(name: str) -> None:
    config, attends, pooled, numbers, parameters = CASES[name]
    network = build(config)
    described = describe_unet_xl(original_shapes(network, attends), pooled, numbers)
    assert shapes_of(build(described)) == shapes_of(network)
    assert described["attention_head_dim"] == config["attention_head_dim"]
    assert sum(value.numel() for value in network.state_dict().values()) == pytest.approx(parameters, rel=0.01)


def test_sd2() -> None:
    network = build({"cross_attention_dim": 1024, "attention_head_dim": (5, 10, 20, 20), "use_linear_projection": True})
    described = describe_unet(original_shapes(network, (1, 2, 3)))
    assert count_heads(described["block_out_channels"]) == (5, 10, 20, 20)
    assert described["use_linear_projection"] is True and described["cross_attention_dim"] == 1024
    assert shapes_of(build(described)) == shapes_of(network)
    assert sum(value.numel() for value in network.state_dict().values()) == 865_910_724, "as published"
