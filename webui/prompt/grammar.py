"""A prompt's text → its tree: branches joined by `AND`, and in each of them emphasis, edits and alternations.

    prompt      = branch ("AND" branch)*                  a branch may end in ":" weight
    branch      = (group | text | bracket or colon that belongs to no group)*
    group       = "(" part [":" part] ")"                 emphasis
                | "[" part "]"                            emphasis, downwards
                | "[" [part ":"] part ":" number "]"      edit
                | "[" part ("|" part)+ "]"                alternation
    part        = (group | text)*
    text        = anything but brackets, colons and bars; a backslash takes the next character along

Where the text does not fit, A1111's users have learned what it means, and it means that here: brackets and colons
outside a group are text, and a bar outside an alternation, or a backslash before nothing, makes the whole branch text.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from webui.prompt.attention import LARGEST


@dataclass(frozen=True)
class Text:
    """Text as it was typed, escapes and all."""

    text: str


@dataclass(frozen=True)
class Emphasis:
    """`(content)`, `(content:weight)` or `[content]`. What stands after the colon may be edited too."""

    bracket: Literal["(", "["]
    content: Nodes
    weight: Nodes | None = None


@dataclass(frozen=True)
class Moment:
    """When an edit happens: after so many steps, or after that fraction of all steps."""

    number: float
    is_fraction: bool

    def step(self, steps: int, behind: int = 0) -> int:
        """Return the last of `steps` steps before the edit, 0 when there is none.

        A pass with steps `behind` it goes on counting: whole numbers from there, fractions from 1 to 2 (A1111).
        """
        exact = (self.number - bool(behind)) * steps if self.is_fraction else self.number - behind
        return steps if exact >= steps else max(0, math.trunc(exact))


@dataclass(frozen=True)
class Edit:
    """`[before:after:when]`; `[after:when]` adds and `[before::when]` removes."""

    before: Nodes
    after: Nodes
    when: Moment


@dataclass(frozen=True)
class Alternation:
    """`[a|b|c]`: another option in each step, in turn."""

    options: tuple[Nodes, ...]


Node = Text | Emphasis | Edit | Alternation
Nodes = tuple[Node, ...]


@dataclass(frozen=True)
class Branch:
    """One of the prompts that `AND` joins, and how strongly it pulls."""

    nodes: Nodes
    weight: float = 1.0


_AND = re.compile(r"\bAND\b")
_WEIGHT = re.compile(r"\s*([-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+))")
_NUMBER = re.compile(r"\s*([+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)\s*")
_MARK = re.compile(r"\\.|[\\()\[\]:|]|[^\\()\[\]:|]+")
_PARTNERS = {")": "(", "]": "["}


def parse(prompt: str) -> tuple[Branch, ...]:
    """Return the branches of `prompt`, at least one; for any text, in time linear in its length."""
    return tuple(_parse_branch(part) for part in _AND.split(prompt))


def count_branches(prompt: str) -> int:
    """Return how many prompts `AND` joins."""
    return len(_AND.findall(prompt)) + 1


def parse_single(prompt: str) -> Nodes:
    """Return the tree of a prompt in which `AND` is a word like any other: a negative prompt."""
    try:
        return _Builder().build(prompt)
    except _IsText:
        return (Text(prompt),)


def _parse_branch(text: str) -> Branch:
    """Split off the weight behind the last colon; trailing spaces go with it."""
    text = text.rstrip()
    content, colon, ending = text.rpartition(":")
    weight = _WEIGHT.fullmatch(ending) if colon else None
    if weight is None:
        return Branch(parse_single(text))
    return Branch(parse_single(content.rstrip()), max(-LARGEST, min(LARGEST, float(weight[1]))))


class _IsText(Exception):
    """The branch does not fit the grammar at all."""


@dataclass
class _Open:
    """A bracket that waits for its partner. `parts` are what stands between its separators."""

    bracket: str
    parts: list[list[Node]] = field(default_factory=lambda: [[]])
    separators: list[str] = field(default_factory=list)

    def close(self) -> Node | None:
        """Return the finished group, or None when its parts make none."""
        parts = [_joined(part) for part in self.parts]
        colons = self.separators.count(":")
        if colons == len(self.separators):
            return self._close_with_colons(parts)
        if colons == 0 and self.bracket == "[":
            return Alternation(tuple(parts))
        raise _IsText

    def _close_with_colons(self, parts: list[Nodes]) -> Node | None:
        if self.bracket == "(":
            return Emphasis("(", *parts) if len(parts) <= 2 else None
        if len(parts) == 1:
            return Emphasis("[", parts[0])
        moment = _read_moment(parts[-1])
        if moment is None or len(parts) > 3:
            return None
        return Edit(parts[0] if len(parts) == 3 else (), parts[-2], moment)

    def spill(self) -> Iterable[Node]:
        """Yield the bracket and everything in it as what stands outside any group."""
        if "|" in self.separators:
            raise _IsText
        yield Text(self.bracket)
        for separator, part in zip(["", *self.separators], self.parts, strict=True):
            yield Text(separator)
            yield from part


class _Builder:
    """Builds the tree in one pass. Groups nest strictly, so a bracket that fits nothing breaks all open ones."""

    def __init__(self) -> None:
        self._done: list[Node] = []
        self._open: list[_Open] = []

    def build(self, text: str) -> Nodes:
        for match in _MARK.finditer(text):
            self._take(match[0])
        self._spill()
        return _joined(self._done)

    def _take(self, mark: str) -> None:
        if mark in ("(", "["):
            self._open.append(_Open(mark))
        elif mark in _PARTNERS:
            self._close(mark)
        elif mark in (":", "|"):
            self._separate(mark)
        elif mark == "\\":
            raise _IsText
        else:
            self._add(Text(mark))

    def _add(self, node: Node) -> None:
        (self._open[-1].parts[-1] if self._open else self._done).append(node)

    def _separate(self, mark: str) -> None:
        if self._open:
            self._open[-1].separators.append(mark)
            self._open[-1].parts.append([])
        elif mark == "|":
            raise _IsText
        else:
            self._done.append(Text(mark))

    def _close(self, mark: str) -> None:
        fits = bool(self._open) and self._open[-1].bracket == _PARTNERS[mark]
        group = self._open[-1].close() if fits else None
        if group is None:
            self._spill()
            self._done.append(Text(mark))
        else:
            self._open.pop()
            self._add(group)

    def _spill(self) -> None:
        for bracket in self._open:
            self._done.extend(bracket.spill())
        self._open.clear()


def _joined(nodes: Iterable[Node]) -> Nodes:
    """Return `nodes` with neighbouring texts as one and empty ones left out."""
    joined: list[Node] = []
    texts: list[str] = []
    for node in nodes:
        if isinstance(node, Text):
            texts.append(node.text)
            continue
        if text := "".join(texts):
            joined.append(Text(text))
        texts = []
        joined.append(node)
    if text := "".join(texts):
        joined.append(Text(text))
    return tuple(joined)


def _read_moment(nodes: Nodes) -> Moment | None:
    """Return the moment that `nodes` name, if they are a number. With a dot it is a fraction (A1111 since 1.6)."""
    if len(nodes) != 1 or not isinstance(nodes[0], Text):
        return None
    match = _NUMBER.fullmatch(nodes[0].text)
    return Moment(float(match[1]), is_fraction="." in match[1]) if match else None
