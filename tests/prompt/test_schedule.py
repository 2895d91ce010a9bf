"""Which text holds when, as A1111 resolves it."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webui.prompt.schedule import Schedule, Segment, schedule, schedule_single


def texts(prompt: str, steps: int = 10) -> list[tuple[int, str]]:
    return [(segment.end, segment.text) for segment in schedule_single(prompt, steps).segments]


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("a cat", [(10, "a cat")]),
        ("", [(10, "")]),
        ("a [dog:3]", [(3, "a "), (10, "a dog")]),
        ("a [dog::3]", [(3, "a dog"), (10, "a ")]),
        ("a [dog:cat:0.25] sat", [(2, "a dog sat"), (10, "a cat sat")]),
        ("[dog:cat:.5]", [(5, "dog"), (10, "cat")]),
        ("[dog:cat:0]", [(10, "cat")]),
        ("[dog:cat:-2]", [(10, "cat")]),
        ("[dog:cat:0.05]", [(10, "cat")]),
        ("[dog:cat:10]", [(10, "dog")]),
        ("[dog:cat:40]", [(10, "dog")]),
        ("[dog:cat:1.0]", [(10, "dog")]),
        ("[dog:cat:1]", [(1, "dog"), (10, "cat")]),
        ("[dog : cat :2]", [(2, "dog "), (10, " cat ")]),
        ("([dog:cat:2]:1.3)", [(2, "(dog:1.3)"), (10, "(cat:1.3)")]),
        ("(dog:[1.1:1.5:2])", [(2, "(dog:1.1)"), (10, "(dog:1.5)")]),
        ("[[[dog]]:2]", [(2, ""), (10, "[[dog]]")]),
        ("a[b:[c:d:4]:2]e", [(2, "abe"), (4, "ace"), (10, "ade")]),
        ("[a:b:2][c:d:4]", [(2, "ac"), (4, "bc"), (10, "bd")]),
        ("[a:a:2]", [(10, "a")]),
        ("an [unclosed", [(10, "an [unclosed")]),
        ("a | b [c:d:5]", [(10, "a | b [c:d:5]")]),
        ("a AND b", [(10, "a AND b")]),
    ],
)
def test_edits(prompt: str, expected: list[tuple[int, str]]) -> None:
    assert texts(prompt) == expected


def test_alternation_takes_turns() -> None:
    assert texts("a [red|green|(blue:1.1)] cat", 5) == [
        (1, "a red cat"), (2, "a green cat"), (3, "a (blue:1.1) cat"), (4, "a red cat"), (5, "a green cat"),
    ]  # fmt: skip
    assert texts("[fe|||]male", 5) == [(1, "female"), (4, "male"), (5, "female")]


def test_alternation_inside_an_edit_keeps_its_turn() -> None:
    assert texts("[[a|b]:c:3]", 5) == [(1, "a"), (2, "b"), (3, "a"), (5, "c")]


def test_branches_have_their_own_schedules() -> None:
    assert schedule("[a:b:2] AND c :0.5", 4) == (
        Schedule((Segment(2, "a"), Segment(4, "b"))),
        Schedule((Segment(4, " c"),), 0.5),
    )


def test_changes_come_one_call_after_their_number() -> None:
    found = schedule_single("[a:b:3]", 10)
    assert [found.segments[found.at(call)].text for call in range(10)] == ["a"] * 4 + ["b"] * 6
    found = schedule_single("[a|b]", 6)
    assert [found.segments[found.at(call)].text for call in range(6)] == ["a", "a", "b", "a", "b", "a"]


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("a cat", [(10, "a cat")]),
        ("[a:b:3]", [(10, "b")]),  # over in the first pass
        ("[a:b:20]", [(10, "b")]),
        ("[a:b:24]", [(4, "a"), (10, "b")]),
        ("[a:b:30]", [(10, "a")]),
        ("[a:b:0.5]", [(10, "b")]),
        ("[a:b:1.0]", [(10, "b")]),
        ("[a:b:1.5]", [(5, "a"), (10, "b")]),
        ("[a:b:2.0]", [(10, "a")]),
        ("[a|b]", [(end, "ab"[(end + 1) % 2]) for end in range(1, 11)]),
    ],
)
def test_a_second_pass_counts_on_behind_the_first(prompt: str, expected: list[tuple[int, str]]) -> None:
    """10 calls behind 20: whole numbers go on at 21, fractions are those from 1 to 2, alternation begins anew."""
    assert [(each.end, each.text) for each in schedule_single(prompt, 10, behind=20).segments] == expected
    assert schedule(prompt, 10, behind=20) == (schedule_single(prompt, 10, behind=20),)


@given(st.text(alphabet=st.sampled_from(list("()[]\\:|.0123 ab")), max_size=80), st.integers(1, 40))
def test_segments_follow_each_other_to_the_last_step(prompt: str, steps: int) -> None:
    segments = schedule_single(prompt, steps).segments
    ends = [segment.end for segment in segments]
    assert ends == sorted(set(ends)) and ends[0] >= 1 and ends[-1] == steps
    for before, after in pairwise(segments):
        assert before.text != after.text
