"""A1111's emphasis: `(more)`, `[less]`, `(exactly:1.3)`, and `BREAK`, as a flat sequence of weighted pieces."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

MORE = 1.1  # what a pair of parentheses multiplies by
LESS = 1 / 1.1  # what a pair of square brackets multiplies by
LARGEST = 1000.0  # weights are held within ±this, so that thousands of brackets cannot make infinities


@dataclass(frozen=True)
class Piece:
    """Text whose tokens all have the same weight (1: as it is)."""

    text: str
    weight: float


@dataclass(frozen=True)
class Break:
    """Ends the current chunk of tokens: what follows starts a new one."""


_MARK = re.compile(
    r"""
      \\(?P<escaped>[()\[\]\\])
    | (?P<lone>\\)                                     # a backslash before anything else vanishes
    | (?P<open>[(\[])
    | :\s*(?P<number>[+-]?(?:\d{1,30}\.?\d{0,30}|\.\d{1,30}))\s*\)   # the end of an explicit weight
    | (?P<close>[)\]])
    | (?P<text>[^\\()\[\]:]+|:)
    """,
    re.VERBOSE,
)
_BREAK = re.compile(r"\bBREAK\b")


def parse(prompt: str) -> tuple[Piece | Break, ...]:
    """Return the pieces of `prompt` in order; for any text, in time linear in its length.

    Brackets nest multiplicatively; one that is never closed reaches to the end, one that was never opened is text.
    Square brackets and parentheses may overlap. Neighbours of equal weight are one piece, because text split in two
    makes other tokens than text in one.
    """
    marks = tuple(_MARK.finditer(prompt))
    return tuple(_joined(_weighted(marks, _factors(marks))))


def _factors(marks: tuple[re.Match[str], ...]) -> dict[int, float | None]:
    """Return what the brackets do, by the number of their mark: an opening one has its factor, a closing one None.

    An opening bracket that nothing closes has its factor all the same; a closing one that nothing opened is missing.
    """
    factors: dict[int, float | None] = {}
    opened: dict[str, list[int]] = {"(": [], "[": []}
    for number, mark in enumerate(marks):
        if bracket := mark["open"]:
            opened[bracket].append(number)
            factors[number] = MORE if bracket == "(" else LESS
            continue
        partner = "[" if mark["close"] == "]" else "("
        if not (mark["close"] or mark["number"]) or not opened[partner]:
            continue
        start = opened[partner].pop()
        factors[number] = None
        if mark["number"]:
            factors[start] = float(mark["number"])
    return factors


def _weighted(marks: tuple[re.Match[str], ...], factors: dict[int, float | None]) -> Iterator[Piece | Break]:
    """Yield the text between the brackets with the product of the factors around it."""
    around: dict[str, list[float]] = {"(": [1.0], "[": [1.0]}
    for number, mark in enumerate(marks):
        factor = factors.get(number)
        if factor is not None:
            products = around[mark[0]]
            products.append(_limited(products[-1] * factor))
        elif number in factors:
            around["[" if mark[0] == "]" else "("].pop()
        else:
            weight = _limited(around["("][-1] * around["["][-1])
            text = "" if mark["lone"] else mark["escaped"] or mark[0]
            yield from _split_breaks(text, weight) if mark["text"] else (Piece(text, weight),)


def _limited(weight: float) -> float:
    return max(-LARGEST, min(LARGEST, weight))


def _split_breaks(text: str, weight: float) -> Iterator[Piece | Break]:
    parts = _BREAK.split(text)
    for number, part in enumerate(parts):
        if number > 0:
            yield Break()
            part = part.lstrip()
        yield Piece(part if number == len(parts) - 1 else part.rstrip(), weight)


def _joined(pieces: Iterable[Piece | Break]) -> Iterator[Piece | Break]:
    """Yield `pieces` with neighbours of equal weight joined and empty ones left out."""
    texts: list[str] = []
    weight = 1.0
    for piece in pieces:
        if texts and (isinstance(piece, Break) or piece.weight != weight):
            if joined := "".join(texts):
                yield Piece(joined, weight)
            texts = []
        if isinstance(piece, Break):
            yield piece
        else:
            texts.append(piece.text)
            weight = piece.weight
    if joined := "".join(texts):
        yield Piece(joined, weight)
