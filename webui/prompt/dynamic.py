"""Dynamic prompts: a template such as `a {red|blue} __animal__` → one of the prompts it can become.

    {a|b}                 one of them                     {0.5::a|b}            weighted (1 where nothing is said)
    {2$$a|b|c}            two of them, "a, c"             {1-3$$ and $$a|b|c}   one to three, joined by " and "
    __name__  __dir/*__   a line of the wildcard file or files; lines are templates themselves

A backslash takes the next character's meaning away. Braces without a bar or a wildcard are text, and so is a wildcard
nobody has; bars inside square brackets belong to A1111's alternation.
"""

from __future__ import annotations

import heapq
import random
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from webui.domain.request import MAX_PROMPT
from webui.errors import BadRequest

Lookup = Callable[[str], Sequence[str]]
"""A wildcard's name or pattern → its lines; none when there is no such wildcard."""

DEPTH = 20  # wildcards inside wildcards
MAX_CHOICES = 10_000  # of one prompt
MAX_WORK = 500_000  # pieces of text and choices that all prompts of one job may be made of
JOINER = ", "


@dataclass(frozen=True)
class Words:
    """Text that stays as it is."""

    text: str


@dataclass(frozen=True)
class Wildcard:
    """`__name__`."""

    name: str


@dataclass(frozen=True)
class Series:
    """Parts that follow each other."""

    parts: tuple[Part, ...]


@dataclass(frozen=True)
class Option:
    """What may be chosen, and how likely it is compared with the others."""

    content: Series
    weight: float = 1.0


@dataclass(frozen=True)
class Choice:
    """`least` to `most` of the options (None: all of them) in random order, no option twice."""

    options: tuple[Option, ...]
    least: int = 1
    most: int | None = 1
    joiner: str = JOINER


Part = Words | Wildcard | Series | Choice

_MARK = re.compile(r"\\.?|[{}\[\]|]|__(?P<name>[\w\-./*]{1,100}?)__|[^\\{}\[\]|_]+|_", re.DOTALL)
_COUNT = re.compile(r"\s*(?:(?P<exact>\d{1,4})|(?P<least>\d{0,4})-(?P<most>\d{0,4}))\$\$(?:(?P<joiner>[^$]*)\$\$)?")
_WEIGHT = re.compile(r"\s*(\d{1,9}(?:\.\d{0,9})?|\.\d{1,9})::")


class _Bar:
    """A bar that may separate options."""


_BAR = _Bar()
_Item = Words | Wildcard | Series | Choice | _Bar


def parse(template: str) -> Series:
    """Return the tree of `template`; for any text, in time linear in its length."""
    open_groups: list[tuple[str, list[_Item]]] = [("", [])]
    braces = 0
    for match in _MARK.finditer(template):
        mark, items = match[0], open_groups[-1][1]
        if mark in ("{", "["):
            braces += mark == "{"
            open_groups.append((mark, []))
        elif mark == "}" and braces:
            braces -= 1
            inner = _spilled(open_groups, "{")
            open_groups[-1][1].append(_close_brace(inner))
        elif mark == "]" and open_groups[-1][0] == "[":
            open_groups.pop()
            open_groups[-1][1].append(_literal("[", items, "]"))
        elif mark == "|":
            items.append(_BAR)
        else:
            items.append(Wildcard(match["name"]) if match["name"] else Words(mark))
    return _literal("", _spilled(open_groups, ""), "")


def _spilled(open_groups: list[tuple[str, list[_Item]]], wanted: str) -> list[_Item]:
    """Take the groups off down to the `wanted` one; return its items and those of the unclosed ones in it, in order."""
    taken: list[list[_Item]] = []
    while True:
        bracket, items = open_groups.pop()
        if bracket == wanted:
            break
        taken.append([Words(bracket), *items])
    return [*items, *(item for group in reversed(taken) for item in group)]


def _close_brace(items: list[_Item]) -> Part:
    if not any(isinstance(item, (_Bar, Wildcard)) for item in items):
        return _literal("{", items, "}")
    options: list[list[Part]] = [[]]
    for item in items:
        if isinstance(item, _Bar):
            options.append([])
        else:
            options[-1].append(item)
    merged = [_merged(option) for option in options]
    count, merged[0] = _split(_COUNT, merged[0])
    weighted = tuple(_weighted(option) for option in merged)
    if count is None:
        return Choice(weighted)
    joiner = count["joiner"] if count["joiner"] is not None else JOINER
    if count["exact"]:
        return Choice(weighted, int(count["exact"]), int(count["exact"]), joiner)
    return Choice(weighted, int(count["least"] or 0), int(count["most"]) if count["most"] else None, joiner)


def _weighted(parts: tuple[Part, ...]) -> Option:
    weight, rest = _split(_WEIGHT, parts)
    return Option(Series(rest), float(weight[1])) if weight else Option(Series(rest))


def _split(prefix: re.Pattern[str], parts: tuple[Part, ...]) -> tuple[re.Match[str] | None, tuple[Part, ...]]:
    """Take `prefix` off the first part if that is text which begins so."""
    first = parts[0] if parts else None
    match = prefix.match(first.text) if isinstance(first, Words) else None
    if match is None or not isinstance(first, Words):
        return None, parts
    rest = first.text[match.end() :]
    return match, ((Words(rest), *parts[1:]) if rest else parts[1:])


def _literal(opening: str, items: Iterable[_Item], closing: str) -> Series:
    parts = (Words("|") if isinstance(item, _Bar) else item for item in items)
    return Series(_merged([Words(opening), *parts, Words(closing)]))


def _merged(parts: Iterable[Part]) -> tuple[Part, ...]:
    """Return `parts` with neighbouring words as one."""
    merged: list[Part] = []
    texts: list[str] = []
    for part in parts:
        if isinstance(part, Words):
            texts.append(part.text)
            continue
        if text := "".join(texts):
            merged.append(Words(text))
        texts = []
        merged.append(part)
    if text := "".join(texts):
        merged.append(Words(text))
    return tuple(merged)


class DynamicPrompts:
    """Turns templates into prompts. Each wildcard is looked up once: all images of a job draw from the same lines."""

    def __init__(self, lookup: Lookup) -> None:
        self._lookup = lookup
        self.work = 0
        self._known: dict[str, tuple[Option, ...]] = {}
        self._parsed: dict[str, Series] = {}

    def resolve(self, template: str, seed: str) -> str:
        """Return the prompt that `template` becomes with `seed`: always the same one.

        Raises `BadRequest` when it would never end or become longer than a prompt may be.
        """
        if template not in self._parsed:
            self._parsed[template] = parse(template)
        return _Resolving(self, random.Random(seed)).run(self._parsed[template])

    def options(self, name: str) -> tuple[Option, ...]:
        """Return the lines of a wildcard, unparsed but weighted."""
        if name not in self._known:
            self._known[name] = tuple(_weighted((Words(line),)) for line in self._lookup(name))
        return self._known[name]


class _Resolving:
    """One walk through a template. It keeps its own stack, because braces may nest as deep as a prompt is long."""

    def __init__(self, prompts: DynamicPrompts, randomness: random.Random) -> None:
        self._prompts = prompts
        self._random = randomness
        self._choices = 0

    def run(self, series: Series) -> str:
        texts: list[str] = []
        length = 0
        pending: list[tuple[Part, int]] = [(series, 0)]
        while pending:
            part, depth = pending.pop()
            self._prompts.work += 1
            if self._prompts.work > MAX_WORK:
                raise _endless("there is too much to choose in so many images", "Lower the batch count?")
            if isinstance(part, Words):
                texts.append(part.text)
                length += len(part.text)
                if length > MAX_PROMPT:
                    raise _endless(f"it becomes longer than {MAX_PROMPT} characters")
            elif isinstance(part, Series):
                pending += ((inner, depth) for inner in reversed(part.parts))
            else:
                pending += reversed([*self._choose(part, depth)])
        return "".join(texts)

    def _choose(self, part: Wildcard | Choice, depth: int) -> Iterator[tuple[Part, int]]:
        """Yield what stands in the place of `part`, with how many wildcards deep it is."""
        wildcard = part if isinstance(part, Wildcard) else _only_wildcard(part)
        choice = part if isinstance(part, Choice) else Choice(())
        if wildcard is not None:
            options = self._prompts.options(wildcard.name)
            if not options:
                yield Words(f"__{wildcard.name}__"), depth
                return
            if depth >= DEPTH:
                raise _endless(
                    f"wildcard __{wildcard.name}__ lies more than {DEPTH} wildcards deep", "Does it contain itself?"
                )
            choice = Choice(options, choice.least, choice.most, choice.joiner)
        for number, option in enumerate(self._draw(choice)):
            if number:
                yield Words(choice.joiner), depth
            yield (option.content, depth) if wildcard is None else (self._line(option), depth + 1)

    def _line(self, option: Option) -> Series:
        (line,) = option.content.parts or (Words(""),)
        assert isinstance(line, Words)
        return parse(line.text)

    def _draw(self, choice: Choice) -> Sequence[Option]:
        self._choices += 1
        if self._choices > MAX_CHOICES:
            raise _endless(f"it has more than {MAX_CHOICES} choices to make")
        most = len(choice.options) if choice.most is None else min(choice.most, len(choice.options))
        least = min(choice.least, most)
        count = least + int(self._random.random() * (most - least + 1)) if most > least else least
        if count == 1:
            return (self._draw_one(choice.options),)
        # Efraimidis and Spirakis 2006: the largest u^(1/weight) are a weighted sample without repetition.
        keys = [self._random.random() ** (1 / option.weight) if option.weight else -1.0 for option in choice.options]
        chosen = heapq.nlargest(count, range(len(keys)), key=lambda number: (keys[number], -number))
        return [choice.options[number] for number in chosen]

    def _draw_one(self, options: Sequence[Option]) -> Option:
        point = self._random.random() * sum(option.weight for option in options)
        for option in options:
            point -= option.weight
            if point < 0:
                return option
        return options[-1]


def _only_wildcard(choice: Choice) -> Wildcard | None:
    """Return the wildcard of `{2$$__name__}`, whose lines are the options."""
    if len(choice.options) != 1 or len(choice.options[0].content.parts) != 1:
        return None
    (part,) = choice.options[0].content.parts
    return part if isinstance(part, Wildcard) else None


def _endless(reason: str, question: str = "") -> BadRequest:
    hint = f"{question} Shorten the template or its wildcards.".strip()
    return BadRequest(f"The prompt template cannot be resolved: {reason}.", hint=hint, field="prompt")
