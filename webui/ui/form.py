"""Binds components to the fields of one pydantic model by name, so that page and API speak of the same request."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from gradio.components import Component
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from webui.domain.frozen import Data

Model = TypeVar("Model", bound=Data)

PARTS = "parts"
"""A form's field for all that has no component of its own: the scripts write the parts of the model there, as JSON."""


@dataclass(frozen=True)
class Problem:
    """Why a form could not be read. `text` is a key of the locales and may contain `{limit}`."""

    field: str
    text: str
    limit: object = None


class FormError(Exception):
    """The form holds values the model does not allow."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("; ".join(f"{problem.field}: {problem.text}" for problem in problems))
        self.problems = problems


@dataclass(frozen=True)
class Form(Generic[Model]):
    """Components by field name of `model`. A name the model does not have fails when the page is built."""

    model: type[Model]
    components: dict[str, Component] = field(default_factory=dict)

    def bind(self, **components: Component) -> None:
        unknown = components.keys() - self.model.model_fields.keys() - {PARTS}
        twice = components.keys() & self.components.keys()
        if unknown or twice:
            raise ValueError(
                f"{self.model.__name__} has no field {sorted(unknown)}" if unknown else f"Bound twice: {sorted(twice)}"
            )
        self.components.update(components)

    def read(self, values: Mapping[str, Any]) -> Model:
        """Return the model made of raw component values; raise `FormError` naming each field at fault."""
        given = {name: value for name, value in values.items() if name != PARTS and value not in (None, "")}
        try:
            return self.model(**{**given, **read_parts(values.get(PARTS))})
        except ValidationError as error:
            raise FormError(tuple(explain(details) for details in error.errors())) from error

    def show(self, values: Mapping[str, Any]) -> dict[Component, Any]:
        """Return component → value for the fields that have one; the others keep what they show."""
        return {self.components[name]: value for name, value in values.items() if name in self.components}

    def element_ids(self) -> dict[str, str]:
        """Return field → element id, for the scripts that put a message at a field."""
        return {name: str(component.elem_id) for name, component in self.components.items()}

    def labels(self) -> dict[str, str]:
        """Return field → label (a key of the locales)."""
        return {name: getattr(component.label, "key", name) for name, component in self.components.items()}


def read_parts(text: str | None) -> dict[str, Any]:
    """Return the parts of the model that the field `PARTS` holds; nothing for an empty one."""
    try:
        parts = json.loads(text or "{}")
    except (ValueError, RecursionError):
        parts = None
    if not isinstance(parts, dict):
        raise FormError((Problem(PARTS, "The page is broken: reload it"),))
    return parts


LIMITS = {
    "greater_than_equal": ("must be at least {limit}", "ge"),
    "less_than_equal": ("must be at most {limit}", "le"),
    "multiple_of": ("must be a multiple of {limit}", "multiple_of"),
    "string_too_long": ("must be at most {limit} characters long", "max_length"),
}


def explain(details: ErrorDetails) -> Problem:
    """Return what is wrong in words a user knows."""
    name = ".".join(str(part) for part in details["loc"])
    kind = details["type"]
    if kind == "missing":
        return Problem(name, "must be chosen")
    if kind in LIMITS:
        text, key = LIMITS[kind]
        return Problem(name, text, details.get("ctx", {}).get(key))
    if kind.startswith("int"):
        return Problem(name, "must be a whole number")
    if kind.startswith(("float", "finite")):
        return Problem(name, "must be a number")
    return Problem(name, details["msg"])
