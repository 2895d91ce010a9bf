"""Taught words are found as CLIP's tokenizer would find them, and their vectors stay together."""

from __future__ import annotations

import pytest

from webui.prompt.chunks import LENGTH, chunk
from webui.prompt.taught import TaughtWords, find_words
from webui.prompt.tokens import count_tokens, weigh_tokens


def letters(text: str) -> list[int]:
    return [ord(letter) for letter in text if letter != " "]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a photo of style", ("style",)),
        ("STYLE, a Style", ("style",)),
        ("(style:1.2), [a|style]", ("style",)),
        ("styles restyle lifestyle", ()),
        ("style2, 2style", ("style",)),
        ("bad-hands-5", ("bad-hands-5",)),
        ("bad-hands", ()),
        ("<cat-toy>, (<cat-toy>)", ("<cat-toy>",)),
        ("<<cat-toy>", ()),
        ("my   own word", ("my own",)),
        ("styl\u00e9", ()),
        ("bad-hands-5 before style", ("bad-hands-5", "style")),
    ],
)
def test_words_are_found_whole(text: str, found: tuple[str, ...]) -> None:
    assert find_words(text, ("style", "bad-hands-5", "<cat-toy>", "my own")) == found


def test_a_word_within_another_one_counts_only_alone() -> None:
    assert find_words("bad-hands-5, hands", ("hands", "bad-hands-5")) == ("bad-hands-5", "hands")
    assert find_words("bad-hands-5", ("hands", "bad-hands-5")) == ("bad-hands-5",)


def test_the_vectors_of_words_are_tokens_below_0() -> None:
    words = TaughtWords({"cat": 2, "long cat": 3})
    assert words.spans == {-1: 3, -4: 2}
    assert words.encode("a Long Cat b, CAT", letters) == [ord("a"), -1, -2, -3, ord("b"), ord(","), -4, -5]
    assert TaughtWords({}).encode("a cat", letters) == letters("a cat")


def test_weights_hold_for_every_vector() -> None:
    words = TaughtWords({"cat": 2})
    pairs = list(weigh_tokens("a (cat:1.3)", "Original", lambda text: words.encode(text, letters)))
    assert pairs == [(ord("a"), 1.0), (-1, 1.3), (-2, 1.3)]


def test_a_word_is_not_cut_in_two() -> None:
    before = [(1000 + number, 1.0) for number in range(LENGTH - 2)]
    word = [(-1, 1.0), (-2, 1.0), (-3, 1.0)]
    first, second = chunk([*before, *word, (5, 1.0)], None, spans={-1: 3})
    assert len(first.tokens) == LENGTH - 2 and second.tokens == (-1, -2, -3, 5)
    (whole,) = chunk([*before[1:], *word], None, spans={-1: 3})
    assert len(whole.tokens) == LENGTH


def test_a_word_behind_a_comma_takes_the_tail_along_where_both_have_room() -> None:
    comma = 267
    before = [(1000 + number, 1.0) for number in range(70)]
    tokens = [*before, (comma, 1.0), *[(2000 + number, 1.0) for number in range(4)], (-1, 1.0), (-2, 1.0)]
    first, second = chunk(tokens, comma, spans={-1: 2})
    assert first.tokens[-1] == comma and second.tokens == (2000, 2001, 2002, 2003, -1, -2)


def test_vectors_are_counted() -> None:
    words = TaughtWords({"cat": 7})
    count = count_tokens("a cat", 20, lambda text: words.encode(text, letters), None, "Original", 20, words.spans)
    assert count == 8
