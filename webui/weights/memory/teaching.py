"""Text encoders that read vectors in the place of tokens for a while (Gal et al. 2022, arXiv:2208.01618)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from webui.prompt.taught import TaughtWords


def lay_out(words: Mapping[str, Tensor]) -> tuple[TaughtWords, Tensor]:
    """Return the tokens of `words`, each of which stands for vectors [n,D], and the table [N,D] of all vectors.

    Row n is the vector of the token -1 - n.
    """
    known = TaughtWords({name: len(vectors) for name, vectors in words.items()})
    return known, torch.cat([words[name] for name in known.names])


@contextmanager
def teach(encoder: nn.Module, table: Tensor) -> Iterator[None]:
    """Let `encoder` read the vectors of `table` [N,D] where tokens are below 0, while the block runs.

    What it does with the tokens besides, such as to look for the last one, sees them as they are.
    """
    vocabulary: Any = encoder
    layer: nn.Module = vocabulary.get_input_embeddings()
    asked: list[Tensor] = []

    def hide(_: nn.Module, arguments: tuple[Tensor, ...]) -> tuple[Tensor]:
        asked.append(arguments[0])
        return (arguments[0].clamp(min=0),)

    def show(_: nn.Module, arguments: tuple[Tensor, ...], embedded: Tensor) -> Tensor:
        tokens = asked.pop()
        vectors = table.to(embedded.device, embedded.dtype)[(-1 - tokens).clamp(min=0)]
        return torch.where((tokens < 0).unsqueeze(-1), vectors, embedded)

    handles = layer.register_forward_pre_hook(hide), layer.register_forward_hook(show)
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
