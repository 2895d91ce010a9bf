"""Texts through CLIP's text encoders, the way all families that have one do it: chunks of 75 tokens, then emphasis."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from webui.domain.plan import EmphasisMode
from webui.engine.condition import Encoding
from webui.prompt.attention import Break
from webui.prompt.chunks import LENGTH, Chunk, chunk
from webui.prompt.tokens import weigh_tokens
from webui.weights.loading.tokenizers import Tokenizer

Rows = Sequence[Sequence[int]]

EncodeRows = Callable[[Rows], Tensor]
"""(n rows of 77 tokens) → states [n,77,D], float32, on the device."""


def encode_text(tokenizer: Tokenizer, text: str, encoding: Encoding, encode_rows: EncodeRows) -> Tensor:
    """Return the states [77 · chunks, D] of `text`, float32: 75 tokens a chunk between start and end tokens.

    The vectors of a taught word stay together in one chunk.
    """
    tokens = weigh_tokens(text, encoding.emphasis, tokenizer.encode)
    chunks = chunk(tokens, tokenizer.comma, encoding.comma_backtrack, tokenizer.spans)
    states = encode_rows([_framed(tokenizer, each) for each in chunks])
    if encoding.emphasis == "Ignore":
        return torch.cat(list(states))
    keeps_mean = encoding.emphasis == "Original"
    weights = [[1.0, *each.weights, *[1.0] * (LENGTH + 1 - len(each.weights))] for each in chunks]
    return torch.cat([emphasise(state, each, keeps_mean) for state, each in zip(states, weights, strict=True)])


def _framed(tokenizer: Tokenizer, part: Chunk) -> list[int]:
    """Return the 77 tokens the text encoder was trained on: start, text, end, then padding."""
    return [tokenizer.start, *part.tokens, tokenizer.end, *[tokenizer.padding] * (LENGTH - len(part.tokens))]


def read_beginning(tokenizer: Tokenizer, text: str, emphasis: EmphasisMode) -> tuple[list[int], list[float]]:
    """Return the 77 tokens of the beginning of a text, and their weights: what is behind 75 tokens is not seen."""
    pairs = weigh_tokens(text, emphasis, tokenizer.encode)
    seen = [pair for pair in pairs if not isinstance(pair, Break)][:LENGTH]
    missing = LENGTH - len(seen)
    row = [tokenizer.start, *(token for token, _ in seen), tokenizer.end, *[tokenizer.padding] * missing]
    return row, [1.0, *(weight for _, weight in seen), *[1.0] * (missing + 1)]


def emphasise(states: Tensor, weights: Sequence[float], keeps_mean: bool) -> Tensor:
    """Return `states` [T,D] multiplied by their tokens' T weights; with `keeps_mean` brought back to their old mean.

    Where the mean is next to nothing the ratio of means says nothing either, and the states keep their new one.
    """
    if all(weight == 1 for weight in weights):
        return states
    weighted = states * torch.tensor(weights).to(states).unsqueeze(1)
    if not keeps_mean:
        return weighted
    old, new = states.mean(), weighted.mean()
    return weighted * torch.where(new.abs() > 1e-3 * weighted.std(), old / new, 1.0)
