"""Chunks hold 75 tokens, lose none, and are cut at commas."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from webui.prompt.attention import Break
from webui.prompt.chunks import LENGTH, Chunk, chunk

COMMA = 267


def words(count: int, first: int = 1000) -> list[tuple[int, float] | Break]:
    return [(first + number, 1.0) for number in range(count)]


def lengths(tokens: list[tuple[int, float] | Break], comma: int | None = COMMA) -> list[int]:
    return [len(found.tokens) for found in chunk(tokens, comma)]


def test_an_empty_prompt_is_one_empty_chunk() -> None:
    assert chunk([], COMMA) == (Chunk((), ()),)


def test_full_chunks() -> None:
    assert lengths(words(75)) == [75]
    assert lengths(words(76)) == [75, 1]
    assert lengths(words(151)) == [75, 75, 1]


def test_the_tail_behind_a_near_comma_moves_on() -> None:
    tokens = [*words(55), (COMMA, 1.0), *words(30, 2000)]  # the comma is the last but 19 of 75
    first, second = chunk(tokens, COMMA)
    assert first.tokens[-1] == COMMA and len(first.tokens) == 56
    assert second.tokens == tuple(range(2000, 2030))


def test_a_far_comma_changes_nothing() -> None:
    assert lengths([*words(54), (COMMA, 1.0), *words(30, 2000)]) == [75, 10]


def test_a_comma_at_the_end_of_a_full_chunk_keeps_it_whole() -> None:
    assert lengths([*words(74), (COMMA, 1.0), *words(5, 2000)]) == [75, 5]


def test_a_comma_that_overflows_goes_to_the_next_chunk_alone() -> None:
    tokens = [*words(60), (COMMA, 1.0), *words(14, 2000), (COMMA, 1.0), *words(3, 3000)]
    assert lengths(tokens) == [75, 4]


def test_the_last_comma_counts_and_is_forgotten_in_the_next_chunk() -> None:
    tokens = [*words(60), (COMMA, 1.0), *words(5, 2000), (COMMA, 1.0), *words(90, 3000)]
    assert lengths(tokens) == [67, 75, 15]


def test_without_a_comma_token_nothing_moves() -> None:
    assert lengths([*words(60), (COMMA, 1.0), *words(30, 2000)], comma=None) == [75, 16]


def test_breaks_end_chunks_even_empty_ones() -> None:
    assert lengths([*words(3), Break(), *words(2)]) == [3, 2]
    assert lengths([Break(), Break(), *words(2)]) == [0, 0, 2]
    assert lengths([*words(3), Break()]) == [3]


def test_weights_stay_with_their_tokens() -> None:
    tokens: list[tuple[int, float] | Break] = [(number if number != 70 else COMMA, number / 10) for number in range(80)]
    first, second = chunk(tokens, COMMA)
    assert first.weights == tuple(number / 10 for number in range(71))
    assert second.weights == tuple(number / 10 for number in range(71, 80))


@given(st.lists(st.sampled_from([COMMA, 1, 2, None]), max_size=400))
def test_no_token_is_lost(identifiers: list[int | None]) -> None:
    tokens: list[tuple[int, float] | Break] = [
        Break() if token is None else (token, float(number)) for number, token in enumerate(identifiers)
    ]
    chunks = chunk(tokens, COMMA)
    assert [token for found in chunks for token in found.tokens] == [
        token for token in identifiers if token is not None
    ]
    assert [weight for found in chunks for weight in found.weights] == [
        item[1] for item in tokens if isinstance(item, tuple)
    ]
    assert all(len(found.tokens) == len(found.weights) <= LENGTH for found in chunks)
