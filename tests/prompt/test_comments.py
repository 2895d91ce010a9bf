"""Comments leave the prompt, and nothing else does."""

from __future__ import annotations

import pytest

from webui.prompt.comments import strip_comments


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("a cat", "a cat"),
        ("a cat\nsat", "a cat\nsat"),
        ("a cat\n# not a dog\nsat", "a cat\nsat"),
        ("a cat # not a dog\nsat", "a cat \nsat"),
        ("# first\na cat", "\na cat"),
        ("a cat #1", "a cat \n"),
        ("#", "\n"),
    ],
)
def test_strip_comments(prompt: str, expected: str) -> None:
    assert strip_comments(prompt) == expected
