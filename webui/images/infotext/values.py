"""The value of a parameter → what a request holds."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping

from pydantic import ValidationError

from webui.domain.request import GenerationRequest
from webui.domain.sampling import find_sampler, find_schedule, split_combined
from webui.errors import NotFound

Reader = Callable[[str], Mapping[str, object]]
"""Returns field → content; raises `Refused`."""

_SIZE = re.compile(r"([0-9]{1,6})x([0-9]{1,6})")


class Refused(Exception):
    """A parameter has a value that cannot be asked for; the message says why."""


def as_whole(name: str) -> Reader:
    """Return the reader of a whole number for the field `name`."""

    def reader(value: str) -> Mapping[str, object]:
        if not re.fullmatch(r"[+-]?[0-9]{1,20}", value):
            raise Refused("not a whole number")
        return {name: int(value)}

    return reader


def as_number(name: str) -> Reader:
    """Return a reader of a finite number for the request's field `name`."""

    def reader(value: str) -> Mapping[str, object]:
        if not re.fullmatch(r"[+-]?(?:[0-9]{1,20}(?:\.[0-9]{0,40})?|\.[0-9]{1,40})(?:[eE][+-]?[0-9]{1,3})?", value):
            raise Refused("not a number")
        number = float(value)
        if not math.isfinite(number):
            raise Refused("not a finite number")
        return {name: number}

    return reader


def size_of(value: str) -> tuple[int, int]:
    """Return width and height of a size such as `512x768`."""
    match = _SIZE.fullmatch(value)
    if match is None:
        raise Refused("not a size such as 512x768")
    return int(match[1]), int(match[2])


def as_size(value: str) -> Mapping[str, object]:
    width, height = size_of(value)
    try:
        GenerationRequest(width=width, height=height)  # both or none: half a size would change the picture's shape
    except ValidationError as error:
        raise Refused(reason(error)) from error
    return {"width": width, "height": height}


def as_sampler(value: str) -> Mapping[str, object]:
    """An old name such as `DPM++ 2M Karras` is a sampler and a schedule."""
    sampler, schedule = split_combined(value)
    try:
        found = {"sampler": find_sampler(sampler).name}
    except NotFound as error:
        raise Refused("no such sampler here") from error
    return found if sampler == value else {**found, "schedule": schedule}


def as_schedule(value: str) -> Mapping[str, object]:
    try:
        return {"schedule": find_schedule(value).label}
    except NotFound as error:
        raise Refused("no such schedule here") from error


def as_tiling(value: str) -> Mapping[str, object]:
    if value in ("x", "y"):
        return {"tiling": value}
    return {"tiling": "none" if value == "False" else "both"}


def reason(error: ValidationError) -> str:
    return error.errors()[0]["msg"]
