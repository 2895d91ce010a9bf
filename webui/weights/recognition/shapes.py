"""Configurations of networks (diffusers, transformers) from the shapes of their weights in the original layout.

Those that describe a network raise `KeyError`, `IndexError` or `ValueError` when there is no such network.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from webui.weights.formats.headers import Header

Shapes = Mapping[str, tuple[int, ...]]
_MOST = 1000  # layers of a kind: counting on would keep the machine busy


def part_of_header(header: Header, prefix: str) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the tensors whose names begin with `prefix`, by the rest of the name."""
    return {name[len(prefix) :]: facts.shape for name, facts in header.items() if name.startswith(prefix)}


def norm_groups(channels: int) -> int:
    """Return the group count of a network whose first level has `channels`.

    Shapes do not tell it. Real SD1 files have 32 groups on 320 (UNet) and 128 (VAE) channels; narrow models follow the
    same rule of at least four channels a group.
    """
    return min(32, channels // 4)


def describe_unet(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    channels: list[int] = []
    attention: list[bool] = []
    layers: list[int] = []
    first, in_channels = shapes["input_blocks.0.0.weight"][:2]
    new_level = True
    for index in range(1, count(shapes, r"input_blocks\.(\d+)\.")):
        if f"input_blocks.{index}.0.op.weight" in shapes:
            new_level = True
            continue
        if new_level:
            channels.append(shapes[f"input_blocks.{index}.0.out_layers.3.weight"][0])
            attention.append(f"input_blocks.{index}.1.proj_in.weight" in shapes)
            layers.append(0)
            new_level = False
        layers[-1] += 1
    if len(set(layers)) != 1:
        raise ValueError("the levels of its UNet differ in depth")
    projection = _first(shapes, r".*\.1\.proj_in\.weight")
    return {
        "in_channels": in_channels,
        "out_channels": shapes["out.2.weight"][0],
        "block_out_channels": tuple(channels),
        "layers_per_block": layers[0],
        "down_block_types": tuple("CrossAttnDownBlock2D" if has else "DownBlock2D" for has in attention),
        "up_block_types": tuple("CrossAttnUpBlock2D" if has else "UpBlock2D" for has in reversed(attention)),
        "cross_attention_dim": _first(shapes, r".*\.1\.transformer_blocks\.0\.attn2\.to_k\.weight")[1],
        "attention_head_dim": 8,  # diffusers' historical name for the number of heads
        "norm_num_groups": norm_groups(first),
        "use_linear_projection": len(projection) == 2,
    }


def describe_unet_xl(shapes: Mapping[str, tuple[int, ...]], pooled: int, numbers: int) -> dict[str, Any]:
    """Return diffusers' configuration of a UNet of SDXL's kind that is told `pooled` numbers about a text as a whole
    and so many `numbers` besides."""
    config = describe_unet(shapes)
    told = shapes["label_emb.0.0.weight"][1]
    if (told - pooled) % numbers or told <= pooled:
        raise ValueError(f"its UNet is told {told} numbers, which are not {pooled} of a text and {numbers} others")
    return config | {
        "attention_head_dim": count_heads(config["block_out_channels"]),
        **_describe_depths(shapes, config["layers_per_block"], len(config["block_out_channels"])),
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": (told - pooled) // numbers,
        "projection_class_embeddings_input_dim": told,
    }


def count_heads(channels: Iterable[int]) -> tuple[int, ...]:
    """Return how many heads of 64 numbers the attention of each level has: diffusers' `attention_head_dim`."""
    return tuple(max(1, width // 64) for width in channels)


def _describe_depths(shapes: Shapes, layers: int, levels: int) -> dict[str, Any]:
    """Return how many transformer blocks each attention has on the way down and up, and what the middle is.

    A level without attention counts 1, the last one then as many as the middle. Networks that were made smaller
    (SSD-1B, Segmind Vega, KOALA) differ from layer to layer, and in the middle.
    """
    middle = _depth(shapes, "middle_block")
    down = [[_depth(shapes, f"input_blocks.{1 + level * (layers + 1) + layer}") for layer in range(layers)]
            for level in range(levels)]  # fmt: skip
    if middle and any(down[-1]) and set(down[-1]) != {middle}:
        raise ValueError("the middle of its UNet is not as deep as its last level")
    there = [_alike(depths) or 1 for depths in down]
    if middle and not any(down[-1]):
        there[-1] = middle
    config: dict[str, Any] = {"transformer_layers_per_block": tuple(there)}
    up = [[_depth(shapes, f"output_blocks.{level * (layers + 1) + layer}") for layer in range(layers + 1)]
          for level in range(levels)]  # fmt: skip
    mirrored = there[::-1]
    back = [_alike(depths) or usual for depths, usual in zip(up, mirrored, strict=True)]
    if back != mirrored:
        config["reverse_transformer_layers_per_block"] = tuple(back)
    if not middle:
        config["mid_block_type"] = "UNetMidBlock2D" if "middle_block.0.in_layers.0.weight" in shapes else None
    return config


def _depth(shapes: Shapes, block: str) -> int:
    return count(shapes, rf"{re.escape(block)}\.1\.transformer_blocks\.(\d+)\.")


def _alike(depths: list[int]) -> int | list[int]:
    """Return the one number that all layers of a level have, or the numbers of all."""
    return depths[0] if len(set(depths)) == 1 else depths


def _first(shapes: Shapes, pattern: str) -> tuple[int, ...]:
    """Return the shape of the first tensor whose whole name is like `pattern`."""
    for name, shape in shapes.items():
        if re.fullmatch(pattern, name):
            return shape
    raise ValueError("its UNet has no attention")


def describe_vae(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    """Return diffusers' configuration of a VAE from its shapes in the original layout.

    Raises `KeyError`, `IndexError` or `ValueError` when there is no such VAE.
    """
    levels = count(shapes, r"encoder\.down\.(\d+)\.")
    channels = tuple(shapes[f"encoder.down.{level}.block.0.conv1.weight"][0] for level in range(levels))
    return {
        "in_channels": 3,
        "out_channels": 3,
        "latent_channels": shapes["decoder.conv_in.weight"][1],
        "block_out_channels": channels,
        "layers_per_block": count(shapes, r"encoder\.down\.0\.block\.(\d+)\."),
        "down_block_types": ("DownEncoderBlock2D",) * levels,
        "up_block_types": ("UpDecoderBlock2D",) * levels,
        "norm_num_groups": norm_groups(channels[0]),
        "scaling_factor": 0.18215,
        "use_quant_conv": "quant_conv.weight" in shapes,
        "use_post_quant_conv": "post_quant_conv.weight" in shapes,
    }


def describe_text(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    return _describe_clip(
        words=shapes["embeddings.token_embedding.weight"],
        feed=shapes["encoder.layers.0.mlp.fc1.weight"],
        layers=count(shapes, r"encoder\.layers\.(\d+)\."),
        places=shapes["embeddings.position_embedding.weight"],
        activation="quick_gelu",
    )


def describe_open_clip(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    """Return transformers' configuration of a text encoder in OpenCLIP's layout, with its projection."""
    return describe_open_clip_states(shapes) | {"projection_dim": shapes["text_projection"][1]}


def describe_open_clip_states(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    """Return the same for one whose view of a text as a whole is not asked for: the file may lack the projection."""
    return _describe_clip(
        words=shapes["token_embedding.weight"],
        feed=shapes["transformer.resblocks.0.mlp.c_fc.weight"],
        layers=count(shapes, r"transformer\.resblocks\.(\d+)\."),
        places=shapes["positional_embedding"],
        activation="gelu",
    )


def _describe_clip(
    words: tuple[int, ...], feed: tuple[int, ...], layers: int, places: tuple[int, ...], activation: str
) -> dict[str, Any]:
    """Return transformers' configuration of a CLIP text encoder, from the shapes of what it knows of words and places
    and of its first layer's feed-forward."""
    vocabulary, width = words
    return {
        "vocab_size": vocabulary,
        "hidden_size": width,
        "intermediate_size": feed[0],
        "num_hidden_layers": layers,
        "num_attention_heads": max(1, width // 64),
        "max_position_embeddings": places[0],
        "projection_dim": width,
        "hidden_act": activation,
        "layer_norm_eps": 1e-5,
    }


def count(shapes: Iterable[str], pattern: str) -> int:
    """Return one more than the largest number that `pattern` captures at the start of a name."""
    number = 1 + max((int(match[1]) for name in shapes if (match := re.match(pattern, name))), default=-1)
    if number > _MOST:
        raise ValueError(f"it counts its layers up to {number}")
    return number
