"""The prompt grammar: what is a group, what is text, and no prompt that breaks or slows the parser."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webui.prompt.attention import LARGEST
from webui.prompt.grammar import Alternation, Branch, Edit, Emphasis, Moment, Node, Text, parse, parse_single
from webui.prompt.schedule import schedule

SPECIAL = st.text(alphabet=st.sampled_from(list("()[]\\:|.0123456789-+e ab\nAND")), max_size=200)
A, B, C = (Text("a"),), (Text("b"),), (Text("c"),)


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("", ()),
        ("a", A),
        ("(a)", (Emphasis("(", A),)),
        ("(a:1.3)", (Emphasis("(", A, (Text("1.3"),)),)),
        ("[a]", (Emphasis("[", A),)),
        ("[a:b:0.5]", (Edit(A, B, Moment(0.5, True)),)),
        ("[a:b: 8 ]", (Edit(A, B, Moment(8, False)),)),
        ("[a:.5]", (Edit((), A, Moment(0.5, True)),)),
        ("[a::3]", (Edit(A, (), Moment(3, False)),)),
        ("[:a:3]", (Edit((), A, Moment(3, False)),)),
        ("[:3]", (Edit((), (), Moment(3, False)),)),
        ("[a:b:1e1]", (Edit(A, B, Moment(10, False)),)),
        ("[a:b:-1]", (Edit(A, B, Moment(-1, False)),)),
        ("[2:3]", (Edit((), (Text("2"),), Moment(3, False)),)),
        ("[a|b|c]", (Alternation((A, B, C)),)),
        ("[a|]", (Alternation((A, ())),)),
        ("[|]", (Alternation(((), ())),)),
        ("(a[b|c])", (Emphasis("(", (Text("a"), Alternation((B, C)))),)),
        ("[[a]:b:2]", (Edit((Emphasis("[", A),), B, Moment(2, False)),)),
        ("[a:[b:c:2]:1]", (Edit(A, (Edit(B, C, Moment(2, False)),), Moment(1, False)),)),
        ("(a:[0.5:1.5:3])", (Emphasis("(", A, (Edit((Text("0.5"),), (Text("1.5"),), Moment(3, False)),)),)),
    ],
)
def test_groups(prompt: str, expected: tuple[Node, ...]) -> None:
    assert parse_single(prompt) == expected


@pytest.mark.parametrize(
    "prompt",
    ["a:b", "(a", "a)", "[a", "a]", "[a:b]", "[a:b:c:3]", "(a:b:c)", "[a)b:3]", "(a]", "[a(:3]", "[a:b:3x]", "[a:nan]",
     r"\[a:b:3\]", r"[a:b\:3]", ")(", "]["],
)  # fmt: skip
def test_what_makes_no_group_is_text(prompt: str) -> None:
    assert parse_single(prompt) == (Text(prompt),)


@pytest.mark.parametrize("prompt", ["a|b [c:d:3]", "(a|b) [c:d:3]", "[a:b|c:3] [c:d:3]", "[c:d:3] \\", "\\\n[c:d:3]"])
def test_a_stray_bar_or_backslash_makes_the_whole_branch_text(prompt: str) -> None:
    assert parse_single(prompt) == (Text(prompt),)


@pytest.mark.parametrize(
    ("prompt", "before", "after"),
    [("((a][:b:c ", "((a][:b:c ", ""), ("(x ", "(x ", ""), ("", "", ") y"), ("[x [y:", "[x [y:", "")],
)
def test_broken_brackets_leave_whole_groups_alone(prompt: str, before: str, after: str) -> None:
    edit = Edit((), (Text("d"),), Moment(3, False))
    found = parse_single(f"{prompt}[d:3]{after}")
    assert found == tuple(part for part in (Text(before), edit, Text(after)) if part != Text(""))


def test_a_group_that_makes_no_sense_breaks_those_around_it() -> None:
    assert parse_single("[[a:b]:c:3] [d:3]") == (Text("[[a:b]:c:3] "), Edit((), (Text("d"),), Moment(3, False)))


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("a", [("a", 1.0)]),
        ("a AND b", [("a", 1.0), (" b", 1.0)]),
        ("a :1.2 AND b: -.5 ", [("a", 1.2), (" b", -0.5)]),
        ("a AND", [("a", 1.0), ("", 1.0)]),
        ("a:2", [("a", 2.0)]),
        ("a:", [("a:", 1.0)]),
        ("a:1e3", [("a:1e3", 1.0)]),
        ("BRAND ANDY and", [("BRAND ANDY and", 1.0)]),
        ("a:" + "9" * 400, [("a", LARGEST)]),
    ],
)
def test_branches(prompt: str, expected: list[tuple[str, float]]) -> None:
    assert parse(prompt) == tuple(Branch((Text(text),) if text else (), weight) for text, weight in expected)


def test_and_cuts_before_brackets_are_looked_at() -> None:
    assert parse("[a AND b:3]") == (Branch((Text("[a"),)), Branch((Text(" b:3]"),)))


@pytest.mark.parametrize(
    ("moment", "step"),
    [
        (Moment(8, False), 8),
        (Moment(8.9, False), 8),
        (Moment(0.5, True), 10),
        (Moment(0.99, True), 19),
        (Moment(1.0, True), 20),
        (Moment(2.5, True), 20),
        (Moment(99, False), 20),
        (Moment(0, False), 0),
        (Moment(-3, False), 0),
        (Moment(float("inf"), False), 20),
    ],
)
def test_moments_become_steps(moment: Moment, step: int) -> None:
    assert moment.step(20) == step


@given(SPECIAL)
def test_any_text_is_parsed(prompt: str) -> None:
    assert parse(prompt)
    assert schedule(prompt, 7)


@given(st.text())
def test_escaped_text_is_one_text(text: str) -> None:
    escaped = "".join(f"\\{letter}" if letter in "()[]:|\\" else letter for letter in text)
    assert parse_single(escaped) == ((Text(escaped),) if text else ())


UNITS = ["(", "[", ")", "]", "()", "[]", "[a:b:1]", "[a:", "[a|", "(a:1)", "[[a:2]:", ":1", "|", "\\", " AND a:1", "[1",
         "1", "[:" + "1" * 50, "a ", " ", "([", "])", "[a:b:c:", "[a:1 "]  # fmt: skip


def calls(action: Callable[[], object]) -> int:
    """Return how many Python and C functions `action` calls."""
    count = 0

    def note(frame: object, event: str, argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        action()
    finally:
        sys.setprofile(before)
    return count


@pytest.mark.parametrize("unit", UNITS)
def test_twice_the_prompt_is_at_most_twice_the_work(unit: str) -> None:
    short, long = unit * 200, unit * 400
    assert calls(lambda: schedule(long, 3)) <= 2 * calls(lambda: schedule(short, 3)) + 50


@pytest.mark.parametrize("unit", UNITS)
def test_a_hundred_thousand_characters_are_parsed(unit: str) -> None:
    prompt = (unit * 100_000)[:100_000]
    assert parse(prompt[:50_000] + "]" * 25_000 + ")" * 25_000)
    assert parse(prompt)


def test_a_tree_as_deep_as_the_prompt_is_resolved() -> None:
    depth = 30_000
    (found,) = schedule("[" * depth + "a" + ":1]" * depth, 3)
    assert [segment.text for segment in found.segments] == ["", "a"]
