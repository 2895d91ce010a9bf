"""ControlNet-LLLite at work: what its parts see is added to what layers of a UNet's attention are given."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from extensions.controlnet.facts import UnitFacts
from extensions.controlnet.hints import Hints, for_images, latent_size, padded, pixels_of, region_of
from extensions.controlnet.networks.lite import add, read_picture
from extensions.controlnet.reference import Looking
from extensions.controlnet.strength import acts_now, choose_rows, find_grid, scales
from webui.extending.computing import Run

_WINDOW = 32  # pixels, each way, that one place of the deepest part takes in


@contextmanager
def steering_lite(unit: UnitFacts, network: nn.ModuleDict, hints: Hints, run: Run, looking: Looking) -> Iterator[None]:
    """Let the parts of an LLLite network, which is on the device, act on the UNet of `run` while the block runs."""
    layers = dict(run.network.named_modules())
    picture = padded(pixels_of(hints.pictures(unit, run), run) * 2 - 1, _WINDOW)
    region = region_of(unit, hints, run)
    names = sorted(network, key=_depth)
    with ExitStack() as hooks:
        for name, factor in zip(names, scales(unit.control_mode, len(names)), strict=True):
            with torch.inference_mode():
                seen = _Seen(network[name], picture)

            def change(
                layer: nn.Module, given: tuple[Tensor, ...], seen: _Seen = seen, factor: float = factor
            ) -> tuple[Tensor, ...] | None:
                if looking.memory is not None or not acts_now(unit, run.moment):
                    return None
                rows = choose_rows(run.moment.rows, unit.control_mode)
                states, *rest = given
                images = [run.moment.rows[row].image for row in rows]
                added = seen.add_to(states[rows], images, latent_size(run)) * (unit.weight * factor)
                added = added if region is None else added * region.of(added)
                return (_with_rows(states, rows, added), *rest)

            hooks.callback(layers[name.replace("/", ".")].register_forward_pre_hook(change).remove)
        yield


class _Seen:
    """A part of the network, and what it sees in the picture."""

    def __init__(self, part: Any, picture: Tensor) -> None:
        self._part = part
        self._states = read_picture(part, picture)
        self._grid = find_grid(self._states.shape[1], (picture.shape[-2], picture.shape[-1]))

    def add_to(self, given: Tensor, images: list[int], size: tuple[int, int]) -> Tensor:
        """Return what is added to what the layer is given [R,T,D] for these images, in a UNet for latents of `size`."""
        grid = find_grid(given.shape[1], size)
        seen = for_images(self._states, images)
        if grid != self._grid:  # latents of an odd number are more places than their pixels have windows
            plane = seen.transpose(1, 2).unflatten(2, self._grid)
            seen = functional.interpolate(plane, grid, mode="nearest-exact").flatten(2).transpose(1, 2)
        return add(self._part, given, seen)


def _with_rows(states: Tensor, rows: list[int], added: Tensor) -> Tensor:
    if len(rows) == len(states):
        return states + added
    changed = states.clone()
    changed[rows] += added
    return changed


def _depth(name: str) -> tuple[int, list[int | str]]:
    """Return where a layer stands in a UNet: on the way down, in the middle, on the way up."""
    side, *rest = name.split("/")
    return ("down_blocks", "mid_block", "up_blocks").index(side), [
        int(part) if part.isdigit() else part for part in rest
    ]
