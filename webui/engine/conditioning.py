"""A prompt's text → the context a network is conditioned on."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator

import torch
from torch import Tensor

from webui.engine.families import sd1
from webui.prompt.attention import Break, parse
from webui.prompt.chunks import LENGTH, Chunk, chunk
from webui.weights.memory import Resident
from webui.weights.tokenizers import Tokenizer

_REMEMBERED = 32  # encoded prompts


class Prompts:
    """Encodes prompts for one model and remembers the latest ones."""

    def __init__(self, model: Resident) -> None:
        self._model = model
        self._known: OrderedDict[tuple[str, int], Tensor] = OrderedDict()

    def encode(self, prompt: str, clip_skip: int) -> Tensor:
        """Return the context [77 · chunks, D] of `prompt`, on the device, in the network's dtype."""
        key = (prompt, clip_skip)
        if key in self._known:
            self._known.move_to_end(key)
            return self._known[key]
        context = encode(self._model, prompt, clip_skip).to(self._model.dtype("unet"))
        self._known[key] = context
        if len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)
        return context


@torch.inference_mode()
def encode(model: Resident, prompt: str, clip_skip: int) -> Tensor:
    """Return the context [77 · chunks, D] of `prompt`, float32: 75 tokens a chunk between start and end tokens."""
    tokenizer = model.tokenizer
    chunks = chunk(_tokens(tokenizer, prompt), tokenizer.comma)
    states = sd1.encode_tokens(model, [_framed(tokenizer, each) for each in chunks], clip_skip)
    weighted = [_emphasise(state, each.weights) for state, each in zip(states, chunks, strict=True)]
    return torch.cat(weighted)


def _tokens(tokenizer: Tokenizer, prompt: str) -> Iterator[tuple[int, float] | Break]:
    for piece in parse(prompt):
        if isinstance(piece, Break):
            yield piece
        else:
            yield from ((token, piece.weight) for token in tokenizer.encode(piece.text))


def _framed(tokenizer: Tokenizer, part: Chunk) -> list[int]:
    """Return the 77 tokens the text encoder was trained on: start, text, then end tokens as padding."""
    return [tokenizer.start, *part.tokens, *[tokenizer.end] * (LENGTH + 1 - len(part.tokens))]


def _emphasise(states: Tensor, weights: tuple[float, ...]) -> Tensor:
    """Return `states` [77,D] multiplied by their tokens' weights and brought back to their old mean (as A1111 does).

    CLIP's states have a mean of a tenth of their spread. Where it is next to nothing, as in small models, the ratio of
    means says nothing, and the states keep their new one.
    """
    if all(weight == 1 for weight in weights):
        return states
    factors = torch.ones(states.shape[0])
    factors[1 : 1 + len(weights)] = torch.tensor(weights)
    weighted = states * factors.to(states).unsqueeze(1)
    old, new = states.mean(), weighted.mean()
    return weighted * torch.where(torch.minimum(old.abs(), new.abs()) > 0.02 * states.std(), old / new, 1.0)
