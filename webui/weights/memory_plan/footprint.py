"""How many bytes networks take while they compute, from their configurations alone. Torch is not needed.

Attention is PyTorch's fused one everywhere, which takes memory in proportion to the picture. So what is alive at the
worst moment is a number of elements per place (a latent, a token, a pixel) that follows from the channels. The factors
were counted on networks of real size (benchmarks/activations.py says how near they are).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

# Elements alive per channel and place at the worst moment:
_GATED_LAYER = 26  # of a UNet's level with attention: in the feed-forward layer of the last block
_PLAIN_LAYER = 13  # of a level without: in the first residual block after the skip connection joins
_TRANSFORMER = 18  # of a transformer, per token: turning queries and keys, which happens in float32
_DECODER = 3  # of a VAE's decoder, per pixel of the last block, which begins with the next level's channels
_ENCODER = 5  # of its encoder, per pixel and channel of the first block
_SKIPS = 3  # what a UNet's level leaves for the way up, per channel: its own input and each of two blocks

_USUAL_CHANNELS = (128, 256, 512, 512)  # of a VAE's levels
_USUAL_WIDTH = 3072  # of a transformer whose configuration calls it something unheard of
_TEXT_TOKENS = 512  # the most that any family's text encoder gives to a transformer
_TEXT_ELEMENTS = 20  # of a text encoder, per token and channel


def unet_elements(config: Mapping[str, Any], latents: int) -> int:
    """Return how many elements a UNet has alive at its worst moment, for one row of `latents` places."""
    channels = config.get("block_out_channels", (320, 640, 1280, 1280))
    blocks = config.get("down_block_types", ("CrossAttnDownBlock2D",) * len(channels))
    worst, kept = 0.0, 0.0
    for level, (width, block) in enumerate(zip(channels, blocks, strict=False)):
        share = width / 4**level
        worst = max(worst, kept + share * (_GATED_LAYER if "Attn" in block else _PLAIN_LAYER))
        kept += share * _SKIPS
    return round(worst * latents)


def transformer_elements(config: Mapping[str, Any], tokens: int) -> int:
    """Return the same for a transformer and one row of `tokens` of a picture."""
    return (tokens + _TEXT_TOKENS) * transformer_width(config) * _TRANSFORMER


def transformer_width(config: Mapping[str, Any]) -> int:
    """Return how many numbers stand for one token."""
    if "num_attention_heads" in config and "attention_head_dim" in config:
        return int(config["num_attention_heads"]) * int(config["attention_head_dim"])
    named = (config[name] for name in ("hidden_size", "dim", "inner_dim") if isinstance(config.get(name), int))
    return int(next(named, _USUAL_WIDTH))


def decoder_elements(config: Mapping[str, Any], pixels: int) -> int:
    """Return the same for a VAE that decodes a picture."""
    channels = vae_channels(config, "decoder")
    return _DECODER * max(channels[0], channels[min(1, len(channels) - 1)]) * pixels


def encoder_elements(config: Mapping[str, Any], pixels: int) -> int:
    """Return the same for a VAE that encodes a picture."""
    return _ENCODER * vae_channels(config, "encoder")[0] * pixels


def text_elements(config: Mapping[str, Any]) -> int:
    """Return the same for a text encoder and its longest text."""
    width = config.get("hidden_size") or config.get("d_model") or _USUAL_WIDTH
    return _TEXT_ELEMENTS * _TEXT_TOKENS * int(width)


def vae_channels(config: Mapping[str, Any], half: str) -> Sequence[int]:
    """Return the channels of a VAE's levels, from the pixels inwards."""
    if "base_dim" in config:  # Wan's and its descendants
        return [int(config["base_dim"]) * int(factor) for factor in config.get("dim_mult", (1, 2, 4, 4))]
    found = config.get("block_out_channels") or config.get(f"{half}_block_out_channels")
    return found or _USUAL_CHANNELS


def shrink(config: Mapping[str, Any]) -> int:
    """Return how many pixels a latent of a VAE stands for, each way."""
    return int(2 ** (len(vae_channels(config, "decoder")) - 1))


def tokens_of(transformer: Mapping[str, Any], vae: Mapping[str, Any], latents: int) -> int:
    """Return how many tokens a transformer sees of `latents` places.

    Some take squares of latents for one channel-rich place and say so by their input channels alone.
    """
    packed = transformer.get("in_channels", 0) / (vae.get("latent_channels") or 16)
    side = math.isqrt(int(packed)) if packed >= 4 else 1
    patch = transformer.get("patch_size", 1)
    side *= patch if isinstance(patch, int) else max(patch)
    return -(-latents // side**2)
