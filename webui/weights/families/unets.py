"""What SD1 and its relatives share: a UNet in latents of four channels, in a folder or in one file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from webui.weights.checkpoint import VARIANTS, NoiseSchedule, Part
from webui.weights.families.checks import Configs, check_levels
from webui.weights.headers import Header, bad_model
from webui.weights.shapes import Shapes, part_of_header

UNET = "model.diffusion_model."
VAE = "first_stage_model."
CLIP_MARK = "embeddings.token_embedding.weight"
OPEN_CLIP_MARK = "token_embedding.weight"


@dataclass(frozen=True)
class Place:
    """Where a single file keeps a part: its class, what its names begin with, and one of them; `words` for users."""

    network: str
    prefix: str
    mark: str
    words: str


UNET_PLACE = Place("UNet2DConditionModel", UNET, "input_blocks.0.0.weight", "UNet")
VAE_PLACE = Place("AutoencoderKL", VAE, "decoder.conv_in.weight", "VAE")


def find_shapes(path: Path, header: Header, places: Mapping[str, Place]) -> dict[str, Shapes]:
    """Return the shapes of each part; raise `BadFile` naming the parts that are missing."""
    missing = [place.words for place in places.values() if f"{place.prefix}{place.mark}" not in header]
    if missing:
        raise bad_model(path, f"it has no {' and no '.join(missing)}", "Choose a complete checkpoint.")
    return {part: part_of_header(header, place.prefix) for part, place in places.items()}


def make_parts(path: Path, places: Mapping[str, Place], configs: Configs) -> dict[str, Part]:
    """Return the parts of a single file."""
    return {
        part: Part(place.network, configs[part], (path,), "original", place.prefix) for part, place in places.items()
    }


def read_marks(header: Header) -> NoiseSchedule:
    """Return the noise levels that the tensors named `v_pred` and `ztsnr`, which say nothing else, tell of."""
    prediction = "v_prediction" if "v_pred" in header else "epsilon"
    return NoiseSchedule(prediction=prediction, zero_terminal="ztsnr" in header)


def check_unet(path: Path, words: str, configs: Configs) -> None:
    """Refuse a UNet and a VAE of other latents, and text encoders that do not fit the UNet."""
    unet, vae = configs["unet"], configs["vae"]
    if unet.get("in_channels", 4) == 8:
        raise bad_model(path, "InstructPix2Pix checkpoints (8 input channels) are not supported yet")
    channels = unet.get("in_channels", 4), unet.get("out_channels", 4), vae.get("latent_channels", 4)
    if channels[0] not in VARIANTS or channels[1:] != (4, 4):
        raise bad_model(path, f"not {words} checkpoint: its latents do not have 4 channels")
    check_levels(path, words, vae)
    _check_texts(path, unet, [config for part, config in configs.items() if part not in ("unet", "vae")])


def _check_texts(path: Path, unet: Mapping[str, Any], texts: list[Mapping[str, Any]]) -> None:
    widths = [text.get("hidden_size", 512) for text in texts]
    if unet.get("cross_attention_dim", 1280) != sum(widths):
        many = "text encoders" if len(widths) > 1 else "text encoder"
        raise bad_model(path, f"its UNet and its {many} do not fit together")
