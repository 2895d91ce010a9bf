"""Reference: the checkpoint looks at a picture while it draws another, through the layers of its own UNet.

In each call the UNet first sees the latents of the picture under as much noise. `reference_only`: what its
self-attention is given is kept, and the image's own self-attention finds it beside its own places.
`reference_adain`: the mean and the spread of what its layers put out are kept, and the image's own get the same (Huang
& Belongie 2017, arXiv:1703.06868). `reference_adain+attn`: both. Rows of negative prompts do not refer, as far as style
fidelity says. (Lvmin Zhang 2023, github.com/Mikubill/sd-webui-controlnet/discussions/1236 and 1280; which layers take
part: diffusers' community pipeline `stable_diffusion_reference`.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from extensions.controlnet.facts import UnitFacts
from extensions.controlnet.hints import Hints, for_images, latents_of, pixels_of, region_of
from extensions.controlnet.strength import Region, acts_now
from webui.extending.computing import Run

Look = Callable[[Mapping[str, Any]], None]
"""Lets the UNet see the picture, before a call of these arguments."""
_ATTENDING = ("reference_only", "reference_adain+attn")
_ADAPTING = ("reference_adain", "reference_adain+attn")
_FIDELITIES = {"prompt": 0.0, "control": 1.0}  # what the modes say instead of the option
_USUAL_FIDELITY = 0.5
_OTHER_NOISE = 2**32  # behind all seeds of images: the noise that the image begins with would make both look alike
_LEAST_VARIANCE = 1e-6


@dataclass(eq=False)
class _Memory:
    """What layers were given, or put out (mean and deviation), when the UNet saw a unit's picture."""

    kept: dict[nn.Module, Any] = field(default_factory=dict)


@dataclass
class Looking:
    """For which unit the UNet sees a picture now, if for any: meanwhile no other unit acts on it."""

    memory: _Memory | None = None


@contextmanager
def referring(unit: UnitFacts, hints: Hints, run: Run, looking: Looking) -> Iterator[Look]:
    """Let the UNet of `run` refer to a unit's picture while the block runs; what is given must be called before each of
    its calls."""
    clean = latents_of(pixels_of(hints.pictures(unit, run), run), run)
    draw = torch.Generator().manual_seed(run.images[0].seed + _OTHER_NOISE)
    noise = run.place(torch.randn((1, *clean.shape[1:]), generator=draw))
    memory, region = _Memory(), region_of(unit, hints, run)

    def look(given: Mapping[str, Any]) -> None:
        memory.kept.clear()
        if not acts_now(unit, run.moment):
            return
        sigma, sample = run.moment.sigma, given["sample"]
        noisy = run.levels.noised(clean, noise, sigma) * run.levels.scale(sigma)
        noisy = for_images(noisy.to(sample.dtype), [row.image for row in run.moment.rows])
        seen = torch.cat([noisy, sample[:, noisy.shape[1] :]], 1)  # checkpoints for inpainting see more
        told = {name: value for name, value in given.items() if "residual" not in name}
        looking.memory = memory
        try:
            run.network.forward(**{**told, "sample": seen})  # past the hooks of the UNet itself
        finally:
            looking.memory = None

    def share(states: Tensor) -> Tensor | float:
        return _share(unit, region, states, run)

    with ExitStack() as hooks:
        if unit.preprocessor in _ATTENDING:
            for layer in choose_attention(run.network, unit.weight):
                hooks.callback(layer.register_forward_pre_hook(_remember(memory, looking), with_kwargs=True).remove)
                hooks.callback(layer.register_forward_hook(_blend(memory, looking, share), with_kwargs=True).remove)
        if unit.preprocessor in _ADAPTING:
            for layer in choose_adapted(run.network, unit.weight):
                hooks.callback(layer.register_forward_hook(_adapt(memory, looking, share)).remove)
        yield look


def _share(unit: UnitFacts, region: Region | None, states: Tensor, run: Run) -> Tensor | float:
    """Return how far each row and place of a layer's output refers, 0 … 1; 1 for all of it."""
    fidelity = _FIDELITIES.get(unit.control_mode, unit.options.get("threshold_a", _USUAL_FIDELITY))
    shares = [1 - fidelity if row.is_negative else 1.0 for row in run.moment.rows]
    if region is None and min(shares) == 1:
        return 1.0
    rows = run.place(torch.tensor(shares)).to(states.dtype).view(-1, *[1] * (states.dim() - 1))
    return rows if region is None else rows * region.of(states)


# Attention


def choose_attention(network: nn.Module, weight: float) -> list[nn.Module]:
    """Return the self-attention layers that take part: the wider ones first, so many of all as the weight says."""
    blocks = [module for module in network.modules() if hasattr(module, "attn1") and hasattr(module, "norm1")]
    ranked = sorted(blocks, key=lambda block: -int(block.norm1.weight.shape[0]))
    return [block.attn1 for index, block in enumerate(ranked) if weight > index / len(ranked)]


def _remember(memory: _Memory, looking: Looking) -> Callable[..., Any]:
    def hook(layer: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> tuple[Any, ...] | None:
        states = given[0]
        if looking.memory is memory:
            memory.kept[layer] = states
        if looking.memory is not None or layer not in memory.kept:
            return None
        own = named.get("encoder_hidden_states")
        beside = torch.cat([states if own is None else own, memory.kept[layer]], 1)
        return given, {**named, "encoder_hidden_states": beside}

    return hook


def _blend(memory: _Memory, looking: Looking, find_share: Callable[[Tensor], Tensor | float]) -> Callable[..., Any]:
    """Return a hook that gives back, as far as a row or a place shall not refer, what attention to itself gives."""

    def hook(layer: nn.Module, given: tuple[Any, ...], named: dict[str, Any], output: Tensor) -> Tensor | None:
        if looking.memory is not None or layer not in memory.kept:
            return None
        share = find_share(output)
        if isinstance(share, float):
            return None
        alone = layer.forward(given[0], **{**named, "encoder_hidden_states": None})
        return alone + (output - alone) * share

    return hook


# Mean and spread


def choose_adapted(network: nn.Module, weight: float) -> list[nn.Module]:
    """Return the layers whose outputs get the picture's mean and spread: that of the middle first, then, by the weight,
    those of the levels from the deepest to the shallowest, each level's attention or what stands for it."""
    chosen = [network.mid_block] if weight > 0 else []
    for levels, deepest in ((network.down_blocks, True), (network.up_blocks, False)):
        for index, block in enumerate(levels):
            share = index / len(levels)
            if weight > (1 - share if deepest else share):
                chosen += list(getattr(block, "attentions", None) or block.resnets)
    return chosen


def _adapt(memory: _Memory, looking: Looking, find_share: Callable[[Tensor], Tensor | float]) -> Callable[..., Any]:
    def hook(layer: nn.Module, given: tuple[Any, ...], output: Any) -> Any:
        states = output[0] if isinstance(output, tuple) else output
        variance, mean = torch.var_mean(states, (2, 3), keepdim=True, correction=0)
        deviation = variance.clamp(min=_LEAST_VARIANCE).sqrt()
        if looking.memory is memory:
            memory.kept[layer] = mean, deviation
        if looking.memory is not None or layer not in memory.kept:
            return None
        kept_mean, kept_deviation = memory.kept[layer]
        adapted = (states - mean) / deviation * kept_deviation + kept_mean
        mixed = states + (adapted - states) * find_share(states)
        return (mixed, *output[1:]) if isinstance(output, tuple) else mixed

    return hook
