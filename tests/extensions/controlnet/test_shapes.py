"""Files of real sizes: their networks are built from shapes alone, without a byte of weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from accelerate import init_empty_weights
from diffusers import ControlNetModel, ControlNetUnionModel, SD3ControlNetModel, T2IAdapter, UNet2DConditionModel
from torch import Tensor, nn

from extensions.controlnet.networks import adapters, unets
from extensions.controlnet.networks.reading import ControlFile
from extensions.controlnet.networks.transformers import load_sd3
from tests.extensions.controlnet.control_parts import original_controlnet
from webui.errors import BadFile

SD1: dict[str, Any] = {"cross_attention_dim": 768, "attention_head_dim": 8}
SD2: dict[str, Any] = {
    "cross_attention_dim": 1024,
    "attention_head_dim": (5, 10, 20, 20),
    "use_linear_projection": True,
}
SDXL: dict[str, Any] = {
    "block_out_channels": (320, 640, 1280), "cross_attention_dim": 2048, "attention_head_dim": (5, 10, 20),
    "transformer_layers_per_block": (1, 2, 10), "use_linear_projection": True, "addition_embed_type": "text_time",
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "addition_time_embed_dim": 256, "projection_class_embeddings_input_dim": 2816,
}  # fmt: skip
SMALL = {
    "down_block_types": ("DownBlock2D",) * 3,
    "mid_block_type": "UNetMidBlock2D",
    "transformer_layers_per_block": 1,
}
MID = {"transformer_layers_per_block": (1, 1, 1)}
UNETS = {"SD1": SD1, "SD2": SD2, "SDXL": SDXL}


def empty(network: type[nn.Module], **config: Any) -> nn.Module:
    with init_empty_weights():
        return network(**config)


def unet_config(family: str) -> Mapping[str, Any]:
    ups = {"up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D")} if family == "SDXL" else {}
    return dict(empty(UNet2DConditionModel, **UNETS[family], **ups).config)


def file_of(network: nn.Module, name: str = "net.safetensors") -> ControlFile:
    return ControlFile(name, {key: tensor.to("meta") for key, tensor in network.state_dict().items()})


def sizes(network: nn.Module) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in network.state_dict().items()}


@pytest.mark.parametrize("original", [False, True])
@pytest.mark.parametrize(
    "family, changes",
    [("SD1", {}), ("SD2", {}), ("SDXL", {}), ("SDXL", SMALL), ("SDXL", MID), ("SD1", {"conditioning_channels": 1})],
)
def test_controlnets_are_told_from_their_shapes(family: str, changes: dict[str, Any], original: bool) -> None:
    network = empty(ControlNetModel, **{**UNETS[family], **changes})
    file = file_of(network)
    if original:
        file = replace(file, weights=original_controlnet(file.weights, 2))
    built = unets.load_controlnet(file, unet_config(family), torch.float16)
    assert sizes(built) == sizes(network)
    heads = [module.heads for module in built.modules() if hasattr(module, "heads")]
    assert heads == [module.heads for module in network.modules() if hasattr(module, "heads")]


@pytest.mark.parametrize("types", [6, 8])
def test_unions_are_told_from_their_shapes(types: int) -> None:
    """xinsir's union knows 6 sorts of control, ProMax 8."""
    network = empty(ControlNetUnionModel, **SDXL, num_control_type=types)
    built = unets.load_controlnet(file_of(network), unet_config("SDXL"), torch.float16)
    assert type(built) is ControlNetUnionModel and sizes(built) == sizes(network)
    assert built.config["num_control_type"] == types


def test_a_network_that_only_tells_what_there_is_says_so_in_its_name() -> None:
    network = empty(ControlNetModel, **SD1)
    names = {"control_v11e_sd15_shuffle.pth": True, "control_v11p_sd15_canny.pth": False}
    for name, pooled in names.items():
        assert unets.find_config(file_of(network, name), unet_config("SD1"))["global_pool_conditions"] is pooled


ADAPTERS = [
    {"channels": (320, 640, 1280, 1280), "adapter_type": "full_adapter"},
    {"channels": (320, 640, 1280, 1280), "adapter_type": "full_adapter", "in_channels": 1},
    {"channels": (320, 640, 1280), "adapter_type": "light_adapter", "num_res_blocks": 4},
    {"channels": (320, 640, 1280, 1280), "adapter_type": "full_adapter_xl", "downscale_factor": 16},
]


@pytest.mark.parametrize("config", ADAPTERS)
def test_adapters_are_told_from_their_shapes(config: dict[str, Any]) -> None:
    network = empty(T2IAdapter, **config)
    built = adapters.load_adapter(file_of(network), torch.float16)
    assert sizes(built) == sizes(network)
    assert {name: built.config[name] for name in config} == {
        name: list(value) if name == "channels" else value for name, value in config.items()
    }


def test_sd3s_are_told_from_their_shapes() -> None:
    transformer = {
        "sample_size": 128, "patch_size": 2, "in_channels": 16, "attention_head_dim": 64, "num_attention_heads": 24,
        "caption_projection_dim": 1536, "pos_embed_max_size": 32,
    }  # fmt: skip
    network = empty(SD3ControlNetModel, **transformer, num_layers=6, joint_attention_dim=4096)
    built = load_sd3(file_of(network), transformer, torch.float16)
    assert sizes(built) == sizes(network) and len(built.transformer_blocks) == 6


@pytest.mark.parametrize(
    "made_for, used_with, reason",
    [
        ("SD1", "SD2", r"texts of the width 768, but this checkpoint has 1024"),
        ("SDXL", "SD1", r"levels of the widths \[320, 640, 1280\], but this checkpoint has \[320, 640, 1280, 1280\]"),
    ],
)
def test_networks_of_other_unets_are_refused(made_for: str, used_with: str, reason: str) -> None:
    network = empty(ControlNetModel, **UNETS[made_for])
    with pytest.raises(BadFile, match=reason):
        unets.load_controlnet(file_of(network), unet_config(used_with), torch.float16)


def test_style_adapters_are_refused() -> None:
    weights: dict[str, Tensor] = {"transformer_layes.0.attn.in_proj_weight": torch.zeros(1, device="meta")}
    with pytest.raises(BadFile, match=r"style\.safetensors: T2I-Adapters that read a style through CLIP"):
        adapters.load_adapter(ControlFile("style.safetensors", weights), torch.float16)
