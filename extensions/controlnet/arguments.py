"""What programs send for A1111's ControlNet extension, as units: the one place that knows its fields and their history.

The fields are those of sd-webui-controlnet's `ControlNetUnit` and of the older names that its clients still send.
Fields that only its page has, and those it does not know either, are ignored as it ignores them. So is
`save_detected_map`: answers hold the images alone, and `/controlnet/detect` makes the maps.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TypeVar

from pydantic import ValidationError

from extensions.controlnet.options import (
    CONTROL_MODES,
    HIRES_OPTIONS,
    MAX_UNITS,
    RESIZE_MODES,
    UNION_TYPES,
    Unit,
)
from extensions.controlnet.preprocessors.catalog import find_preprocessor
from webui.extending.api import BadRequest, EaselError, Preprocessor, Tools

Value = TypeVar("Value", bound=str)

OLDER_NAMES: Mapping[str, str] = MappingProxyType(
    {"input_image": "image", "guidance": "guidance_end", "lowvram": "low_vram", "mask_image": "mask"}
)
OLDER_RESIZE_MODES: Mapping[str, str] = MappingProxyType(
    {
        "inner fit (scale to fit)": "crop",
        "scale to fit (inner fit)": "crop",
        "outer fit (shrink to fit)": "fill",
        "envelope (outer fit)": "fill",
    }
)
NUMBERS: Mapping[str, str] = MappingProxyType(
    {"processor_res": "resolution", "threshold_a": "threshold_a", "threshold_b": "threshold_b"}
)
PLAIN: Mapping[str, str] = MappingProxyType(
    {
        "weight": "weight",
        "guidance_start": "start",
        "guidance_end": "end",
        "pixel_perfect": "pixel_perfect",
        "low_vram": "low_memory",
    }
)
REFUSED: Mapping[str, str] = MappingProxyType(
    {
        "advanced_weighting": "Use weight, start and end.",
        "ipadapter_input": "It would be read by a loader that runs code: send pictures to the IP-Adapter extension.",
        "batch_images": "Send one request for each picture.",
        "loopback": "Use the script Loopback.",
    }
)
IP_ADAPTER = "ip-adapter"
"""How the modules of units begin that are pictures of the extension IP-Adapter, which takes them over."""
HASH = re.compile(r"\s*\[[0-9a-fA-F]{6,64}\]\s*$")


@dataclass(frozen=True)
class Place:
    """Where something was sent: `title` for messages, `field` for programs (empty: the fields stand alone)."""

    title: str
    field: str = ""

    def named(self, name: str) -> str:
        return f"{self.field}.{name}".strip(".")

    def wrong(
        self, name: str, what: str, hint: str = "The fields are those of sd-webui-controlnet's API."
    ) -> BadRequest:
        """Return the error that says `what` is wrong with the field `name`."""
        return BadRequest(
            f"{self.title}{f', {name}' if name else ''}: {what.rstrip('.')}.", hint=hint, field=self.named(name)
        )


def read_arguments(arguments: Sequence[object], tools: Tools) -> Mapping[str, Any]:
    """Return the options that `alwayson_scripts.controlnet.args` mean: one argument for each unit.

    Raises `BadRequest` naming unit and field for what cannot be, `NotFound` for unknown preprocessors.
    """
    if len(arguments) > MAX_UNITS:
        raise BadRequest(
            f"ControlNet got {len(arguments)} units: at most {MAX_UNITS}.",
            hint="Leave some out.",
            field="extensions.controlnet.units",
        )
    return {"units": [_read_unit(number, each, tools).model_dump(mode="json") for number, each in enumerate(arguments)]}


def _read_unit(number: int, given: object, tools: Tools) -> Unit:
    place = Place(f"ControlNet unit {number}", f"extensions.controlnet.units.{number}")
    if given is None:
        return Unit()
    if not isinstance(given, Mapping):
        raise place.wrong("", f"must be an object with the fields of a unit, not {type(given).__name__}")
    fields = _by_present_names(place, given)
    if not fields.get("enabled", True):
        return Unit()
    for name, hint in REFUSED.items():
        if fields.get(name):
            raise BadRequest(f"{place.title}: {name} is not there in Easel.", hint=hint, field=place.named(name))
    module = str(fields.get("module") or "none")
    is_handed_over = module.lower().startswith(IP_ADAPTER)
    wanted = "none" if is_handed_over else module
    preprocessor = find_preprocessor(wanted, place.named("preprocessor"), tools.preprocessors())
    known: dict[str, Any] = {field: fields[name] for name, field in PLAIN.items() if fields.get(name) is not None}
    try:
        return Unit(
            enabled=True,
            preprocessor=module if is_handed_over else preprocessor.name,
            preprocessor_options=read_numbers(fields, preprocessor, place),
            model=_model(fields.get("model")),
            **_pictures(place, fields, tools),
            **_words(place, fields),
            **known,
        )
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]) if first["loc"] else ""
        raise place.wrong(name, f"{first['msg']} (given: {first['input']!r:.60})") from error


def _by_present_names(place: Place, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields under the names that they have today."""
    fields = dict(given)
    for older, present in OLDER_NAMES.items():
        if (value := fields.pop(older, None)) is None:
            continue
        if fields.get(present) not in (None, "", value):
            raise place.wrong(present, f"is given twice, as {older!r} and as {present!r}")
        fields[present] = value
    if fields.get("guessmode") and fields.get("control_mode") is None:
        fields["control_mode"] = "control"
    return fields


def read_numbers(fields: Mapping[str, Any], preprocessor: Preprocessor[Any], place: Place) -> dict[str, float]:
    """Return the options that the preprocessor has.

    Clients send all three numbers for every preprocessor, and -1 or anything out of its limits for "as it is by
    default": sd-webui-controlnet has always read them so.
    """
    options: dict[str, float] = {}
    for name, option in NUMBERS.items():
        value = fields.get(name)
        if option not in preprocessor.options.model_fields or value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise place.wrong(option, f"must be a number, not {value!r:.60}")
        value = round(value) if option == "resolution" and abs(value) < 10**6 else value
        try:
            preprocessor.options.model_validate({option: value})
        except ValidationError:
            continue
        options[option] = value
    return options


def _model(value: object) -> str | None:
    """Return the name of a model; programs add its hash: `name [0123abcd]`."""
    name = HASH.sub("", str(value or "")).strip()
    return None if name.lower() in ("", "none") else name


def _words(place: Place, fields: Mapping[str, Any]) -> dict[str, Any]:
    read: dict[str, Any] = {
        "control_mode": _choose(place, fields, "control_mode", CONTROL_MODES),
        "resize_mode": _choose(place, fields, "resize_mode", RESIZE_MODES, OLDER_RESIZE_MODES),
        "hires": _choose(place, fields, "hr_option", HIRES_OPTIONS),
        "union_type": _choose(place, fields, "union_control_type", UNION_TYPES, {"unknown": ""}),
    }
    return {name: value for name, value in read.items() if value}


def _choose(
    place: Place,
    fields: Mapping[str, Any],
    name: str,
    labels: Mapping[Value, str],
    older: Mapping[str, str] = MappingProxyType({}),
) -> str | None:
    """Return the value that a field means, by its words, its number or Easel's own name; None: it says nothing."""
    given = fields.get(name)
    if given is None or given == "":
        return None
    if isinstance(given, int) and not isinstance(given, bool) and 0 <= given < len(labels):
        return tuple(labels)[given]
    wanted = str(given).strip().lower()
    known: dict[str, str] = dict(older)
    for value, label in labels.items():
        known |= {label.lower(): value, value: value}
    if wanted not in known:
        raise BadRequest(
            f"{place.title}: {name} cannot be {given!r:.60}.",
            hint=f"Use one of: {', '.join(labels.values())}.",
            field=place.named(name),
        )
    return known[wanted]


def _pictures(place: Place, fields: Mapping[str, Any], tools: Tools) -> dict[str, Any]:
    """Store the pictures of a unit and return the references to them.

    The picture is a text, `{"image": …, "mask": …}`, or a list of one of these; `[image, mask]` is a pair.
    """
    image: Any = fields.get("image")
    mask: Any = fields.get("mask")
    if isinstance(image, list | tuple) and len(image) == 2 and not isinstance(image[0], Mapping):
        image, mask = image[0], image[1] or mask
    elif isinstance(image, list | tuple):
        if len(image) > 1:
            raise place.wrong("image", f"must be one picture, not {len(image)}")
        image = image[0] if image else None
    if isinstance(image, Mapping):
        image, mask = image.get("image"), image.get("mask") or mask
    given = {"image": image, "mask": mask, "region": fields.get("effective_region_mask")}
    return {name: store_picture(name, value, tools, place) for name, value in given.items() if value}


def store_picture(name: str, value: object, tools: Tools, place: Place) -> str:
    """Store a picture in base64 and return the reference to it; files and addresses are not opened."""
    if not isinstance(value, str):
        raise place.wrong(name, f"must be a picture in base64, not {type(value).__name__}")
    text = value.partition(",")[2] if value.startswith("data:") else value
    try:
        content = base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise place.wrong(name, "is not base64: files and addresses are not opened") from error
    try:
        return tools.store_picture(content)
    except EaselError as error:
        raise place.wrong(name, f"cannot be read: {error.message}", error.hint) from error
