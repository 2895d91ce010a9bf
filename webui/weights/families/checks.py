"""Checks that several families make of their networks' configurations."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from webui.weights.formats.headers import bad_model

_LARGEST = 1_000_000  # any number in a configuration; the vocabulary is the largest one
_DEEPEST = 100  # layers of a text encoder, blocks of a level, levels
_DEPTHS = (
    "layers_per_block", "num_hidden_layers", "transformer_layers_per_block", "reverse_transformer_layers_per_block",
    "num_layers", "num_single_layers", "n_layers", "n_refiner_layers",
)  # fmt: skip

Configs = Mapping[str, Mapping[str, Any]]


def check_size(path: Path, part: str, config: Mapping[str, Any]) -> None:
    """Refuse a configuration that would keep the machine busy building an absurd network."""
    numbers = [value for name in config for value in _each(config[name]) if isinstance(value, int | float)]
    depths = [depth for name in _DEPTHS if config.get(name) is not None for depth in _each(config[name])]
    levels = config.get("block_out_channels", ())
    if (
        any(abs(number) > _LARGEST for number in numbers)
        or not all(isinstance(depth, int) and 0 < depth <= _DEEPEST for depth in depths)
        or not isinstance(levels, list | tuple)
        or len(levels) > _DEEPEST
        or not all(isinstance(width, int) and 0 < width <= _LARGEST for width in levels)
    ):
        raise unusable(path, part)


def check_levels(path: Path, words: str, vae: Mapping[str, Any]) -> None:
    """Refuse a VAE that does not shrink pictures 8 times; `words` are what the family is called."""
    levels = vae.get("block_out_channels", (64,))
    if not isinstance(levels, list | tuple) or len(levels) != 4:
        raise bad_model(path, f"not {words} checkpoint: its VAE does not shrink images 8 times")


def unusable(path: Path, part: str) -> Exception:
    """Return the refusal of a configuration that makes no sense."""
    return bad_model(path, f"the configuration of its {part} is not that of a usable network")


def _each(value: Any) -> list[Any]:
    """Return the items of a list and of the lists in it, or `value` as the only one."""
    items = value if isinstance(value, list | tuple) else [value]
    return [inner for item in items for inner in (item if isinstance(item, list | tuple) else [item])]
