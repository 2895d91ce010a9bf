"""From the plan's pictures to what a network's layers are told of them, once for each run."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from extensions.ip_adapter.attending import Told, attend, find_layers
from extensions.ip_adapter.facts import Group, IpAdapterFacts
from extensions.ip_adapter.files import Adapter, load_adapter
from extensions.ip_adapter.shapes import FIELD, weights_of
from extensions.ip_adapter.towers import load_tower, look, to_pixels
from webui.extending.api import GenerationError
from webui.extending.computing import Run, fetch

_REMEMBERED = 32  # views of pictures

View = tuple[str, int, str, bool]
"""Encoder, when it was last changed, picture (empty: none at all), and whether each part of it is seen."""

Words = list[tuple[Tensor, Tensor]]
"""Keys and values [2,T,C] for each layer, for no picture and for pictures."""


class Seeing:
    """Remembers what image encoders saw, and for one job what adapters made of it: its batches and passes look once."""

    def __init__(self) -> None:
        self._views: OrderedDict[View, Tensor] = OrderedDict()
        self._facts: IpAdapterFacts | None = None
        self._words: dict[tuple[Any, ...], Words] = {}

    @contextmanager
    def enter(self, run: Run) -> Iterator[None]:
        """Let the network of `run` attend to the plan's pictures while the block runs."""
        if run.family is not run.plan.model.family:
            run.note(f"The IP-Adapter rests while a model of another family ({run.family.value}) goes on.")
            yield
            return
        facts = IpAdapterFacts.model_validate(dict(run.facts))
        if facts != self._facts:
            self._facts = facts
            self._words.clear()
        layers = find_layers(run.network)
        told: list[list[Told]] = [[] for _ in layers]
        for group in facts.groups:
            if not group.acts_in(run.is_second):
                continue
            region = _read_region(run, group.region)
            for place, (keys, values) in enumerate(self._say(run, group, layers, facts.negative)):
                told[place].append(
                    Told(run.place(keys), run.place(values), group.weight, group.start, group.end, region)
                )
        with attend(run, layers, told) if any(told) else nullcontext():
            yield

    def _say(self, run: Run, group: Group, layers: Sequence[nn.Module], negative: str | None) -> Words:
        """Return what a group's adapter tells each layer, on the CPU."""
        key = group, run.model.checkpoint.path, run.dtype
        if key not in self._words:
            adapter = load_adapter(group.path)
            _check(adapter, group, layers)
            pictures = [self._see(run, group, reference, adapter.reads_states) for reference in group.pictures]
            nothing = self._see_nothing(run, group, negative, adapter.reads_states)
            self._words[key] = _tell(run, adapter, pictures, nothing, group.is_mean)
        return self._words[key]

    def _see(self, run: Run, group: Group, reference: str, states: bool) -> Tensor:
        """Return an encoder's view of a picture [1,P] or [1,T,D], on the CPU."""
        view = str(group.encoder), weights_of(group.encoder).stat().st_mtime_ns, reference, states
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


def _tell(run: Run, adapter: Adapter, pictures: Sequence[Tensor], nothing: Tensor, is_mean: bool) -> Words:
    """Return what an adapter makes of views of pictures and of none, on the CPU."""
    views = torch.cat(list(pictures))
    views = views.mean(0, keepdim=True) if is_mean else views
    with run.lodge("IP-Adapter", adapter.network.to(dtype=run.dtype)):
        seen = adapter.projection(run.place(views.to(run.dtype))).flatten(0, 1)
        unseen = adapter.projection(run.place(nothing.to(run.dtype)))[0].repeat(len(views), 1)
        tokens = torch.stack([unseen, seen])
        layers = zip(adapter.keys, adapter.values, strict=True)
        return [(fetch(key(tokens)), fetch(value(tokens))) for key, value in layers]


def _read_region(run: Run, reference: str | None) -> Tensor | None:
    """Return where a mask is white [1,1,H,W], on the device."""
    if reference is None:
        return None
    mask = run.inputs[reference].convert("L").resize((run.width, run.height))
    shares = torch.from_numpy(np.asarray(mask, dtype=np.float32) / 255)
    return run.place(shares[None, None])
