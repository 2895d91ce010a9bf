"""ControlNets beside UNets: a copy of the way down, whose outputs are added to the UNet's own.

(Zhang et al. 2023, arXiv:2302.05543.) A union is one network for many sorts of pictures
(github.com/xinsir6/ControlNetPlus).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from diffusers import ControlNetModel, ControlNetUnionModel
from diffusers.loaders.single_file_utils import convert_controlnet_checkpoint
from torch import nn

from extensions.controlnet.families import bad_control
from extensions.controlnet.networks.reading import ControlFile, fill

_PREFIX = "control_model."  # of lllyasviel's files
_SHARED = (
    "act_fn", "norm_eps", "norm_num_groups", "flip_sin_to_cos", "freq_shift", "downsample_padding",
    "mid_block_scale_factor", "resnet_time_scale_shift", "upcast_attention", "only_cross_attention",
    "attention_head_dim", "num_attention_heads", "addition_embed_type", "addition_time_embed_dim",
    "projection_class_embeddings_input_dim", "class_embed_type", "num_class_embeds",
)  # fmt: skip
_POOLED = "shuffle"  # in the name of files whose network tells only what is in a picture, not where
_LABELS = {"label_emb.0.0": "add_embedding.linear_1", "label_emb.0.2": "add_embedding.linear_2"}


def load_controlnet(file: ControlFile, unet: Mapping[str, Any], dtype: torch.dtype) -> nn.Module:
    """Return the ControlNet (of one sort, or a union) in `file`, for a UNet of the configuration `unet`.

    Raises `BadFile` when it was made for UNets of another kind.
    """
    file = rename(file)
    config = dict(file.config or find_config(file, unet))
    refuse_other_unet(file.name, config, unet)
    network = ControlNetUnionModel if "task_embedding" in file.weights else ControlNetModel
    return fill(network, config, file, dtype)


def rename(file: ControlFile) -> ControlFile:
    """Return the same weights under diffusers' names, where they have those of the first releases."""
    if not any(name.startswith((_PREFIX, "input_blocks.")) for name in file.weights):
        return file
    plain = {name.removeprefix(_PREFIX): tensor for name, tensor in file.weights.items()}
    original = replace(file, weights=plain)
    # A level has as many layers as were asked for, and one that makes it smaller, which the last level lacks.
    levels = 1 + sum(name.endswith(".0.op.weight") for name in plain)
    layers = original.count("input_blocks.") // levels - 1
    renamed = convert_controlnet_checkpoint(plain, {"layers_per_block": layers})
    for name, tensor in plain.items():
        place, _, leaf = name.rpartition(".")
        if place in _LABELS:
            renamed[f"{_LABELS[place]}.{leaf}"] = tensor
    return replace(file, weights={name: tensor for name, tensor in renamed.items() if tensor is not None})


def find_config(file: ControlFile, unet: Mapping[str, Any]) -> dict[str, Any]:
    """Return the configuration that the shapes tell, and what they do not tell as the UNet has it."""
    levels = range(file.count("down_blocks."))
    depths = [file.count(f"down_blocks.{level}.attentions.0.transformer_blocks.") for level in levels]
    middle = file.count("mid_block.attentions.0.transformer_blocks.")
    projections = [name for name in file.weights if name.endswith("attentions.0.proj_in.weight")]
    told = {name: unet[name] for name in _SHARED if name in unet}
    if "add_embedding.linear_1.weight" not in file.weights:
        told["addition_embed_type"] = None
    config = {
        **told,
        "in_channels": file.size("conv_in.weight", 1),
        "conditioning_channels": file.size("controlnet_cond_embedding.conv_in.weight", 1),
        "conditioning_embedding_out_channels": _hint_widths(file),
        "block_out_channels": tuple(file.size(f"down_blocks.{level}.resnets.0.conv2.weight") for level in levels),
        "layers_per_block": file.count("down_blocks.0.resnets."),
        "down_block_types": tuple("CrossAttnDownBlock2D" if depth else "DownBlock2D" for depth in depths),
        "mid_block_type": "UNetMidBlock2DCrossAttn" if middle else "UNetMidBlock2D",
        # The middle takes the last one; levels without attention take none.
        "transformer_layers_per_block": tuple([*(depth or 1 for depth in depths[:-1]), depths[-1] or middle or 1]),
        "use_linear_projection": any(file.weights[name].dim() == 2 for name in projections),
        "cross_attention_dim": _cross_width(file) or unet["cross_attention_dim"],
        "global_pool_conditions": _POOLED in file.name.lower(),
    }
    return config | (_find_union(file) if "task_embedding" in file.weights else {})


def refuse_other_unet(name: str, config: Mapping[str, Any], unet: Mapping[str, Any]) -> None:
    """Raise `BadFile` where a ControlNet of that configuration cannot stand beside the UNet."""
    for what, key in (("levels of the widths", "block_out_channels"), ("texts of the width", "cross_attention_dim")):
        own, wanted = _plain(config.get(key)), _plain(unet.get(key))
        if own != wanted:
            raise bad_control(
                name,
                f"it was made for {what} {own}, but this checkpoint has {wanted}",
                hint="Choose a ControlNet of the checkpoint's family.",
            )


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, (list, tuple)) else value


def _hint_widths(file: ControlFile) -> tuple[int, ...]:
    """Return how wide the layers that read the picture are, each half of them making it smaller."""
    place = "controlnet_cond_embedding"
    halving = range(1, file.count(f"{place}.blocks."), 2)
    rest = [file.size(f"{place}.blocks.{number}.weight") for number in halving]
    return (file.size(f"{place}.conv_in.weight"), *rest)


def _cross_width(file: ControlFile) -> int | None:
    names = (name for name in file.weights if name.endswith("attn2.to_k.weight"))
    first = next(names, None)
    return None if first is None else file.size(first, 1)


def _find_union(file: ControlFile) -> dict[str, int]:
    return {
        "num_control_type": file.size("task_embedding"),
        "num_trans_channel": file.size("task_embedding", 1),
        "num_trans_layer": file.count("transformer_layes."),
        "num_proj_channel": file.size("spatial_ch_projs.weight"),
    }
