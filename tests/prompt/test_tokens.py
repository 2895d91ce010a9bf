"""How many tokens a prompt takes up, with one token per word and per sign."""

from __future__ import annotations

import re

import pytest

from webui.domain.plan import EmphasisMode
from webui.prompt.tokens import count_tokens, limit


def encode(text: str) -> list[int]:
    return [0 if word == "," else 1 for word in re.findall(r"\w+|[^\w\s]", text)]


def count(prompt: str, emphasis: EmphasisMode = "Original", backtrack: int = 20) -> int:
    return count_tokens(prompt, 20, encode, 0, emphasis, backtrack)


@pytest.mark.parametrize(
    ("prompt", "tokens"),
    [
        ("", 0),
        ("a cat", 2),
        ("a (cat:1.3), [dog]", 4),
        ("a cat BREAK a dog", 77),
        ("a cat BREAK", 2),
        ("word " * 75, 75),
        ("word " * 76, 76),
        ("word " * 60 + ", " + "tail " * 20, 95),
        ("a [cat:big old dog:5] sat", 5),
        ("a [cat|big dog] sat", 4),
        ("a cat AND a big dog :0.5", 3),
        ("a cat <lora:fur:1>", 2),
    ],
)
def test_count(prompt: str, tokens: int) -> None:
    assert count(prompt) == tokens


def test_without_emphasis_brackets_count() -> None:
    assert count("(a:2) BREAK", "None") == 6
    assert count("(a:2)", "Ignore") == 1


def test_without_the_comma_rule_nothing_moves() -> None:
    assert count("word " * 60 + ", " + "tail " * 20, backtrack=0) == 81


@pytest.mark.parametrize(("tokens", "most"), [(0, 75), (1, 75), (75, 75), (76, 150), (151, 225)])
def test_limit(tokens: int, most: int) -> None:
    assert limit(tokens) == most
