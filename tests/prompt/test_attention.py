"""Emphasis as A1111 users know it, and no text that breaks or slows the parser."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webui.prompt.attention import LARGEST, Break, Piece, parse


def weights(prompt: str) -> list[tuple[str, float]]:
    return [(piece.text, piece.weight) for piece in parse(prompt) if isinstance(piece, Piece)]


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("", []),
        ("a cat", [("a cat", 1)]),
        ("a (cat)", [("a ", 1), ("cat", 1.1)]),
        ("((cat))", [("cat", 1.21)]),
        ("[cat]", [("cat", 1 / 1.1)]),
        ("[[cat]]", [("cat", 1 / 1.21)]),
        ("(cat:1.3)", [("cat", 1.3)]),
        ("(cat : .5 )", [("cat ", 0.5)]),
        ("(cat:-1)", [("cat", -1)]),
        ("((cat:1.3) sat:0.5)", [("cat", 0.65), (" sat", 0.5)]),
        ("(a [b:1.3) c]", [("a ", 1.3), ("b", 1.3 / 1.1), (" c", 1 / 1.1)]),
        ("([cat])", [("cat", 1)]),
        ("a (b", [("a ", 1), ("b", 1.1)]),
        ("a [b (c", [("a ", 1), ("b ", 1 / 1.1), ("c", 1)]),
        ("a b)", [("a b)", 1)]),
        ("a b]", [("a b]", 1)]),
        ("a:1.3)", [("a:1.3)", 1)]),
        ("[cat:1.3]", [("cat:1.3", 1 / 1.1)]),
        ("(a:1.2.3)", [("a:1.2.3", 1.1)]),
        ("(a:nan)", [("a:nan", 1.1)]),
        ("(a:1e309)", [("a:1e309", 1.1)]),
        (r"\(cat\) \[dog\] \\", [("(cat) [dog] \\", 1)]),
        (r"a\b", [("ab", 1)]),
        (r"(cat\)", [("cat)", 1.1)]),
        ("(a)(b)", [("ab", 1.1)]),
        ("()[]", []),
        ("（cat）", [("（cat）", 1)]),
    ],
)
def test_weights(prompt: str, expected: list[tuple[str, float]]) -> None:
    found = weights(prompt)
    assert [text for text, _ in found] == [text for text, _ in expected]
    assert [weight for _, weight in found] == pytest.approx([weight for _, weight in expected])


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("a BREAK b", (Piece("a", 1.0), Break(), Piece("b", 1.0))),
        ("a,\nBREAK\nb", (Piece("a,", 1.0), Break(), Piece("b", 1.0))),
        ("BREAK", (Break(),)),
        ("BREAK BREAK", (Break(), Break())),
        ("(a BREAK b:1.5)", (Piece("a", 1.5), Break(), Piece("b", 1.5))),
        ("BREAKFAST break Break", (Piece("BREAKFAST break Break", 1.0),)),
    ],
)
def test_break_is_a_word(prompt: str, expected: tuple[Piece | Break, ...]) -> None:
    assert parse(prompt) == expected


@pytest.mark.parametrize(
    "unit",
    ["(", "[", ")", "\\", ":", " ", "a", "(a", ":1)", "(a:9)", "BREAK ", ": ", "(:1", "([", "(a:1" + " " * 50, "1"],
)
def test_long_text_is_parsed_whole(unit: str) -> None:
    pieces = parse((unit * 100_000)[:100_000])
    assert all(math.isfinite(piece.weight) for piece in pieces if isinstance(piece, Piece))


def test_thousands_of_brackets_stay_finite() -> None:
    assert weights("(" * 10_000 + "a") == [("a", LARGEST)]
    ((_, weight),) = weights("[" * 10_000 + "a")
    assert 0 <= weight < 1e-100


@given(st.text(alphabet=st.sampled_from(list("()[]\\:.0123456789-+ ab,\nBREAK")), max_size=200))
def test_any_text_is_parsed(prompt: str) -> None:
    pieces = parse(prompt)
    for piece in pieces:
        if isinstance(piece, Piece):
            assert piece.text
            assert abs(piece.weight) <= LARGEST
    for before, after in pairwise(pieces):
        assert isinstance(before, Break) or isinstance(after, Break) or before.weight != after.weight


@given(st.text())
def test_escaped_text_is_taken_as_it_is(text: str) -> None:
    escaped = "".join(f"\\{character}" if character in "()[]\\" else character for character in text)
    if "BREAK" not in text:
        assert parse(escaped) == ((Piece(text, 1.0),) if text else ())


@given(st.lists(st.sampled_from(["(", "["]), max_size=8))
def test_nesting_multiplies(brackets: list[str]) -> None:
    opened = "".join(brackets)
    closed = "".join({"(": ")", "[": "]"}[bracket] for bracket in reversed(brackets))
    ((_, weight),) = weights(f"{opened}cat{closed}")
    assert weight == pytest.approx(1.1 ** (brackets.count("(") - brackets.count("[")))
