"""Texts through T5 and language models, the way all families that have one do it: one row of tokens, then emphasis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from webui.domain.plan import EmphasisMode
from webui.engine.families.clip import emphasise
from webui.prompt.attention import Break, Piece, parse
from webui.weights.loading.tokenizers import PieceTokenizer
from webui.weights.memory import Resident


@dataclass(frozen=True)
class Row:
    """The tokens that a text encoder reads, and how heavy each is; `own` of them, from the first, are no padding."""

    tokens: Sequence[int]
    weights: Sequence[float]
    own: int

    @property
    def mask(self) -> Tensor:
        """True [T] for what is no padding."""
        return torch.arange(len(self.tokens)) < self.own


def read_row(
    tokenizer: PieceTokenizer,
    text: str,
    emphasis: EmphasisMode,
    *,
    before: str = "",
    behind: str = "",
    framed: bool = True,
    lower: bool = False,
    most: int | None = None,
    padded: int | None = None,
) -> Row:
    """Return the tokens of `before` + `text` + `behind`, read as one: words may grow together with what is around them.

    `lower` makes small letters of the text's. With `framed` the tokenizer's leading and trailing tokens are around it.
    What is longer than `most` tokens, these included, is cut behind; what is shorter than `padded` is filled up.
    `BREAK` is nothing here.
    """
    pieces = (Piece(text, 1.0),) if emphasis == "None" else parse(text)
    parts = [(each.text.lower() if lower else each.text, each.weight) for each in pieces if not isinstance(each, Break)]
    weights = [weight for part, weight in parts for _ in part]
    spots = tokenizer.locate(before + "".join(part for part, _ in parts) + behind)
    tokens = [spot.token for spot in spots]
    heavy = [_weigh(weights, spot.start - len(before), spot.end - len(before)) for spot in spots]
    leading, trailing = (tokenizer.leading, tokenizer.trailing) if framed else ((), ())
    room = len(tokens) if most is None else max(most - len(leading) - len(trailing), 0)
    row = [*leading, *tokens[:room], *trailing]
    filling = max((padded or 0) - len(row), 0)
    around = [1.0] * (len(trailing) + filling)
    return Row([*row, *[tokenizer.padding] * filling], [*[1.0] * len(leading), *heavy[:room], *around], len(row))


def _weigh(weights: Sequence[float], start: int, end: int) -> float:
    """Return the weight of the last of a token's characters: the first may be the space before a word."""
    last = max(start, end - 1)
    return weights[last] if 0 <= last < len(weights) else 1.0


def weigh_states(states: Tensor, weights: Sequence[float], emphasis: EmphasisMode) -> Tensor:
    """Return `states` [T,D] as their tokens' T weights want them."""
    return states if emphasis == "Ignore" else emphasise(states, weights, keeps_mean=emphasis == "Original")


def read_states(model: Resident, component: str, row: Row, emphasis: EmphasisMode, layer: int | None = None) -> Tensor:
    """Return the states [T,D] of `read_plain_states`, as the weights of their tokens want them."""
    return weigh_states(read_plain_states(model, component, row, layer), row.weights, emphasis)


def read_plain_states(model: Resident, component: str, row: Row, layer: int | None = None) -> Tensor:
    """Return the states [T,D], float32, on the device, that a text encoder has for a row whose padding it does not see:
    those of `layer` (from the end, -1 the last one), or else the last ones behind its final norm."""
    with model.on_device(component) as encoder:
        seen = model.place(row.mask.unsqueeze(0))
        read = encoder(
            model.place(torch.tensor([row.tokens])), attention_mask=seen, output_hidden_states=layer is not None
        )
    return (read.last_hidden_state if layer is None else read.hidden_states[layer])[0].float()
