"""The second pass and the refiner in the parameters, also in the words of A1111's first versions."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

from pydantic import ValidationError

from webui.domain.passes import Hires, Refiner
from webui.images.infotext.names import HIRES_STRENGTH
from webui.images.infotext.values import (
    Reader,
    Refused,
    as_number,
    as_sampler,
    as_schedule,
    as_whole,
    reason,
    size_of,
)

FIRST_PASS = "First pass size"
OLD_PIXELS = 512 * 512  # of the first pass, where its size was left to A1111
OLD_MULTIPLE = 64

ENABLING = frozenset({"Hires upscale", "Hires upscaler", "Hires resize"})
"""A text with one of them is about a picture of two passes (A1111's rule)."""

Refuse = Callable[[str, str, str], None]
"""Takes a parameter, its value and the reason."""


def _as_text(name: str, *, same: str = "") -> Reader:
    """Return the reader of a text for the field `name`; `same` stands for: as in the first pass."""
    return lambda value: {name: None if value == same else value}


def _as_resize(value: str) -> Mapping[str, object]:
    """`1024x0`: the other side follows."""
    width, height = size_of(value)
    return {"width": width or None, "height": height or None}


def _as_steps(value: str) -> Mapping[str, object]:
    return {"steps": as_whole("steps")(value)["steps"] or None}


def _as_sampler(value: str) -> Mapping[str, object]:
    return {} if value == "Use same sampler" else as_sampler(value)


def _as_schedule(value: str) -> Mapping[str, object]:
    return {} if value == "Use same scheduler" else as_schedule(value)


_READERS: Mapping[str, Reader] = MappingProxyType(
    {
        "Hires upscale": lambda value: {"scale": value},
        "Hires resize": _as_resize,
        "Hires steps": _as_steps,
        "Hires upscaler": _as_text("upscaler"),
        "Hires checkpoint": _as_text("model", same="Use same checkpoint"),
        "Hires sampler": _as_sampler,
        "Hires schedule type": _as_schedule,
        "Hires prompt": lambda value: {"prompt": value},
        "Hires negative prompt": lambda value: {"negative_prompt": value},
        "Hires CFG Scale": as_number("guidance"),
        "Denoising strength": lambda value: {"strength": value},
        HIRES_STRENGTH: lambda value: {"strength": value},
    }
)

HIRES_KEYS = frozenset(_READERS) - {"Denoising strength"}
REFINER_KEYS = frozenset({"Refiner", "Refiner switch at"})


def is_hires(fields: Mapping[str, str]) -> bool:
    """Tell whether the parameters are those of a picture made in two passes."""
    return any(key in fields for key in ENABLING)


def read_hires(fields: Mapping[str, str], refuse: Refuse) -> Hires:
    """Return the second pass of parameters that have one; what is wrong in them goes to `refuse`."""
    hires = Hires()
    for key, reader in _READERS.items():
        if key not in fields or (key == "Denoising strength" and HIRES_STRENGTH in fields):
            continue
        try:
            hires = hires.replace(**reader(fields[key]))
        except Refused as refusal:
            refuse(key, fields[key], str(refusal))
        except ValidationError as error:
            refuse(key, fields[key], reason(error))
    if hires.sampler and hires.schedule is None and "Schedule type" not in fields:
        return hires.replace(schedule="Automatic")  # before 1.9 a sampler's name told its schedule
    return hires


def read_refiner(fields: Mapping[str, str], refuse: Refuse) -> Refiner | None:
    """Return the refiner of the parameters, None if they name none."""
    if "Refiner" not in fields:
        if "Refiner switch at" in fields:
            refuse("Refiner switch at", fields["Refiner switch at"], "no refiner is named")
        return None
    refiner = Refiner(model=fields["Refiner"])
    if "Refiner switch at" not in fields:
        return refiner
    try:
        return Refiner.model_validate({"model": refiner.model, "switch_at": fields["Refiner switch at"]})
    except ValidationError as error:
        refuse("Refiner switch at", fields["Refiner switch at"], reason(error))
        return refiner


def modernised(fields: Mapping[str, str], refuse: Refuse) -> Mapping[str, str]:
    """Return the parameters with A1111's first form of two passes put as the later one.

    There `Size` was the finished picture's, and `First pass size` 0x0 meant: about as many pixels as a square of 512.
    """
    if FIRST_PASS not in fields or "Size" not in fields:
        return fields
    others = {key: value for key, value in fields.items() if key != FIRST_PASS}
    try:
        width, height = size_of(fields[FIRST_PASS])
        finished = size_of(fields["Size"])
        if not width or not height:
            width, height = _old_first_pass(*finished)
    except Refused as refusal:
        refuse(FIRST_PASS, fields[FIRST_PASS], str(refusal))
        return others
    return {**others, "Size": f"{width}x{height}", "Hires resize": f"{finished[0]}x{finished[1]}"}


def _old_first_pass(width: int, height: int) -> tuple[int, int]:
    if not width or not height:
        raise Refused("not a size such as 512x768")
    scale = math.sqrt(OLD_PIXELS / (width * height)) / OLD_MULTIPLE
    return math.ceil(scale * width) * OLD_MULTIPLE, math.ceil(scale * height) * OLD_MULTIPLE
