"""What a program told about a picture, in A1111's words."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

Texts = Mapping[str, str]
"""The texts of an image file by name; A1111's parameters are called `parameters`."""


@dataclass
class Told:
    """Prompts and parameters under A1111's names; `missing` says what else was told and why it has no name there."""

    program: str
    prompt: str = ""
    negative_prompt: str = ""
    parameters: dict[str, str] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)

    def add(self, key: str, value: object) -> None:
        """Note a parameter; what is empty, or neither text nor number, is passed over."""
        text = as_text(value)
        if text:
            self.parameters[key] = text

    def add_size(self, width: object, height: object) -> None:
        if as_text(width) and as_text(height):
            self.parameters["Size"] = f"{as_text(width)}x{as_text(height)}"

    def add_lora(self, name: object, weight: object) -> None:
        """Note a LoRA as A1111 does: by a tag behind the prompt."""
        stem = model_name(name)
        if stem:
            self.prompt = f"{self.prompt} <lora:{stem}:{as_text(weight) or '1'}>".lstrip()

    def add_named(self, content: Mapping[str, Any], names: Mapping[str, str]) -> None:
        """Note the values of `content`; `names` are their names there → A1111's."""
        for name, key in names.items():
            self.add(key, content.get(name))

    def miss(self, what: str, value: object, why: str) -> None:
        """Note what cannot be said in A1111's words."""
        text = as_text(value)
        if text:
            shown = text if len(text) <= 100 else f"{text[:100]}…"
            self.missing.append(f"{what}: {shown} ({why})")


Dialect = Callable[[Texts], "Told | None"]
"""Returns what the texts tell if they are of its program, otherwise None."""


def as_text(value: object) -> str:
    """Return a number or a text as text; everything else is empty."""
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, float):
        whole = math.isfinite(value) and value.is_integer() and abs(value) < 1e15
        return str(int(value)) if whole else str(value)
    if isinstance(value, int):
        return str(value) if value.bit_length() <= 1024 else "a number too large"
    return value.strip() if isinstance(value, str) else ""


def as_number(value: object) -> float | None:
    """Return a number, also one that was written as text."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def model_name(value: object) -> str:
    """Return the name of a model file as A1111 shows it: without the ending, with its folder below the models'."""
    name = as_text(value).replace("\\", "/")
    path = PurePosixPath(name)
    known = (".safetensors", ".ckpt", ".pt", ".pth", ".bin", ".gguf", ".sft")
    return name[: -len(path.suffix)] if path.suffix.lower() in known else name


def as_mapping(value: object) -> Mapping[str, Any]:
    """Return an object of JSON, an empty one for anything else."""
    return value if isinstance(value, dict) else {}


def as_list(value: object) -> list[Any]:
    """Return a list of JSON, an empty one for anything else."""
    return value if isinstance(value, list) else []
