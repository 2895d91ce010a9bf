"""Each part of a prompt is seen by the places of its region alone: cross-attention is combined place by place."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from extensions.regional_prompts.combining import shares_of
from extensions.regional_prompts.options import Regions
from extensions.regional_prompts.prompts import CHUNK
from webui.extending.api import BadRequest
from webui.extending.computing import Run

STATES = 77  # of CLIP for one chunk of a prompt
_MOST_HALVINGS = 8


@contextmanager
def attend(run: Run) -> Iterator[None]:
    """Let the cross-attention of a UNet see, at each place, the parts of the prompt that hold there.

    The parts are the chunks of one prompt. A prompt of another number of parts (that of a second pass) holds
    everywhere.
    """
    regions = Regions.model_validate(run.facts)
    image = run.images[0]
    second = run.is_second and image.hires_prompt is not None
    prompt = image.hires_prompt or "" if second else image.prompt
    if not regions.in_attention or len(re.split(CHUNK, prompt)) != regions.branches:
        yield
        return
    size: list[int] = [0, 0]  # height and width of the latents the network is asked about

    def note_size(network: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> None:
        sample = given[0] if given else named["sample"]
        size[:] = sample.shape[-2:]

    known: dict[int, Tensor] = {}

    def shares(places: int) -> Tensor:
        """Return how much each part counts at each of so many places [K,places,1]."""
        if places not in known:
            height, width = shrunk(size[0], size[1], places)
            drawn = shares_of(regions, width, height, run).flatten(1).unsqueeze(-1)
            known[places] = run.place(drawn).to(run.dtype)
        return known[places]

    layers = [layer for layer in run.network.modules() if getattr(layer, "is_cross_attention", False)]
    hook = run.network.register_forward_pre_hook(note_size, with_kwargs=True)
    before = [layer.processor for layer in layers]
    try:
        for layer, processor in zip(layers, before, strict=True):
            layer.set_processor(SeeingInPlace(processor, run, shares, regions.branches))
        yield
    finally:
        hook.remove()
        for layer, processor in zip(layers, before, strict=True):
            layer.set_processor(processor)


def shrunk(height: int, width: int, places: int) -> tuple[int, int]:
    """Return the height and width of the level of a UNet that has so many places, for latents of this size."""
    for _ in range(_MOST_HALVINGS):
        if height * width == places:
            return height, width
        height, width = -(-height // 2), -(-width // 2)
    raise ValueError(f"no level of the network has {places} places")


class SeeingInPlace:
    """A processor of cross-attention: for each chunk of the text what `original` gives, added up by its `shares`."""

    def __init__(self, original: Callable[..., Tensor], run: Run, shares: Callable[[int], Tensor], chunks: int) -> None:
        self._original = original
        self._run = run
        self._shares = shares
        self._chunks = chunks

    def __call__(
        self,
        attention: nn.Module,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
    ) -> Tensor:
        """Return the layer's output for places [B,T,D] and a text [B,77·K,D]; negative prompts hold everywhere."""
        assert encoder_hidden_states is not None
        text = encoder_hidden_states
        positive = [row for row, each in enumerate(self._run.moment.rows) if not each.is_negative]
        if not positive:
            return self._original(attention, hidden_states, text, attention_mask, temb)
        if text.shape[1] != STATES * self._chunks:
            raise BadRequest(
                "A region's part of the prompt is longer than 75 tokens.",
                hint="Make it shorter, or combine regions as latents.",
                field="extensions.regional_prompts.method",
            )
        shares = self._shares(hidden_states.shape[1])
        seen = text[positive].unflatten(1, (self._chunks, STATES)).unbind(1)
        parts = [self._original(attention, hidden_states[positive], each, None, temb) for each in seen]
        combined = torch.stack([part * share for part, share in zip(parts, shares, strict=True)]).sum(0)
        if len(positive) == len(hidden_states):
            return combined
        negative = [row for row in range(len(hidden_states)) if row not in positive]
        result = combined.new_empty((len(hidden_states), *combined.shape[1:]))
        result[positive] = combined
        result[negative] = self._original(attention, hidden_states[negative], text[negative], None, temb)
        return result
