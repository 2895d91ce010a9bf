"""The tree of a prompt × a number of steps → which text holds when."""

from __future__ import annotations

import bisect
from collections.abc import Iterator
from dataclasses import dataclass

from webui.prompt.grammar import Alternation, Edit, Emphasis, Moment, Node, Nodes, Text, parse, parse_single

_CLOSING = {"(": ")", "[": "]"}


@dataclass(frozen=True)
class Segment:
    """`text` holds up to and including step `end`, counted from 1."""

    end: int
    text: str


@dataclass(frozen=True)
class Schedule:
    """The texts of one branch in their order. The last one's end is the number of steps."""

    segments: tuple[Segment, ...]
    weight: float = 1.0

    def at(self, call: int) -> int:
        """Return which segment the network's call number `call` (from 0) belongs to.

        A1111 compares the calls it counts from 0 with ends it counts from 1, so each change comes one call later
        than its number says. The pictures people share were made that way; so it is here.
        """
        place = bisect.bisect_left([segment.end for segment in self.segments], call)
        return min(place, len(self.segments) - 1)


@dataclass(frozen=True)
class _Span:
    """The network's calls of one pass: `count` of them, and how many the passes before it had."""

    count: int
    behind: int

    def end(self, moment: Moment) -> int:
        """Return the last call (from 1) before an edit, 0 when there is none."""
        return moment.step(self.count, self.behind)


def schedule(prompt: str, steps: int, behind: int = 0) -> tuple[Schedule, ...]:
    """Return one schedule for each branch of a prompt.

    `steps` counts the network's calls in this pass, `behind` those of the pass before it, if there was one: edits go
    on counting there, while alternation begins anew (A1111).
    """
    span = _Span(steps, behind)
    return tuple(Schedule(_segments(branch.nodes, span), branch.weight) for branch in parse(prompt))


def schedule_single(prompt: str, steps: int, behind: int = 0) -> Schedule:
    """Return the schedule of a negative prompt, in which `AND` joins nothing."""
    return Schedule(_segments(parse_single(prompt), _Span(steps, behind)))


def _segments(nodes: Nodes, span: _Span) -> tuple[Segment, ...]:
    segments: list[Segment] = []
    for end in _ends(nodes, span):
        text = _text_at(nodes, end, span)
        if segments and segments[-1].text == text:
            segments.pop()
        segments.append(Segment(end, text))
    return tuple(segments)


def _ends(nodes: Nodes, span: _Span) -> list[int]:
    """Return the calls after which something may change, in order; the last is the number of calls."""
    ends = {span.count}
    for node in _walk(nodes):
        if isinstance(node, Alternation):
            return list(range(1, span.count + 1))
        if isinstance(node, Edit):
            ends.add(span.end(node.when))
    return sorted(ends - {0})


def _walk(nodes: Nodes) -> Iterator[Node]:
    """Yield every node of the tree, without recursion: it may be as deep as the prompt is long."""
    pending = list(nodes)
    while pending:
        node = pending.pop()
        yield node
        if isinstance(node, Emphasis):
            pending += node.content + (node.weight or ())
        elif isinstance(node, Edit):
            pending += node.before + node.after
        elif isinstance(node, Alternation):
            for option in node.options:
                pending += option


def _text_at(nodes: Nodes, step: int, span: _Span) -> str:
    """Return the text that holds in call `step` (from 1) of `span`. Emphasis stays in it as brackets."""
    texts: list[str] = []
    pending = list(reversed(nodes))
    while pending:
        node = pending.pop()
        if isinstance(node, Text):
            texts.append(node.text)
        elif isinstance(node, Edit):
            pending += reversed(node.before if step <= span.end(node.when) else node.after)
        elif isinstance(node, Alternation):
            pending += reversed(node.options[(step - 1) % len(node.options)])
        else:
            texts.append(node.bracket)
            pending.append(Text(_CLOSING[node.bracket]))
            if node.weight is not None:
                pending += (*reversed(node.weight), Text(":"))
            pending += reversed(node.content)
    return "".join(texts)
