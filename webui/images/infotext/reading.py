"""What a text says about an image, as a request for the same one."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from pydantic import ValidationError

from webui.domain.frozen import Data
from webui.domain.request import GenerationRequest
from webui.domain.sampling import find_sampler, find_schedule, split_combined
from webui.domain.sampling_options import SamplingOptions, Variation
from webui.domain.start import FromMaskedImage
from webui.errors import NotFound
from webui.images.infotext.grammar import split
from webui.images.infotext.names import CONTENT_NAMES, NOT_MASKED, ONLY_MASKED, SAMPLING_NAMES, VARIATION_NAMES

LONGEST_SHOWN = 100  # characters of a value in a message


class ReadInfotext(Data):
    """`fields`: every parameter as text. `request`: those that can be asked for here. `start`: those of img2img and
    inpainting, under the names of `FromMaskedImage` (the picture itself is not in a text). `unmapped`: the others,
    each with the reason."""

    fields: dict[str, str]
    request: GenerationRequest
    start: dict[str, Any]
    unmapped: tuple[str, ...]


def read(text: str) -> ReadInfotext:
    """Return what `text` says; for any text, in time linear in its length."""
    prompt, negative_prompt, fields = split(text)
    reading = _Reading(fields)
    reading.offer("prompt", prompt, "Prompt", prompt)
    reading.offer("negative_prompt", negative_prompt, "Negative prompt", negative_prompt)
    reading.read_all()
    return ReadInfotext(fields=fields, request=reading.request, start=reading.start, unmapped=tuple(reading.unmapped))


class _Refused(Exception):
    """A parameter has a value that cannot be asked for; the message says why."""


class _Reading:
    """Collects the request from the parameters, one field at a time, so that a bad one harms no other."""

    def __init__(self, fields: Mapping[str, str]) -> None:
        self._fields = fields
        self.request = GenerationRequest()
        self.start: dict[str, Any] = {}
        self.unmapped: list[str] = []

    def read_all(self) -> None:
        self._read_model()
        for key, value in self._fields.items():
            if key in _READERS:
                self._read_with(_READERS[key], key, value)
            elif key in SAMPLING_NAMES:
                self._read_part("sampling", SamplingOptions, {SAMPLING_NAMES[key]: value}, key, value)
            elif key in VARIATION_NAMES:
                self._read_part("variation", Variation, {VARIATION_NAMES[key]: value}, key, value)
            elif key == "Seed resize from":
                self._read_seed_resize(key, value)
            elif key in _START_READERS and not self._is_about_hires(key):
                self._read_start(*_START_READERS[key], key, value)
            elif key not in _INFORMATION:
                self._refuse(key, value, "not used here")
        if "Sampler" in self._fields and "Schedule type" not in self._fields and self.request.schedule is None:
            self.offer("schedule", "Automatic", "Schedule type", "Automatic")  # as A1111 reads its texts before 1.9

    def offer(self, name: str, content: object, key: str, value: str) -> None:
        """Put `content` into the request's field `name` if it is valid there."""
        try:
            self.request = self.request.replace(**{name: content})
        except ValidationError as error:
            self._refuse(key, value, error.errors()[0]["msg"])

    def _read_with(self, reader: Callable[[str], Mapping[str, object]], key: str, value: str) -> None:
        try:
            contents = reader(value)
        except _Refused as refusal:
            self._refuse(key, value, str(refusal))
            return
        for name, content in contents.items():
            self.offer(name, content, key, value)

    def _read_part(
        self,
        name: str,
        kind: type[SamplingOptions] | type[Variation],
        contents: Mapping[str, str],
        key: str,
        value: str,
    ) -> None:
        """Put `contents` into the part of the request called `name`."""
        before = dict(getattr(self.request, name) or kind())
        try:
            part = kind.model_validate({**before, **contents})
        except ValidationError as error:
            self._refuse(key, value, error.errors()[0]["msg"])
        else:
            self.offer(name, part, key, value)

    def _read_seed_resize(self, key: str, value: str) -> None:
        match = _SIZE.fullmatch(value)
        if match is None:
            self._refuse(key, value, "not a size such as 512x768")
        else:
            contents = {"resize_from_width": match[1], "resize_from_height": match[2]}
            self._read_part("variation", Variation, contents, key, value)

    def _is_about_hires(self, key: str) -> bool:
        """The strength is written under one name for img2img and for the second pass of txt2img."""
        return key == "Denoising strength" and any(name.startswith("Hires") for name in self._fields)

    def _read_start(self, name: str, meanings: Mapping[str, object], key: str, value: str) -> None:
        """Put a parameter of img2img into `start`; `meanings` are the texts that stand for values, if there are any."""
        content = meanings.get(value) if meanings else value
        try:
            options = FromMaskedImage.model_validate({**_EXAMPLE_OF_START, name: content})
        except ValidationError as error:
            self._refuse(key, value, error.errors()[0]["msg"])
        else:
            self.start[name] = getattr(options, name)

    def _read_model(self) -> None:
        name, short_hash = self._fields.get("Model", ""), self._fields.get("Model hash", "")
        if short_hash and not re.fullmatch(r"[0-9a-fA-F]{10}|[0-9a-fA-F]{64}", short_hash):
            self._refuse("Model hash", short_hash, "not the beginning of a SHA-256")
            short_hash = ""
        if name:
            self.offer("model", f"{name} [{short_hash}]" if short_hash else name, "Model", name)
        elif short_hash:
            self.offer("model", short_hash, "Model hash", short_hash)

    def _refuse(self, key: str, value: str, reason: str) -> None:
        shown = value if len(value) <= LONGEST_SHOWN else f"{value[:LONGEST_SHOWN]}…"
        self.unmapped.append(f"{key}: {shown} ({reason})")


def _read_whole(name: str) -> Callable[[str], Mapping[str, object]]:
    def reader(value: str) -> Mapping[str, object]:
        if not re.fullmatch(r"[+-]?[0-9]{1,20}", value):
            raise _Refused("not a whole number")
        return {name: int(value)}

    return reader


def _read_guidance(value: str) -> Mapping[str, object]:
    if not re.fullmatch(r"[+-]?(?:[0-9]{1,20}(?:\.[0-9]{0,40})?|\.[0-9]{1,40})(?:[eE][+-]?[0-9]{1,3})?", value):
        raise _Refused("not a number")
    number = float(value)
    if not math.isfinite(number):
        raise _Refused("not a finite number")
    return {"guidance": number}


_SIZE = re.compile(r"([0-9]{1,6})x([0-9]{1,6})")


def _read_size(value: str) -> Mapping[str, object]:
    match = _SIZE.fullmatch(value)
    if match is None:
        raise _Refused("not a size such as 512x768")
    size = {"width": int(match[1]), "height": int(match[2])}
    try:
        GenerationRequest(**size)  # both or none: half a size would change the picture's shape
    except ValidationError as error:
        raise _Refused(error.errors()[0]["msg"]) from error
    return size


def _read_sampler(value: str) -> Mapping[str, object]:
    sampler, schedule = split_combined(value)
    try:
        found = {"sampler": find_sampler(sampler).name}
    except NotFound as error:
        raise _Refused("no such sampler here") from error
    return found if sampler == value else {**found, "schedule": schedule}


def _read_schedule(value: str) -> Mapping[str, object]:
    try:
        return {"schedule": find_schedule(value).label}
    except NotFound as error:
        raise _Refused("no such schedule here") from error


_READERS: Mapping[str, Callable[[str], Mapping[str, object]]] = MappingProxyType(
    {
        "Steps": _read_whole("steps"),
        "Sampler": _read_sampler,
        "Schedule type": _read_schedule,
        "CFG scale": _read_guidance,
        "Seed": _read_whole("seed"),
        "Size": _read_size,
        "Clip skip": _read_whole("clip_skip"),
        "Emphasis": lambda value: {"emphasis": value},
    }
)

_EXAMPLE_OF_START: Mapping[str, object] = MappingProxyType({"images": ("0" * 64,), "mask": "0" * 64})

_START_READERS: Mapping[str, tuple[str, Mapping[str, object]]] = MappingProxyType(
    {
        "Denoising strength": ("strength", {}),
        "Mask blur": ("mask_blur", {}),
        "Mask mode": ("invert", {NOT_MASKED: True, "Inpaint masked": False}),
        "Inpaint area": ("area", {ONLY_MASKED: "masked", "Whole picture": "whole"}),
        "Masked area padding": ("padding", {}),
        "Masked content": ("content", {text: content for content, text in CONTENT_NAMES.items()}),
        "Soft inpainting enabled": ("soft", {"True": True, "False": False}),
    }
)
"""Parameter → field of `FromMaskedImage` and the texts that stand for its values."""

_INFORMATION = frozenset({"Template", "Negative Template", "Model", "Model hash", "Version"})
"""Parameters that need no reader of their own: the model is read as a whole, the version changes nothing."""
