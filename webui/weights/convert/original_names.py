"""Weights under the names of their makers' files, from those that diffusers' and transformers' classes use.

The other direction of `webui.weights.loading.naming`, for SD1 and its relatives, and Flux.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch

from webui.errors import BadFile
from webui.weights.checkpoint import Part
from webui.weights.formats.tensors import Weights
from webui.weights.loading.naming_flux import original_flux
from webui.weights.recognition.unet_names import attending_blocks, original_name

_VAE_ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}
_OPEN_CLIP = (
    (r"^(?:text_model\.)?encoder\.layers\.(\d+)\.layer_norm(\d)\.", r"transformer.resblocks.\1.ln_\2."),
    (r"^(?:text_model\.)?encoder\.layers\.(\d+)\.mlp\.fc1\.", r"transformer.resblocks.\1.mlp.c_fc."),
    (r"^(?:text_model\.)?encoder\.layers\.(\d+)\.mlp\.fc2\.", r"transformer.resblocks.\1.mlp.c_proj."),
    (r"^(?:text_model\.)?encoder\.layers\.(\d+)\.self_attn\.out_proj\.", r"transformer.resblocks.\1.attn.out_proj."),
    (r"^(?:text_model\.)?final_layer_norm\.", "ln_final."),
    (r"^(?:text_model\.)?embeddings\.token_embedding\.weight$", "token_embedding.weight"),
    (r"^(?:text_model\.)?embeddings\.position_embedding\.weight$", "positional_embedding"),
    (r"^text_projection\.weight$", "text_projection"),
)
_PROJECTION = re.compile(r"^(?:text_model\.)?encoder\.layers\.(\d+)\.self_attn\.([qkv])_proj\.(weight|bias)$")


def to_original(weights: Weights, part: Part) -> Weights:
    """Return the weights of `part`, named as diffusers and transformers do, under the names of the original layout.

    Raises `BadFile` for networks of which no such layout is known here.
    """
    known = _WRITERS.get(part.network)
    if known is None:
        raise BadFile(f"The original layout of a {part.network} is not known here.", hint="Write a diffusers folder.")
    return known(weights, part)


def _unet(weights: Weights, part: Part) -> Weights:
    layers = int(part.config.get("layers_per_block", 2))
    attending = attending_blocks(weights)
    return {unet_name(name, layers, attending): tensor for name, tensor in weights.items()}


def unet_name(name: str, layers: int, has_attention: frozenset[int] = frozenset()) -> str:
    """Return the original name of one weight of a UNet with `layers` layers a level."""
    found = original_name(name, layers, has_attention)
    if found is None:
        raise BadFile(f"The original name of {name[:120]} is not known here.", hint="Write a diffusers folder.")
    return found


def _vae(weights: Weights, part: Part) -> Weights:
    levels = len(part.config.get("block_out_channels", (64,)))
    return dict(_vae_entry(name, tensor, levels) for name, tensor in weights.items())


def _vae_entry(name: str, tensor: torch.Tensor, levels: int) -> tuple[str, torch.Tensor]:
    if ".mid_block.attentions.0." in name:
        side, _, rest = name.partition(".mid_block.attentions.0.")
        layer, _, leaf = rest.rpartition(".")
        own = f"{side}.mid.attn_1.{_VAE_ATTENTION[layer]}.{leaf}"
        return own, tensor[:, :, None, None] if leaf == "weight" and tensor.dim() == 2 else tensor
    own = re.sub(r"\.mid_block\.resnets\.(\d+)\.", lambda match: f".mid.block_{int(match[1]) + 1}.", name)
    own = re.sub(r"^encoder\.down_blocks\.(\d+)\.", r"encoder.down.\1.", own)
    own = re.sub(r"^decoder\.up_blocks\.(\d+)\.", lambda match: f"decoder.up.{levels - 1 - int(match[1])}.", own)
    own = re.sub(r"\.resnets\.(\d+)\.", r".block.\1.", own)
    for ours, theirs in (
        (".downsamplers.0.", ".downsample."), (".upsamplers.0.", ".upsample."), (".conv_shortcut.", ".nin_shortcut."),
        (".conv_norm_out.", ".norm_out."),
    ):  # fmt: skip
        own = own.replace(ours, theirs)
    return own, tensor


def _clip(weights: Weights, part: Part) -> Weights:
    return {f"text_model.{name.removeprefix('text_model.')}": tensor for name, tensor in weights.items()}


def _open_clip(weights: Weights, part: Part) -> Weights:
    return open_clip_names(weights)


def open_clip_names(weights: Weights) -> Weights:
    """Return a CLIP text encoder's weights under OpenCLIP's names, with the three projections of a layer in one."""
    written: Weights = {}
    projections: dict[tuple[str, str], dict[str, torch.Tensor]] = {}
    for name, tensor in weights.items():
        match = _PROJECTION.match(name)
        if match is not None:
            projections.setdefault((match[1], match[3]), {})[match[2]] = tensor
            continue
        own = next((re.sub(pattern, new, name) for pattern, new in _OPEN_CLIP if re.search(pattern, name)), None)
        if own is None:
            raise BadFile(f"The original name of {name[:120]} is not known here.", hint="Write a diffusers folder.")
        written[own] = tensor.T.contiguous() if own == "text_projection" else tensor
    for (layer, leaf), thirds in projections.items():
        written[f"transformer.resblocks.{layer}.attn.in_proj_{leaf}"] = torch.cat([thirds[third] for third in "qkv"])
    return written


_WRITERS: Mapping[str, Callable[[Weights, Part], Weights]] = MappingProxyType(
    {
        "UNet2DConditionModel": _unet,
        "AutoencoderKL": _vae,
        "FluxTransformer2DModel": lambda weights, part: original_flux(weights),
        "T5EncoderModel": lambda weights, part: weights,
        "CLIPTextModel": _clip,
        "CLIPTextModelWithProjection": _open_clip,
    }
)
