"""Checks that families whose network is a transformer share."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from webui.weights.families.checks import Configs, check_levels, unusable
from webui.weights.formats.headers import bad_model

WIDTHS = ("d_model", "hidden_size")  # what T5 and language models call the numbers they give for each token


def check_latents(path: Path, words: str, configs: Configs, channels: int, *, shrinks: bool = True) -> None:
    """Refuse a transformer and a VAE whose latents do not have so many channels; with `shrinks`, also a VAE that does
    not shrink pictures 8 times."""
    transformer, vae = configs["transformer"], configs["vae"]
    if (transformer.get("in_channels", channels), vae.get("latent_channels", channels)) != (channels, channels):
        raise bad_model(path, f"not {words} checkpoint: its latents do not have {channels} channels")
    if shrinks:
        check_levels(path, words, vae)
    check_scales(path, vae)


def check_scales(path: Path, vae: Mapping[str, Any]) -> None:
    """Refuse a VAE whose latents cannot be scaled and shifted as it says."""
    scale, shift = vae.get("scaling_factor", 1.0), vae.get("shift_factor") or 0.0
    if not all(isinstance(number, int | float) for number in (scale, shift)) or scale <= 0:
        raise unusable(path, "vae")


def check_axes(path: Path, axes: Any, head: Any, count: int) -> None:
    """Refuse a transformer whose heads are not shared out to the `count` coordinates of a token."""
    usable = isinstance(axes, list | tuple) and all(
        isinstance(axis, int) and axis > 0 and axis % 2 == 0 for axis in axes
    )
    if not usable or len(axes) != count or sum(axes) != head:
        raise unusable(path, "transformer")


def check_numbers(path: Path, part: str, config: Mapping[str, Any], *names: str) -> None:
    """Refuse a configuration that has anything but a whole number above 0 under one of `names`."""
    if not all(type(config.get(name, 1)) is int and config.get(name, 1) > 0 for name in names):
        raise unusable(path, part)


def check_text(path: Path, configs: Configs, width: object, encoder: str = "text_encoder") -> None:
    """Refuse a text encoder that does not give `width` numbers for each token."""
    config = configs[encoder]
    if width is None or width not in [config[name] for name in WIDTHS if name in config]:
        raise bad_model(path, f"its transformer and its {encoder} do not fit together")
