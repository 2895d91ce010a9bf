"""A1111's value lists."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extensions.xyz_plot.values import fractions, join_list, orders, split_list, whole_numbers
from webui.domain.request import MAX_IMAGES
from webui.errors import BadRequest


@pytest.mark.parametrize(
    ("text", "items"),
    [
        ("", []),
        ("a, b ,c", ["a", "b", "c"]),
        ('"a, b", c', ["a, b", "c"]),
        ("a\nb, c", ["a", "b", "c"]),
        ('"say ""no""", b', ['say "no"', "b"]),
        ("a,,b", ["a", "", "b"]),
    ],
)
def test_lists_are_split_at_commas_outside_of_quotes(text: str, items: list[str]) -> None:
    assert split_list(text) == items


@given(st.lists(st.text(st.characters(exclude_categories=["Cs", "Cc"])).map(str.strip), min_size=2))
def test_a_joined_list_is_split_into_the_same(items: list[str]) -> None:
    assert split_list(join_list(items)) == items


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("7", [7]),
        ("-1", [-1]),
        ("1-5", [1, 2, 3, 4, 5]),
        ("1 - 3", [1, 2, 3]),
        ("1-10 (+2)", [1, 3, 5, 7, 9]),
        ("10-1 (-3)", [10, 7, 4, 1]),
        ("-3--1", [-3, -2, -1]),
        ("1-10 [5]", [1, 3, 5, 7, 10]),
        ("1-10 [1]", [1]),
        ("1-3, 10, 20-22", [1, 2, 3, 10, 20, 21, 22]),
    ],
)
def test_whole_numbers(text: str, values: list[int]) -> None:
    assert whole_numbers(split_list(text), "Steps") == values


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("7.5", [7.5]),
        (".5", [0.5]),
        ("1-3", [1, 2, 3]),
        ("0-1 (+0.25)", [0, 0.25, 0.5, 0.75, 1]),
        ("0.1-0.5 (+0.1)", [0.1, 0.2, 0.3, 0.4, 0.5]),
        ("1-0 (-0.5)", [1, 0.5, 0]),
        ("0-1 [3]", [0, 0.5, 1]),
        ("7-9 [2], 11", [7, 9, 11]),
    ],
)
def test_fractions(text: str, values: list[float]) -> None:
    assert fractions(split_list(text), "CFG Scale") == values


@pytest.mark.parametrize(
    "text", ["many", "1.5", "1-2-3", "5-1", "1-5 (+0)", "1-5 (-1)", "1-5 [0]", "1e3", "1-99999999"]
)
def test_what_is_no_list_of_whole_numbers_is_refused(text: str) -> None:
    with pytest.raises(BadRequest, match="Steps") as caught:
        whole_numbers(split_list(text), "Steps")
    assert caught.value.hint


@pytest.mark.parametrize("text", ["many", "nan", "inf", "1-2-3", "5-1", "0-1 (+0.0)", "0-1 (+0.0000001)"])
def test_what_is_no_list_of_numbers_is_refused(text: str) -> None:
    with pytest.raises(BadRequest, match="Eta"):
        fractions(split_list(text), "Eta")


@given(st.text("0123456789+-.()[] ", max_size=40))
def test_any_text_is_a_list_or_refused(text: str) -> None:
    for read in (whole_numbers, fractions):
        try:
            values = read([text], "Axis")
        except BadRequest:
            continue
        assert 0 < len(values) <= MAX_IMAGES


def test_orders_are_all_of_them_and_not_too_many() -> None:
    assert set(orders(["a", "b", "c"], "Prompt order")) == {
        ("a", "b", "c"), ("a", "c", "b"), ("b", "a", "c"), ("b", "c", "a"), ("c", "a", "b"), ("c", "b", "a"),
    }  # fmt: skip
    with pytest.raises(BadRequest, match="orders"):
        orders(["word"] * 7, "Prompt order")
