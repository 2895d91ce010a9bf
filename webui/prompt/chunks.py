"""Long prompts in chunks that a text encoder can take."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from webui.prompt.attention import Break

LENGTH = 75  # tokens of a chunk: CLIP's 77 less the start and end tokens
BACKTRACK = 20  # how far back a comma may lie for the tail behind it to move on (A1111's preset)


@dataclass(frozen=True)
class Chunk:
    """At most 75 tokens with one weight each. Start, end and padding are left to whoever knows the tokenizer."""

    tokens: tuple[int, ...]
    weights: tuple[float, ...]


@dataclass
class _Filling:
    """The chunk that is being filled. `comma` is the place of its last comma, or -1."""

    tokens: list[int] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)
    comma: int = -1

    def finished(self) -> Chunk:
        return Chunk(tuple(self.tokens), tuple(self.weights))

    def take_tail(self) -> _Filling:
        """Remove what stands behind the comma and return it as the start of the next chunk."""
        start = self.comma + 1
        tail = _Filling(self.tokens[start:], self.weights[start:])
        del self.tokens[start:], self.weights[start:]
        return tail


def chunk(
    tokens: Iterable[tuple[int, float] | Break],
    comma: int | None,
    backtrack: int = BACKTRACK,
    spans: Mapping[int, int] = MappingProxyType({}),
) -> tuple[Chunk, ...]:
    """Return `tokens` (id, weight) in chunks; at least one, which is empty for an empty prompt.

    A `Break` ends the chunk, even an empty one. When a chunk overflows and one of its last `backtrack` tokens is a
    `comma`, the tail behind the comma moves to the next chunk, so that no phrase is cut (A1111's rule; None: no such
    token). Those of `spans` begin a word of so many tokens, which moves to the next chunk as a whole.
    """
    chunks: list[Chunk] = []
    filling = _Filling()
    for item in tokens:
        if isinstance(item, Break):
            chunks.append(filling.finished())
            filling = _Filling()
            continue
        token, weight = item
        if len(filling.tokens) == LENGTH:
            is_near = filling.comma >= 0 and LENGTH - filling.comma <= backtrack
            following = filling.take_tail() if is_near and token != comma else _Filling()
            chunks.append(filling.finished())
            filling = following
        elif token == comma:
            filling.comma = len(filling.tokens)
        if len(filling.tokens) + spans.get(token, 1) > LENGTH:
            chunks.append(filling.finished())
            filling = _Filling()
        filling.tokens.append(token)
        filling.weights.append(weight)
    if filling.tokens or not chunks:
        chunks.append(filling.finished())
    return tuple(chunks)
