"""What SD1 and its relatives share: a UNet in latents of four channels, in a folder or in one file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from webui.weights.checkpoint import VARIANTS, Part
from webui.weights.families.checks import Configs, check_levels, check_size
from webui.weights.formats.headers import Header, bad_model
from webui.weights.recognition.shapes import Shapes, part_of_header

UNET = "model.diffusion_model."
VAE = "first_stage_model."
CLIP_MARK = "embeddings.token_embedding.weight"
OPEN_CLIP_MARK = "token_embedding.weight"
OPEN_CLIP = "open_clip"
"""The layout of a text encoder in OpenCLIP's names; it pads texts with a token of its own."""


Describe = Callable[[Mapping[str, Shapes]], Configs]
"""(shapes of each part) → configurations; raises `KeyError`, `IndexError` or `ValueError` for those of no network."""


@dataclass(frozen=True)
class Place:
    """Where a single file keeps a part: its class, what its names begin with, and one of them; `words` for users."""

    network: str
    prefix: str
    mark: str
    words: str
    layout: str = "original"


UNET_PLACE = Place("UNet2DConditionModel", UNET, "input_blocks.0.0.weight", "UNet")
VAE_PLACE = Place("AutoencoderKL", VAE, "decoder.conv_in.weight", "VAE")


def read_configs(path: Path, header: Header, words: str, places: Mapping[str, Place], describe: Describe) -> Configs:
    """Return the configuration of each part of a single file; raise `BadFile` when one is missing or makes no sense."""
    shapes = _find_shapes(path, header, places)
    try:
        configs = describe(shapes)
    except (KeyError, IndexError, ValueError) as error:
        raise bad_model(path, f"not {words} checkpoint: {error}") from error
    for part, config in configs.items():
        check_size(path, part, config)
    return configs


def _find_shapes(path: Path, header: Header, places: Mapping[str, Place]) -> dict[str, Shapes]:
    """Return the shapes of each part; raise `BadFile` naming the parts that are missing."""
    missing = [place.words for place in places.values() if f"{place.prefix}{place.mark}" not in header]
    if missing:
        raise bad_model(path, f"it has no {' and no '.join(missing)}", "Choose a complete checkpoint.")
    return {part: part_of_header(header, place.prefix) for part, place in places.items()}


def make_parts(path: Path, places: Mapping[str, Place], configs: Configs) -> dict[str, Part]:
    """Return the parts of a single file."""
    return {
        part: Part(place.network, configs[part], (path,), place.layout, place.prefix) for part, place in places.items()
    }


def check_unet(path: Path, words: str, configs: Configs) -> None:
    """Refuse a UNet and a VAE of other latents, and text encoders that do not fit the UNet."""
    unet, vae = configs["unet"], configs.get("vae", {})  # a UNet may be alone in its file
    channels = unet.get("in_channels", 4), unet.get("out_channels", 4), vae.get("latent_channels", 4)
    if channels[0] not in VARIANTS or channels[1:] != (4, 4):
        raise bad_model(path, f"not {words} checkpoint: its latents do not have 4 channels")
    if vae:
        check_levels(path, words, vae)
    _check_texts(path, unet, [config for part, config in configs.items() if part not in ("unet", "vae")])


def check_told(path: Path, words: str, configs: Configs, numbers: int) -> None:
    """Refuse a UNet of SDXL's kind that is told other things than a text as a whole and so many `numbers`."""
    unet, pooled = configs["unet"], configs["text_encoder_2"].get("projection_dim", 512)
    if unet.get("addition_embed_type") != "text_time" or unet.get("encoder_hid_dim_type") is not None:
        raise bad_model(path, f"not {words} checkpoint: its UNet is not told about text and sizes")
    width = unet.get("addition_time_embed_dim")
    if not isinstance(width, int) or unet.get("projection_class_embeddings_input_dim") != pooled + numbers * width:
        raise bad_model(path, "its UNet and its second text encoder do not fit together")


def _check_texts(path: Path, unet: Mapping[str, Any], texts: list[Mapping[str, Any]]) -> None:
    widths = [text.get("hidden_size", 512) for text in texts]
    if widths and unet.get("cross_attention_dim", 1280) != sum(widths):
        many = "text encoders" if len(widths) > 1 else "text encoder"
        raise bad_model(path, f"its UNet and its {many} do not fit together")
