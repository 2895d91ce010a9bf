"""Configurations of transformers and T5 (diffusers, transformers) from the shapes of their weights.

Those that describe a network raise `KeyError`, `IndexError` or `ValueError` when there is no such network.
"""

from __future__ import annotations

from math import isqrt
from typing import Any

from webui.weights.recognition.shapes import Shapes, count


def describe_flux(shapes: Shapes) -> dict[str, Any]:
    """Return diffusers' configuration of a Flux transformer in the layout of its makers."""
    width, channels = shapes["img_in.weight"]
    head = shapes["double_blocks.0.img_attn.norm.query_norm.scale"][0]
    return {
        "patch_size": 1,
        "in_channels": channels,
        "out_channels": shapes["final_layer.linear.weight"][0],
        "num_layers": count(shapes, r"double_blocks\.(\d+)\."),
        "num_single_layers": count(shapes, r"single_blocks\.(\d+)\."),
        "attention_head_dim": head,
        "num_attention_heads": width // head,
        "joint_attention_dim": shapes["txt_in.weight"][1],
        "pooled_projection_dim": shapes["vector_in.in_layer.weight"][1],
        "guidance_embeds": "guidance_in.in_layer.weight" in shapes,
        "axes_dims_rope": _axes(head),
    }


def _axes(head: int) -> tuple[int, int, int]:
    """Return how the numbers of a head are shared out to the three coordinates of a token.

    Shapes do not tell it. Flux gives 16 of 128 to the first; narrow ones follow the rule of an eighth, or as little
    more as leaves the others even.
    """
    first = next(number for number in range(2, head, 2) if number * 8 >= head and (head - number) % 4 == 0)
    return first, (head - first) // 2, (head - first) // 2


def describe_sd3(shapes: Shapes) -> dict[str, Any]:
    """Return diffusers' configuration of an SD3 transformer in the layout of its makers.

    Its number of heads is its depth, and its width 64 for each: the paper's rule (Esser et al. 2024, arXiv:2403.03206).
    """
    width, channels, patch, _ = shapes["x_embedder.proj.weight"]
    depth = count(shapes, r"joint_blocks\.(\d+)\.")
    dual = [number for number in range(depth) if f"joint_blocks.{number}.x_block.attn2.qkv.weight" in shapes]
    normed = "joint_blocks.0.x_block.attn.ln_q.weight" in shapes
    head = shapes["joint_blocks.0.x_block.attn.ln_q.weight"][0] if normed else width // depth
    return {
        "patch_size": patch,
        "in_channels": channels,
        "out_channels": shapes["final_layer.linear.weight"][0] // patch**2,
        "num_layers": depth,
        "attention_head_dim": head,
        "num_attention_heads": width // head,
        "joint_attention_dim": shapes["context_embedder.weight"][1],
        "caption_projection_dim": shapes["context_embedder.weight"][0],
        "pooled_projection_dim": shapes["y_embedder.mlp.0.weight"][1],
        "pos_embed_max_size": isqrt(shapes["pos_embed"][1]),
        "sample_size": 128,
        "dual_attention_layers": tuple(dual),
        "qk_norm": "rms_norm" if normed else None,
    }


def describe_t5(shapes: Shapes) -> dict[str, Any]:
    """Return transformers' configuration of T5's encoder, from the shapes of its own layout."""
    words = shapes.get("shared.weight") or shapes["encoder.embed_tokens.weight"]
    buckets, heads = shapes["encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight"]
    feed = "encoder.block.0.layer.1.DenseReluDense"
    gated = f"{feed}.wi_0.weight" in shapes
    return {
        "vocab_size": words[0],
        "d_model": words[1],
        "d_kv": shapes["encoder.block.0.layer.0.SelfAttention.q.weight"][0] // heads,
        "d_ff": shapes[f"{feed}.{'wi_0' if gated else 'wi'}.weight"][0],
        "num_layers": count(shapes, r"encoder\.block\.(\d+)\."),
        "num_heads": heads,
        "relative_attention_num_buckets": buckets,
        "feed_forward_proj": "gated-gelu" if gated else "relu",
    }
