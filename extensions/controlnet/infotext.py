"""Units in the infotext, as sd-webui-controlnet writes them: `ControlNet 0: "Module: canny, Model: …, …"`."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from pydantic import ValidationError

from extensions.controlnet.arguments import HASH, OLDER_RESIZE_MODES
from extensions.controlnet.options import (
    CONTROL_MODES,
    HIRES_OPTIONS,
    MAX_UNITS,
    RESIZE_MODES,
    UNION_TYPES,
    Unit,
)
from extensions.controlnet.preprocessors.catalog import find_preprocessor, unit_options
from extensions.controlnet.preprocessors.weightless import AnyPreprocessor
from webui.extending.api import Infotext, NotFound

PREFIX = "ControlNet "
UNIT = re.compile(r"ControlNet (\d{1,2})")
ITEM = re.compile(r'\s*([A-Za-z][A-Za-z /]*?)\s*:\s*("(?:[^"\\]|\\.)*"|\([^)]*\)|[^,]*)\s*(?:,|$)')
OPTIONS: Mapping[str, str] = MappingProxyType(
    {"Processor Res": "resolution", "Threshold A": "threshold_a", "Threshold B": "threshold_b", "Seed": "seed"}
)


def write_unit(number: int, unit: Unit, model: str | None, others: Sequence[AnyPreprocessor] = ()) -> Mapping[str, str]:
    """Return the parameter that says what unit `number` did; `model` is the network's name, with its hash if known.

    Raises what `unit_options` raises.
    """
    options = unit_options(number, unit, others)
    preprocessor = find_preprocessor(unit.preprocessor, others=others)
    said: dict[str, object] = {
        "Module": preprocessor.name,
        "Model": model or "None",
        "Weight": unit.weight,
        "Resize Mode": RESIZE_MODES[unit.resize_mode],
        **{title: options[name] for title, name in OPTIONS.items() if name in options},
        "Guidance Start": unit.start,
        "Guidance End": unit.end,
        "Pixel Perfect": unit.pixel_perfect,
        "Control Mode": CONTROL_MODES[unit.control_mode],
        "Hr Option": HIRES_OPTIONS[unit.hires],
    }
    if unit.union_type is not None:
        said["Union Control Type"] = UNION_TYPES[unit.union_type]
    return {f"{PREFIX}{number}": ", ".join(f"{name}: {_text(value)}" for name, value in said.items())}


def _text(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.10g}"
    text = str(value)
    return json.dumps(text, ensure_ascii=False) if re.search(r'[,:"()]', text) else text


def read_units(parameters: Mapping[str, str]) -> Mapping[str, Any] | None:
    """Return the options that an infotext tells, None where it tells none. What cannot be understood is left out.

    Pictures are not in an infotext: a unit that had one needs it again.
    """
    units = {}
    for key, text in parameters.items():
        found = UNIT.fullmatch(key.strip())
        if found and int(found[1]) < MAX_UNITS and (unit := _read_unit(text)):
            units[int(found[1])] = unit
    if not units:
        return None
    return {"units": [units.get(number, Unit()).model_dump(mode="json") for number in range(max(units) + 1)]}


def _read_unit(text: str) -> Unit | None:
    said = {name.lower(): _plain(value) for name, value in ITEM.findall(text)}
    name = said.get("module", said.get("preprocessor"))
    if name is None:
        return None
    said |= _older(said)
    fields: dict[str, Any] = {
        "preprocessor": _module(name),
        "model": _model(said.get("model")),
        "weight": said.get("weight"),
        "start": said.get("guidance start"),
        "end": said.get("guidance end"),
        "pixel_perfect": said.get("pixel perfect"),
        "control_mode": _value(said.get("control mode"), CONTROL_MODES),
        "resize_mode": _value(said.get("resize mode"), RESIZE_MODES, OLDER_RESIZE_MODES),
        "hires": _value(said.get("hr option"), HIRES_OPTIONS),
        "union_type": _value(said.get("union control type"), UNION_TYPES),
        "preprocessor_options": _options(name, said),
    }
    unit = Unit(enabled=True)
    for field, value in fields.items():
        if value is not None:
            unit = _with(unit, field, value)
    return unit


def _with(unit: Unit, field: str, value: object) -> Unit:
    try:
        return unit.replace(**{field: value})
    except ValidationError:
        return unit


def _plain(value: str) -> str:
    value = value.strip()
    if len(value) > 1 and value.startswith('"') and value.endswith('"'):
        try:
            return str(json.loads(value))
        except ValueError:
            return value[1:-1]
    return value


def _older(said: Mapping[str, str]) -> dict[str, str]:
    """Return what versions before 1.1.4 wrote as pairs, under today's names."""
    names = {
        "starting/ending": ("guidance start", "guidance end"),
        "preprocessor params": ("processor res", "threshold a", "threshold b"),
    }
    return {
        present: value.strip()
        for older, presents in names.items()
        if older in said
        for present, value in zip(presents, said[older].strip("()").split(","), strict=False)
    }


def _module(name: str) -> str:
    """Return Easel's name for a preprocessor; one that is not there keeps its own, so that the user hears of it."""
    try:
        return find_preprocessor(name).name
    except NotFound:
        return name


def _model(name: str | None) -> str | None:
    plain = HASH.sub("", name or "").strip()
    return plain if plain.lower() not in ("", "none") else None


def _value(given: str | None, labels: Mapping[Any, str], older: Mapping[str, str] = MappingProxyType({})) -> str | None:
    wanted = (given or "").lower()
    return next((value for value, label in labels.items() if label.lower() == wanted), older.get(wanted))


def _options(name: str, said: Mapping[str, str]) -> dict[str, float]:
    """Return the options of the preprocessor that are numbers within its limits."""
    try:
        known = find_preprocessor(name).options
    except NotFound:
        return {}
    options: dict[str, float] = {}
    for title, option in OPTIONS.items():
        if option in known.model_fields and title.lower() in said:
            try:
                options[option] = getattr(known.model_validate({option: said[title.lower()]}), option)
            except ValidationError:
                continue
    return options


INFOTEXT = Infotext(read=read_units, prefixes=(PREFIX,))
