"""JSON out of image files: whatever it is, reading it takes little time and raises nothing."""

from __future__ import annotations

import json
import re
from typing import Any

LONGEST = 4 * 1024 * 1024  # characters
DEEPEST = 100

_MARKS = re.compile(r'\\.|["\[\]{}]', re.DOTALL)


def parse_json(text: str) -> Any:
    """Return the value of a JSON text, None if it is none, or longer or deeper than anything honest."""
    if len(text) > LONGEST or _is_too_deep(text):
        return None
    try:
        value = json.loads(text)
        if "\\ud" in text.lower():  # half of a pair alone is no character, and cannot be sent on
            value = json.loads(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"))
        return value
    except (ValueError, RecursionError):  # also a number with more digits than Python reads
        return None


def _is_too_deep(text: str) -> bool:
    depth, is_inside = 0, False
    for mark in _MARKS.finditer(text):
        character = mark[0]
        if character == '"':
            is_inside = not is_inside
        elif not is_inside and character in "[{":
            depth += 1
            if depth > DEEPEST:
                return True
        elif not is_inside and character in "]}":
            depth -= 1
    return False
