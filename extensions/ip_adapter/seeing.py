"""From the plan's pictures to what a network's layers are told of them, once for each run."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from extensions.ip_adapter.attending import Told, attend, find_layers
from extensions.ip_adapter.facts import Group, IpAdapterFacts
from extensions.ip_adapter.files import Adapter, load_adapter
from extensions.ip_adapter.shapes import FIELD
from extensions.ip_adapter.towers import load_tower, look, to_pixels
from webui.extending.api import GenerationError
from webui.extending.computing import Run, fetch

_REMEMBERED = 32  # views of pictures

View = tuple[str, str, bool]
"""Encoder, picture (empty: none at all), and whether each part of it is seen."""


class Seeing:
    """Remembers what image encoders saw, so that batches and passes of a job look at a picture once."""

    def __init__(self) -> None:
        self._views: OrderedDict[View, Tensor] = OrderedDict()

    @contextmanager
    def enter(self, run: Run) -> Iterator[None]:
        """Let the network of `run` attend to the plan's pictures while the block runs."""
        facts = IpAdapterFacts.model_validate(dict(run.facts))
        layers = find_layers(run.network)
        told: list[list[Told]] = [[] for _ in layers]
        for group in facts.groups:
            adapter = load_adapter(group.path)
            _check(adapter, group, layers)
            pictures = [self._see(run, group, reference, adapter.reads_states) for reference in group.pictures]
            nothing = self._see_nothing(run, group, facts.negative, adapter.reads_states)
            region = _read_region(run, group.region)
            for place, (keys, values) in enumerate(_tell(run, adapter, pictures, nothing, group.is_mean)):
                told[place].append(Told(keys, values, group.weight, group.start, group.end, region))
        with attend(run, layers, told):
            yield

    def _see(self, run: Run, group: Group, reference: str, states: bool) -> Tensor:
        """Return an encoder's view of a picture [1,P] or [1,T,D], on the CPU."""
        view = str(group.encoder), reference, states
        if view not in self._views:
            self._views[view] = _look(run, group.encoder, run.inputs[reference] if reference else None, states)
            if len(self._views) > _REMEMBERED:
                self._views.popitem(last=False)
        self._views.move_to_end(view)
        return self._views[view]

    def _see_nothing(self, run: Run, group: Group, negative: str | None, states: bool) -> Tensor:
        """Return what stands for no picture, in place of a negative one: zeros, or an encoder's view of grey."""
        if negative is None and not states:
            return torch.zeros_like(self._see(run, group, group.pictures[0], states))
        return self._see(run, group, negative or "", states)


def _look(run: Run, encoder: Path, picture: Any, states: bool) -> Tensor:
    tower = load_tower(encoder).to(dtype=run.dtype)
    side = int(tower.config.image_size)
    pixels = torch.zeros(1, 3, side, side) if picture is None else to_pixels(picture, side)
    with run.lodge("image encoder", tower):
        return fetch(look(tower, run.place(pixels.to(run.dtype)), states).float())


def _check(adapter: Adapter, group: Group, layers: Sequence[nn.Module]) -> None:
    """Raise `GenerationError` for an adapter that has other layers than the network."""
    widths = [_inner_width(layer) for layer in layers]
    if widths != [layer.out_features for layer in adapter.keys]:
        raise GenerationError(
            f"The IP-Adapter {group.name} has other layers than this model.",
            hint="It was made for another kind of checkpoint.",
            field=FIELD,
        )


def _inner_width(layer: Any) -> int:
    return int((layer.attn if hasattr(layer, "attn") else layer).to_q.out_features)


def _tell(
    run: Run, adapter: Adapter, pictures: Sequence[Tensor], nothing: Tensor, is_mean: bool
) -> list[tuple[Tensor, Tensor]]:
    """Return keys and values [2,T,C] for each layer, for no picture and for pictures, on the device."""
    views = torch.cat(list(pictures))
    views = views.mean(0, keepdim=True) if is_mean else views
    with run.lodge("IP-Adapter", adapter.network.to(dtype=run.dtype)):
        seen = adapter.projection(run.place(views.to(run.dtype))).flatten(0, 1)
        unseen = adapter.projection(run.place(nothing.to(run.dtype)))[0].repeat(len(views), 1)
        tokens = torch.stack([unseen, seen])
        return [(key(tokens), value(tokens)) for key, value in zip(adapter.keys, adapter.values, strict=True)]


def _read_region(run: Run, reference: str | None) -> Tensor | None:
    """Return where a mask is white [1,1,H,W], on the device."""
    if reference is None:
        return None
    mask = run.inputs[reference].convert("L").resize((run.width, run.height))
    shares = torch.from_numpy(np.asarray(mask, dtype=np.float32) / 255)
    return run.place(shares[None, None])
