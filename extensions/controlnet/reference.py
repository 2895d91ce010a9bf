"""Reference-only: the checkpoint looks at a picture while it draws another, through the attention of its own UNet.

In each call the UNet first sees the latents of the picture under as much noise; what its self-attention is given is
kept, and the image's own self-attention finds it beside its own places. Negative prompts do not, as far as style
fidelity says.
(Lvmin Zhang 2023, github.com/Mikubill/sd-webui-controlnet/discussions/1236.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from extensions.controlnet.facts import UnitFacts
from extensions.controlnet.hints import Hints, latents_of, pixels_of, region_of
from extensions.controlnet.strength import Region, acts_now
from webui.extending.computing import Run

Look = Callable[[Mapping[str, Any]], None]
"""Lets the UNet see the picture, before a call of these arguments."""
_FIDELITIES = {"prompt": 0.0, "control": 1.0}  # what the modes say instead of the option
_USUAL_FIDELITY = 0.5
_OTHER_NOISE = 2**32  # behind all seeds of images: the noise that the image begins with would make both look alike


@dataclass
class _Memory:
    """What the layers were given when the UNet saw the picture; `looks` while it does."""

    looks: bool = False
    kept: dict[nn.Module, Tensor] = field(default_factory=dict)


@contextmanager
def referring(unit: UnitFacts, hints: Hints, run: Run) -> Iterator[Look]:
    """Let the UNet of `run` refer to a unit's picture while the block runs; what is given must be called before each of
    its calls."""
    clean = latents_of(pixels_of(hints.picture(unit, run), run), run)
    draw = torch.Generator().manual_seed(run.images[0].seed + _OTHER_NOISE)
    noise = run.place(torch.randn(clean.shape, generator=draw))
    memory, region = _Memory(), region_of(unit, hints, run)

    def look(given: Mapping[str, Any]) -> None:
        memory.kept.clear()
        if not acts_now(unit, run.moment):
            return
        sigma = run.moment.sigma
        sample = given["sample"]
        noisy = run.levels.noised(clean, noise, sigma) * run.levels.scale(sigma)
        noisy = noisy.to(sample.dtype).expand(len(sample), -1, -1, -1)
        seen = torch.cat([noisy, sample[:, noisy.shape[1] :]], 1)  # checkpoints for inpainting see more
        told = {name: value for name, value in given.items() if "residual" not in name}
        memory.looks = True
        try:
            run.network.forward(**{**told, "sample": seen})  # past the hooks: nothing steers it
        finally:
            memory.looks = False

    with ExitStack() as hooks:
        for layer in choose_layers(run.network, unit.weight):
            hooks.callback(layer.register_forward_pre_hook(_remember(memory), with_kwargs=True).remove)
            hooks.callback(layer.register_forward_hook(_blend(memory, unit, region, run), with_kwargs=True).remove)
        yield look


def choose_layers(network: nn.Module, weight: float) -> list[nn.Module]:
    """Return the self-attention layers that take part: the wider ones first, so many of all as the weight says."""
    blocks = [module for module in network.modules() if hasattr(module, "attn1") and hasattr(module, "norm1")]
    ranked = sorted(blocks, key=lambda block: -int(block.norm1.weight.shape[0]))
    return [block.attn1 for index, block in enumerate(ranked) if weight > index / len(ranked)]


def _remember(memory: _Memory) -> Callable[..., Any]:
    def hook(layer: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> tuple[Any, ...] | None:
        states = given[0]
        if memory.looks:
            memory.kept[layer] = states
            return None
        if layer not in memory.kept:
            return None
        own = named.get("encoder_hidden_states")
        beside = torch.cat([states if own is None else own, memory.kept[layer]], 1)
        return given, {**named, "encoder_hidden_states": beside}

    return hook


def _blend(memory: _Memory, unit: UnitFacts, region: Region | None, run: Run) -> Callable[..., Any]:
    """Return a hook that gives back, as far as a row or a place shall not refer, what attention to itself gives."""
    fidelity = _FIDELITIES.get(unit.control_mode, unit.options.get("threshold_a", _USUAL_FIDELITY))

    def hook(layer: nn.Module, given: tuple[Any, ...], named: dict[str, Any], output: Tensor) -> Tensor | None:
        if memory.looks or layer not in memory.kept:
            return None
        shares = [1 - fidelity if row.is_negative else 1.0 for row in run.moment.rows]
        if region is None and min(shares) == 1:
            return None
        share = run.place(torch.tensor(shares)).to(output.dtype)[:, None, None]
        if region is not None:
            share = share * region.of(output)
        alone = layer.forward(given[0], **{**named, "encoder_hidden_states": None})
        return alone + (output - alone) * share

    return hook
