"""What programs send in `alwayson_scripts`: one object for each picture, as its options are called."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from typing import Any

from webui.extending.api import BadRequest, EaselError, Tools

WHOLE = ("combination", "negative")
"""Options that are not those of one picture; any object may have them."""
_PICTURES = ("image", "region", "negative")
_REFERENCE = re.compile(r"[0-9a-f]{64}")


def read_arguments(arguments: Sequence[object], tools: Tools) -> Mapping[str, Any]:
    """Return the options that arguments mean; pictures are base64, data URLs, or references to stored ones.

    Raises `BadRequest` for what is no object and for pictures that cannot be read.
    """
    options: dict[str, Any] = {"pictures": []}
    for number, each in enumerate(arguments):
        if not isinstance(each, Mapping):
            raise _wrong(number, f"must be an object with the options of a picture, not {type(each).__name__}")
        said = {name: _store(number, value, tools) if name in _PICTURES else value for name, value in each.items()}
        options |= {name: said.pop(name) for name in WHOLE if name in said}
        if said:
            options["pictures"].append({"enabled": True, **said})
    return options


def _store(number: int, value: object, tools: Tools) -> object:
    if not isinstance(value, str) or not value:
        return None
    if _REFERENCE.fullmatch(value):
        return value
    text = value.partition(",")[2] if value.startswith("data:") else value
    try:
        return tools.store_picture(base64.b64decode("".join(text.split()), validate=True))
    except (binascii.Error, ValueError) as error:
        raise _wrong(number, "its picture is not base64: files and addresses are not opened") from error
    except EaselError as error:
        raise _wrong(number, f"its picture cannot be read: {error.message}") from error


def _wrong(number: int, problem: str) -> BadRequest:
    return BadRequest(
        f"IP-Adapter, argument {number}: {problem.rstrip('.')}.",
        hint="Send objects with image, model, weight, start, end, region.",
        field=f"extensions.ip_adapter.pictures.{number}",
    )
