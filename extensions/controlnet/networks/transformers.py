"""ControlNets beside transformers: a few blocks like the first of SD3's or Flux's, whose outputs are added to these."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from diffusers import FluxControlNetModel, SD3ControlNetModel
from torch import nn

from extensions.controlnet.families import bad_control
from extensions.controlnet.networks.reading import ControlFile, fill
from webui.extending.computing import Weights, rename_flux

_HINT = re.compile(r"input_hint_block\.(\d+)\.(weight|bias)")
_STABILITY = {
    ".attn.proj": ".attn.to_out.0", ".mlp.fc1": ".ff.net.0.proj", ".mlp.fc2": ".ff.net.2",
    ".adaLN_modulation.1": ".norm1.linear",
}  # fmt: skip
_LAST_HINT = 14  # number of the last layer that reads a picture in x-flux's files; activations stand between


def load_flux(file: ControlFile, transformer: Mapping[str, Any], dtype: torch.dtype) -> nn.Module:
    """Return the ControlNet in `file` for a Flux transformer of that configuration: InstantX's and Shakker's layout
    (diffusers), or x-flux's."""
    width = transformer["attention_head_dim"] * transformer["num_attention_heads"]
    file = _rename_x_flux(file, width) if any(name.startswith("double_blocks.") for name in file.weights) else file
    config = dict(file.config or _find_flux(file, transformer))
    _refuse_width(file, "x_embedder.weight", width)
    return fill(FluxControlNetModel, config, file, dtype)


def load_sd3(file: ControlFile, transformer: Mapping[str, Any], dtype: torch.dtype) -> nn.Module:
    """Return the ControlNet in `file` for an SD3 transformer of that configuration: InstantX's layout (diffusers), or
    Stability AI's."""
    file = _rename_stability(file) if "transformer_blocks.0.attn.qkv.weight" in file.weights else file
    config = dict(file.config or _find_sd3(file, transformer))
    width = transformer["attention_head_dim"] * transformer["num_attention_heads"]
    _refuse_width(file, "controlnet_blocks.0.weight", width)
    return fill(SD3ControlNetModel, config, file, dtype)


def _rename_stability(file: ControlFile) -> ControlFile:
    """Return Stability AI's weights (huggingface.co/stabilityai/stable-diffusion-3.5-controlnets) under diffusers'
    names, as its script convert_sd3_controlnet_to_diffusers.py has it."""
    renamed: Weights = {}
    for name, tensor in file.weights.items():
        place, _, leaf = name.rpartition(".")
        if place.endswith(".attn.qkv"):
            block = place.removesuffix(".attn.qkv")
            parts = zip(("to_q", "to_k", "to_v"), tensor.chunk(3), strict=True)
            renamed |= {f"{block}.attn.{part}.{leaf}": third for part, third in parts}
            continue
        new = next((place.removesuffix(old) + new for old, new in _STABILITY.items() if place.endswith(old)), place)
        renamed[f"{new}.{leaf}"] = tensor
    return replace(file, weights=renamed)


def _refuse_width(file: ControlFile, name: str, width: int) -> None:
    if file.size(name) != width:
        raise bad_control(
            file.name,
            f"it was made for a transformer of the width {file.size(name)}, but this checkpoint's is {width} wide",
            hint="Choose a ControlNet that was made for this checkpoint.",
        )


def _find_flux(file: ControlFile, transformer: Mapping[str, Any]) -> dict[str, Any]:
    """Return the configuration that the shapes tell, and what they do not tell as the transformer has it."""
    hint = "input_hint_block.conv_out.weight"
    modes = "controlnet_mode_embedder.weight"
    return {
        "patch_size": 2 if hint in file.weights else 1,
        "in_channels": file.size("x_embedder.weight", 1),
        "num_layers": file.count("transformer_blocks."),
        "num_single_layers": file.count("single_transformer_blocks."),
        "attention_head_dim": transformer["attention_head_dim"],
        "num_attention_heads": transformer["num_attention_heads"],
        "joint_attention_dim": file.size("context_embedder.weight", 1),
        "pooled_projection_dim": file.size("time_text_embed.text_embedder.linear_1.weight", 1),
        "guidance_embeds": any(name.startswith("time_text_embed.guidance_embedder.") for name in file.weights),
        "axes_dims_rope": transformer.get("axes_dims_rope", (16, 56, 56)),
        "num_mode": file.size(modes) if modes in file.weights else None,
        "conditioning_embedding_channels": file.size(hint) if hint in file.weights else None,
    }


def _rename_x_flux(file: ControlFile, width: int) -> ControlFile:
    """Return x-flux's weights (github.com/XLabs-AI/x-flux) under diffusers' names."""
    renamed = {}
    for name, tensor in rename_flux(file.weights, width).items():
        hint = _HINT.fullmatch(name)
        if hint is not None:
            name = f"input_hint_block.{_hint_layer(int(hint[1]))}.{hint[2]}"
        renamed[name.replace("pos_embed_input.", "controlnet_x_embedder.")] = tensor
    return replace(file, weights=renamed)


def _hint_layer(number: int) -> str:
    return {0: "conv_in", _LAST_HINT: "conv_out"}.get(number, f"blocks.{number // 2 - 1}")


def _find_sd3(file: ControlFile, transformer: Mapping[str, Any]) -> dict[str, Any]:
    layers = range(file.count("transformer_blocks."))
    own_places = "pos_embed.proj.weight" in file.weights
    texts = "context_embedder.weight" in file.weights
    channels = transformer["in_channels"]
    normed = any(".attn.norm_q." in name for name in file.weights)
    return {
        **{
            name: transformer[name]
            for name in ("sample_size", "patch_size", "attention_head_dim")
            if name in transformer
        },
        "num_attention_heads": transformer["num_attention_heads"],
        "in_channels": channels,
        "num_layers": len(layers),
        "joint_attention_dim": file.size("context_embedder.weight", 1) if texts else None,
        "caption_projection_dim": file.size("context_embedder.weight")
        if texts
        else transformer["caption_projection_dim"],
        "pooled_projection_dim": file.size("time_text_embed.text_embedder.linear_1.weight", 1),
        "out_channels": channels,
        "pos_embed_max_size": _side(file) if own_places else transformer["pos_embed_max_size"],
        "extra_conditioning_channels": file.size("pos_embed_input.proj.weight", 1) - channels,
        "dual_attention_layers": tuple(
            n for n in layers if f"transformer_blocks.{n}.attn2.to_q.weight" in file.weights
        ),
        "qk_norm": "rms_norm" if normed else None,
        "use_pos_embed": own_places,
        # InstantX's, which have places of their own, see no text as a whole.
        "force_zeros_for_pooled_projection": own_places,
    }


def _side(file: ControlFile) -> int:
    """Return how many places there are in a row of those that the file knows."""
    return math.isqrt(file.size("pos_embed.pos_embed", 1))
