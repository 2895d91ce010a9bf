"""A network that attends to pictures beside words: decoupled cross-attention.

(Ye et al. 2023, arXiv:2308.06721, equation 5: the outcome of attention to the picture's tokens, with keys and values of
their own, is added to that of attention to the text.)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from webui.extending.api import GenerationError
from webui.extending.computing import Run

Handles = list[torch.utils.hooks.RemovableHandle]


@dataclass(frozen=True, eq=False)
class Told:
    """What one group of pictures tells one layer: `keys` and `values` [2,T,C], for negative prompts and for prompts.

    `region` [1,1,H,W] in 0 … 1 says where; None: everywhere.
    """

    keys: Tensor
    values: Tensor
    weight: float
    start: float
    end: float
    region: Tensor | None


def find_layers(network: Any) -> list[nn.Module]:
    """Return the attention of a UNet to texts, or the blocks of Flux in which picture and text meet, in the order in
    which adapters number them (diffusers'); empty for other networks."""
    if hasattr(network, "transformer_blocks"):
        return list(network.transformer_blocks) if hasattr(network, "single_transformer_blocks") else []
    names = getattr(network, "attn_processors", {})
    cross = [name.removesuffix(".processor") for name in names if name.endswith("attn2.processor")]
    return [network.get_submodule(name) for name in cross]


@contextmanager
def attend(run: Run, layers: Sequence[nn.Module], told: Sequence[Sequence[Told]]) -> Iterator[None]:
    """Let each of `layers` attend to what it is told while the block runs."""
    rows = _Rows(run)
    handles: Handles = []
    try:
        for layer, groups in zip(layers, told, strict=True):
            listen = _listen_in_block if hasattr(layer, "norm1_context") else _listen_in_attention
            handles += listen(layer, _Attending(run, rows, groups))
        yield
    finally:
        for handle in handles:
            handle.remove()


class _Rows:
    """Which rows of the batch that the network sees are those of prompts; one transfer for all steps."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._known: dict[tuple[bool, ...], Tensor] = {}

    def prompts(self, batch: int) -> Tensor:
        """Return 1 [batch] for a prompt's row, 0 for that of a negative prompt."""
        rows = self._run.moment.rows
        if not rows or batch % len(rows):
            raise GenerationError(
                "IP-Adapters do not go with an extension that changes the rows of the batch.",
                hint="Switch off either of them.",
            )
        kinds = tuple(not row.is_negative for row in rows) * (batch // len(rows))
        if kinds not in self._known:
            self._known[kinds] = self._run.place(torch.tensor(kinds, dtype=torch.long))
        return self._known[kinds]


class _Attending:
    """Attends to all that one layer is told. It hears the queries before it is asked for the outcome."""

    def __init__(self, run: Run, rows: _Rows, told: Sequence[Told]) -> None:
        self._run, self._rows, self._told = run, rows, told
        self._query: Tensor | None = None
        self._regions: dict[tuple[int, int], Tensor] = {}

    def hear(self, query: Tensor) -> None:
        """Remember the queries [B,N,C], or [B,N,heads,C/heads]."""
        self._query = query

    def outcome(self, heads: int) -> Tensor | None:
        """Return what is to be added [B,N,C], None if nothing is told at this moment."""
        query, self._query = self._query, None
        assert query is not None
        progress = self._run.moment.progress
        acting = [(number, each) for number, each in enumerate(self._told) if each.start <= progress < each.end]
        if not acting:
            return None
        prompts = self._rows.prompts(query.shape[0])
        asked = _split(query.flatten(2), heads)
        total: Tensor | None = None
        for number, each in acting:
            keys, values = (_split(part.to(query.dtype)[prompts], heads) for part in (each.keys, each.values))
            seen = functional.scaled_dot_product_attention(asked, keys, values)
            seen = seen.transpose(1, 2).flatten(2).to(query.dtype) * each.weight
            if each.region is not None:
                seen = seen * self._region(number, each.region, seen.shape[1]).to(seen.dtype)
            total = seen if total is None else total + seen
        return total

    def _region(self, number: int, region: Tensor, places: int) -> Tensor:
        """Return how far each of so many places lies in a region [1,N,1]."""
        if (number, places) not in self._regions:
            size = _size_of(places, self._run.height, self._run.width)
            shares = functional.interpolate(region, size, mode="area").flatten(2).transpose(1, 2)
            self._regions[number, places] = shares
        return self._regions[number, places]


def _split(tensor: Tensor, heads: int) -> Tensor:
    """Return [B,N,C] as [B,heads,N,C/heads]."""
    return tensor.unflatten(-1, (heads, -1)).transpose(1, 2)


def _size_of(places: int, height: int, width: int) -> tuple[int, int]:
    """Return rows and columns of the level that has so many places, of a picture of so many pixels."""
    rows, columns = -(-height // 8), -(-width // 8)
    while rows * columns > places:
        rows, columns = -(-rows // 2), -(-columns // 2)
    if rows * columns != places:
        raise GenerationError(
            f"A region mask cannot be laid over {places} places of {width}×{height} pixels.",
            hint="Take the mask away, or use a width and height that 64 divides.",
        )
    return rows, columns


def _listen_in_attention(layer: Any, attending: _Attending) -> Handles:
    """Add the outcome before the last projection of a UNet's attention."""

    def add(_: nn.Module, arguments: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
        outcome = attending.outcome(layer.heads)
        return None if outcome is None else (arguments[0] + outcome, *arguments[1:])

    return [
        layer.to_q.register_forward_hook(lambda _, arguments, query: attending.hear(query)),
        layer.to_out[0].register_forward_pre_hook(add),
    ]


def _listen_in_block(layer: Any, attending: _Attending) -> Handles:
    """Add the outcome to the picture's tokens behind a block of Flux; its queries are those before rotation."""

    def add(_: nn.Module, arguments: Any, output: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor] | None:
        outcome = attending.outcome(layer.attn.heads)
        return None if outcome is None else (output[0], output[1] + outcome)

    return [
        layer.attn.norm_q.register_forward_hook(lambda _, arguments, query: attending.hear(query)),
        layer.register_forward_hook(add),
    ]
