"""Which networks, by their configurations, this program can use, and whether they fit together."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from webui.domain.models import Family
from webui.weights.checkpoint import VARIANTS
from webui.weights.headers import bad_model

_LARGEST = 100_000  # any number in a configuration; the vocabulary is the largest one
_DEEPEST = 100  # layers of a text encoder, blocks of a level, levels
_DEPTHS = (
    "layers_per_block", "num_hidden_layers", "transformer_layers_per_block", "num_layers", "num_single_layers",
)  # fmt: skip
_NAMES: Mapping[Family, str] = {Family.SD1: "an SD1", Family.SDXL: "an SDXL", Family.FLUX: "a Flux"}

Configs = Mapping[str, Mapping[str, Any]]


def check_supported(path: Path, family: Family, configs: Configs) -> None:
    """Raise `BadFile` with one sentence when `configs` are not those of a usable model of `family`."""
    for part, config in configs.items():
        _check_size(path, part, config)
    if family is Family.FLUX:
        _check_flux(path, configs)
        return
    unet, vae = configs["unet"], configs["vae"]
    if family is Family.SD1 and unet.get("cross_attention_dim") == 1024:
        raise bad_model(path, "SD2 checkpoints are not supported yet")
    if unet.get("in_channels", 4) == 8:
        raise bad_model(path, "InstructPix2Pix checkpoints (8 input channels) are not supported yet")
    channels = unet.get("in_channels", 4), unet.get("out_channels", 4), vae.get("latent_channels", 4)
    if channels[0] not in VARIANTS or channels[1:] != (4, 4):
        raise bad_model(path, f"not {_NAMES[family]} checkpoint: its latents do not have 4 channels")
    _check_levels(path, _NAMES[family], vae)
    if family is Family.SDXL:
        _check_conditions(path, configs)
    texts = [config.get("hidden_size", 512) for part, config in configs.items() if part not in ("unet", "vae")]
    if unet.get("cross_attention_dim", 1280) != sum(texts):
        many = "text encoders" if len(texts) > 1 else "text encoder"
        raise bad_model(path, f"its UNet and its {many} do not fit together")


def _check_levels(path: Path, name: str, vae: Mapping[str, Any]) -> None:
    levels = vae.get("block_out_channels", (64,))
    if not isinstance(levels, list | tuple) or len(levels) != 4:
        raise bad_model(path, f"not {name} checkpoint: its VAE does not shrink images 8 times")


def _check_flux(path: Path, configs: Configs) -> None:
    transformer, vae = configs["transformer"], configs["vae"]
    channels = transformer.get("in_channels", 64)
    if channels in (128, 384):
        raise bad_model(path, "Flux Fill, Canny and Depth checkpoints are not supported yet")
    outputs = transformer.get("out_channels") or channels
    if (channels, outputs, transformer.get("patch_size", 1), vae.get("latent_channels", 4)) != (64, 64, 1, 16):
        raise bad_model(path, "not a Flux checkpoint: its latents do not have 16 channels")
    _check_levels(path, _NAMES[Family.FLUX], vae)
    scales = vae.get("scaling_factor", 0.18215), vae.get("shift_factor") or 0.0
    if not all(isinstance(number, int | float) for number in scales) or scales[0] <= 0:
        raise bad_model(path, "the configuration of its vae is not that of a usable network")
    axes, head = transformer.get("axes_dims_rope", (16, 56, 56)), transformer.get("attention_head_dim", 128)
    even = isinstance(axes, list | tuple) and all(isinstance(axis, int) and axis > 0 and axis % 2 == 0 for axis in axes)
    if not even or len(axes) != 3 or sum(axes) != head:
        raise bad_model(path, "the configuration of its transformer is not that of a usable network")
    if transformer.get("pooled_projection_dim", 768) != configs["text_encoder"].get("hidden_size", 512):
        raise bad_model(path, "its transformer and its first text encoder do not fit together")
    if transformer.get("joint_attention_dim", 4096) != configs["text_encoder_2"].get("d_model", 512):
        raise bad_model(path, "its transformer and its second text encoder do not fit together")


def _check_conditions(path: Path, configs: Configs) -> None:
    """Refuse networks that are told something else than a pooled text and six numbers about sizes."""
    unet, pooled = configs["unet"], configs["text_encoder_2"].get("projection_dim", 512)
    if unet.get("addition_embed_type") != "text_time" or unet.get("encoder_hid_dim_type") is not None:
        raise bad_model(path, "not an SDXL checkpoint: its UNet is not told about text and sizes")
    width = unet.get("addition_time_embed_dim")
    if not isinstance(width, int) or unet.get("projection_class_embeddings_input_dim") != pooled + 6 * width:
        raise bad_model(path, "its UNet and its second text encoder do not fit together")


def _check_size(path: Path, part: str, config: Mapping[str, Any]) -> None:
    """Refuse a configuration that would keep the machine busy building an absurd network."""
    numbers = [value for name in config for value in _each(config[name]) if isinstance(value, int | float)]
    depths = [depth for name in _DEPTHS for depth in _each(config.get(name, 1))]
    levels = config.get("block_out_channels", ())
    if (
        any(abs(number) > _LARGEST for number in numbers)
        or not all(isinstance(depth, int) and 0 < depth <= _DEEPEST for depth in depths)
        or not isinstance(levels, list | tuple)
        or len(levels) > _DEEPEST
        or not all(isinstance(width, int) and 0 < width <= _LARGEST for width in levels)
    ):
        raise bad_model(path, f"the configuration of its {part} is not that of a usable network")


def _each(value: Any) -> list[Any]:
    """Return the items of a list, or `value` as the only one."""
    return list(value) if isinstance(value, list | tuple) else [value]
