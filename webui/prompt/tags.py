"""Extra-network tags such as `<lora:name:0.8>`: they switch something on and are no words of the prompt."""

from __future__ import annotations

import re
from dataclasses import dataclass

_TAG = re.compile(r"<(\w+):([^>]+)>")


@dataclass(frozen=True)
class Tag:
    """`<kind:argument:name=argument>` in parts: by place, and by name as typed."""

    kind: str
    arguments: tuple[str, ...]
    named: tuple[tuple[str, str], ...] = ()


def extract(prompt: str) -> tuple[str, tuple[Tag, ...]]:
    """Return `prompt` without its tags, and the tags in order; in time linear in its length."""
    end = prompt.rfind(">") + 1  # behind it no tag can end, and looking for one at each `<` would be slow
    tags = tuple(_read(match) for match in _TAG.finditer(prompt, 0, end))
    return _TAG.sub("", prompt[:end]) + prompt[end:], tags


def _read(match: re.Match[str]) -> Tag:
    items = [item.partition("=") for item in match[2].split(":")]
    return Tag(
        kind=match[1],
        arguments=tuple(name for name, equals, _ in items if not equals),
        named=tuple((name, value) for name, equals, value in items if equals),
    )
