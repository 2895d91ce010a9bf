"""Comments in prompts: `#` and what follows it in its line are notes to oneself."""

from __future__ import annotations

import re

_WHOLE_LINE = re.compile(r"(?:^|\n)#[^\n]*(?:\n|$)")
_REST_OF_LINE = re.compile(r"#[^\n]*(?:\n|$)")


def strip_comments(prompt: str) -> str:
    """Return `prompt` without its comments; a line that is nothing else goes as a whole (as in A1111)."""
    return _REST_OF_LINE.sub("\n", _WHOLE_LINE.sub("\n", prompt)) if "#" in prompt else prompt
