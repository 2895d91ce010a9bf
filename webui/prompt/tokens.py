"""A prompt's text → weighted tokens, and how many of them a whole prompt takes up."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType

from webui.domain.plan import EmphasisMode
from webui.prompt.attention import Break, Piece, parse
from webui.prompt.chunks import LENGTH, chunk
from webui.prompt.schedule import schedule
from webui.prompt.tags import extract

Encode = Callable[[str], Sequence[int]]
"""Text → token numbers, without start, end and padding."""

MOST_TEXTS = 16  # of one prompt that are counted, the longest ones: alternation can make hundreds


def weigh_tokens(text: str, emphasis: EmphasisMode, encode: Encode) -> Iterator[tuple[int, float] | Break]:
    """Yield the tokens of one text with their weights. Without emphasis, brackets and `BREAK` are words."""
    pieces = (Piece(text, 1.0),) if emphasis == "None" else parse(text)
    for piece in pieces:
        if isinstance(piece, Break):
            yield piece
        else:
            yield from ((token, piece.weight) for token in encode(piece.text))


def count_tokens(
    prompt: str,
    steps: int,
    encode: Encode,
    comma: int | None,
    emphasis: EmphasisMode,
    backtrack: int,
    spans: Mapping[int, int] = MappingProxyType({}),
) -> int:
    """Return how many tokens the longest text of `prompt` takes up: all of each chunk but the last one.

    `spans` are the tokens that begin a word of several; see `chunk`.
    """
    branches = schedule(extract(prompt)[0], steps)
    texts = {segment.text for branch in branches for segment in branch.segments}
    counts = []
    for text in sorted(texts, key=len, reverse=True)[:MOST_TEXTS]:
        chunks = chunk(weigh_tokens(text, emphasis, encode), comma, backtrack, spans)
        counts.append(LENGTH * (len(chunks) - 1) + len(chunks[-1].tokens))
    return max(counts)


def limit(tokens: int) -> int:
    """Return how many tokens fit into the chunks that `tokens` need."""
    return LENGTH * max(1, -(-tokens // LENGTH))
