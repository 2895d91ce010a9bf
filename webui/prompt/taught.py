"""Words that stand for vectors of their own (textual inversion): where they are in a text, and tokens for them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence

_LETTER = r"[^\W\d_]"
_SIGN = r"(?:[^\w\s()\[\]:|,\\]|_)"
"""Punctuation that grows together with its like; what the grammar of prompts uses always stands for itself."""


class TaughtWords:
    """Words, each of which stands for so many vectors.

    The vectors are numbered through all words, from 0; vector n is the token -1 - n, which no vocabulary has. `spans`
    are the numbers of vectors by the token of a word's first one.
    """

    def __init__(self, lengths: Mapping[str, int]) -> None:
        self.names = tuple(sorted(lengths, key=len, reverse=True))  # the longest one there is counts (A1111)
        self.spans: dict[int, int] = {}
        self._tokens: dict[str, list[int]] = {}
        begin = 0
        for name in self.names:
            end = begin + lengths[name]
            self._tokens[name] = [-1 - number for number in range(begin, end)]
            self.spans[-1 - begin] = lengths[name]
            begin = end
        self._pattern = _look_for(self.names)

    def encode(self, text: str, encode: Callable[[str], Sequence[int]]) -> list[int]:
        """Return the tokens of `text`: those of the words in it, and what `encode` makes of the rest."""
        if self._pattern is None:
            return list(encode(text))
        tokens: list[int] = []
        rest = 0
        for match in self._pattern.finditer(text):
            tokens += encode(text[rest : match.start()])
            tokens += self._tokens[self.names[(match.lastindex or 1) - 1]]
            rest = match.end()
        return [*tokens, *encode(text[rest:])]


def find_words(text: str, names: Iterable[str]) -> tuple[str, ...]:
    """Return those of `names` that `text` contains as words, in the order in which they are first there.

    Case does not matter. As for CLIP's tokenizer, a word ends where letters, digits and punctuation meet. Where two
    could stand, the longer one does.
    """
    flat = " ".join(text.lower().split())  # of hundreds of names few are there at all, and this is quick to tell
    there = (name for name in names if " ".join(name.lower().split()) in flat)
    known = tuple(sorted(there, key=len, reverse=True))
    pattern = _look_for(known)
    if pattern is None:
        return ()
    return tuple(dict.fromkeys(known[(match.lastindex or 1) - 1] for match in pattern.finditer(text)))


def _look_for(names: Sequence[str]) -> re.Pattern[str] | None:
    """Return what finds any of `names`, the first that fits; group n holds name n - 1."""
    if not names:
        return None
    return re.compile("|".join(f"({_edge(name[0], '<!')}{_plain(name)}{_edge(name[-1], '!')})" for name in names), re.I)


def _plain(name: str) -> str:
    return r"\s+".join(map(re.escape, name.split()))


def _edge(character: str, look: str) -> str:
    """Return what keeps a word that begins or ends with `character` from being a part of another one."""
    if re.match(_LETTER, character):
        return f"(?{look}{_LETTER})"
    return f"(?{look}{_SIGN})" if re.match(_SIGN, character) else ""
