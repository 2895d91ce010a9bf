"""What a text says about an image, as a request for the same one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from pydantic import ValidationError

from webui.domain.frozen import Data
from webui.domain.passes import GuidanceOptions
from webui.domain.plan import SamplingPlan
from webui.domain.request import GenerationRequest
from webui.domain.sampling import find_sampler
from webui.domain.sampling_options import SamplingOptions, Variation
from webui.domain.start import FromExtendedImage, FromMaskedImage, FromTiles
from webui.images.infotext.grammar import split
from webui.images.infotext.names import (
    CONTENT_NAMES,
    GUIDING_NAMES,
    MODULE,
    NOT_MASKED,
    OLD_NAMES,
    ONLY_MASKED,
    OUTPAINTING_NAMES,
    OWN_VERSION,
    RESIZE_NAMES,
    SAMPLING_NAMES,
    TILES_NAMES,
    VARIATION_NAMES,
)
from webui.images.infotext.passes import HIRES_KEYS, REFINER_KEYS, is_hires, modernised, read_hires, read_refiner
from webui.images.infotext.unmapped import INFORMATION, why_unmapped
from webui.images.infotext.values import (
    Reader,
    Refused,
    as_number,
    as_sampler,
    as_schedule,
    as_size,
    as_tiling,
    as_whole,
    reason,
    size_of,
)

LONGEST_SHOWN = 100  # characters of a value in a message


class ReadInfotext(Data):
    """`fields`: every parameter as text. `request`: those that can be asked for here. `start`: those of img2img,
    inpainting, outpainting and tiles, under the names of `domain.start` (the picture itself is not in a text; `kind`
    is given for the latter two). `unmapped`: the others, each with the reason."""

    fields: dict[str, str]
    request: GenerationRequest
    start: dict[str, Any]
    unmapped: tuple[str, ...]


def read(text: str) -> ReadInfotext:
    """Return what `text` says; for any text, in time linear in its length."""
    return read_parameters_of(*split(text))


def read_parameters_of(prompt: str, negative_prompt: str, fields: Mapping[str, str]) -> ReadInfotext:
    """Return what prompts and parameters say."""
    reading = _Reading({OLD_NAMES.get(key, key): value for key, value in fields.items()})
    reading.offer("prompt", prompt, "Prompt", prompt)
    reading.offer("negative_prompt", negative_prompt, "Negative prompt", negative_prompt)
    reading.read_all()
    return ReadInfotext(
        fields=dict(fields), request=reading.request, start=reading.start, unmapped=tuple(reading.unmapped)
    )


class _Reading:
    """Collects the request from the parameters, one field at a time, so that a bad one harms no other."""

    def __init__(self, fields: Mapping[str, str]) -> None:
        self.request = GenerationRequest()
        self.start: dict[str, Any] = {}
        self.unmapped: list[str] = []
        self._fields = modernised(fields, self._refuse)

    def read_all(self) -> None:
        self._read_model()
        if is_hires(self._fields):
            self.request = self.request.replace(hires=read_hires(self._fields, self._refuse))
        self.request = self.request.replace(refiner=read_refiner(self._fields, self._refuse))
        for key, value in self._fields.items():
            self._read(key, value)
        if "Sampler" in self._fields and "Schedule type" not in self._fields and self.request.schedule is None:
            self.offer("schedule", "Automatic", "Schedule type", "Automatic")  # as A1111 reads its texts before 1.9
        if self._fields.get("Version", "").startswith(OWN_VERSION):
            self._pin()

    def offer(self, name: str, content: object, key: str, value: str) -> None:
        """Put `content` into the request's field `name` if it is valid there."""
        try:
            self.request = self.request.replace(**{name: content})
        except ValidationError as error:
            self._refuse(key, value, reason(error))

    def _read(self, key: str, value: str) -> None:
        if key in _READERS:
            self._read_with(_READERS[key], key, value)
        elif key in SAMPLING_NAMES:
            self._read_part("sampling", SamplingOptions, {SAMPLING_NAMES[key]: value}, key, value)
        elif key in GUIDING_NAMES:
            self._read_part("guiding", GuidanceOptions, {GUIDING_NAMES[key]: value}, key, value)
        elif key in VARIATION_NAMES:
            self._read_part("variation", Variation, {VARIATION_NAMES[key]: value}, key, value)
        elif key == "Seed resize from":
            self._read_seed_resize(key, value)
        elif key in HIRES_KEYS or (key == "Denoising strength" and self._is_of_second_pass):
            if self.request.hires is None:
                self._refuse(key, value, "no second pass is named")
        elif MODULE.fullmatch(key):
            self.offer("modules", (*(self.request.modules or ()), value), key, value)
        elif key in _START_READERS:
            self._read_start(*_START_READERS[key], key, value)
        elif key not in INFORMATION and key not in REFINER_KEYS:
            self._refuse(key, value, why_unmapped(key))

    @property
    def _is_of_second_pass(self) -> bool:
        """The strength is written under one name for img2img and for the second pass of txt2img."""
        return self.request.hires is not None and "Hires strength" not in self._fields

    def _read_with(self, reader: Reader, key: str, value: str) -> None:
        try:
            contents = reader(value)
        except Refused as refusal:
            self._refuse(key, value, str(refusal))
            return
        for name, content in contents.items():
            self.offer(name, content, key, value)

    def _read_part(
        self,
        name: str,
        kind: type[SamplingOptions] | type[Variation] | type[GuidanceOptions],
        contents: Mapping[str, object],
        key: str,
        value: str,
    ) -> None:
        """Put `contents` into the part of the request called `name`."""
        before = dict(getattr(self.request, name) or kind())
        try:
            part = kind.model_validate({**before, **contents})
        except ValidationError as error:
            self._refuse(key, value, reason(error))
        else:
            self.offer(name, part, key, value)

    def _read_seed_resize(self, key: str, value: str) -> None:
        try:
            width, height = size_of(value)
        except Refused as refusal:
            self._refuse(key, value, str(refusal))
        else:
            contents = {"resize_from_width": width, "resize_from_height": height}
            self._read_part("variation", Variation, contents, key, value)

    def _read_start(
        self, kind: type[_AnyStart], name: str, meanings: Mapping[str, object], key: str, value: str
    ) -> None:
        """Put a parameter of img2img into `start`; `meanings` are the texts that stand for values, if there are any."""
        content = meanings.get(value) if meanings else value
        example = _EXAMPLE_OF_MASK if kind is FromMaskedImage else _EXAMPLE_OF_START
        try:
            options = kind.model_validate({**example, name: content})
        except ValidationError as error:
            self._refuse(key, value, reason(error))
            return
        self.start[name] = getattr(options, name)
        if kind is not FromMaskedImage:
            self.start["kind"] = options.kind

    def _read_model(self) -> None:
        name, short_hash = self._fields.get("Model", ""), self._fields.get("Model hash", "")
        if short_hash and not re.fullmatch(r"[0-9a-fA-F]{10}|[0-9a-fA-F]{64}", short_hash):
            self._refuse("Model hash", short_hash, "not the beginning of a SHA-256")
            short_hash = ""
        if name:
            self.offer("model", f"{name} [{short_hash}]" if short_hash else name, "Model", name)
        elif short_hash:
            self.offer("model", short_hash, "Model hash", short_hash)

    def _pin(self) -> None:
        """Ask for what a text of our own leaves out because it is as usual: the settings may differ by now."""
        asked, usual = self.request, dict(SamplingPlan())
        usual["noise_source"] = "GPU"  # as A1111 leaves it out
        samplers = [asked.sampler, asked.hires.sampler if asked.hires else None]
        etas = {find_sampler(name).default_eta for name in samplers if name} - {None}
        usual["eta"] = (
            etas.pop() if len(etas) == 1 else None
        )  # of two samplers with different ones, neither is asked for
        said = {name: value for name, value in asked.sampling if value is not None}
        self.request = asked.replace(
            clip_skip=asked.clip_skip or 1,
            emphasis=asked.emphasis or "Original",
            vae=asked.vae or "None",
            modules=asked.modules or (),
            sampling=SamplingOptions(**{**usual, **said}),
            guiding=asked.guiding.replace(minimum=asked.guiding.minimum or 0.0),
        )

    def _refuse(self, key: str, value: str, why: str) -> None:
        shown = value if len(value) <= LONGEST_SHOWN else f"{value[:LONGEST_SHOWN]}…"
        self.unmapped.append(f"{key}: {shown} ({why})")


_AnyStart = FromMaskedImage | FromExtendedImage | FromTiles

_EXAMPLE_OF_START: Mapping[str, object] = MappingProxyType({"images": ("0" * 64,)})
_EXAMPLE_OF_MASK: Mapping[str, object] = MappingProxyType({**_EXAMPLE_OF_START, "mask": "0" * 64})

_READERS: Mapping[str, Reader] = MappingProxyType(
    {
        "Steps": as_whole("steps"),
        "Sampler": as_sampler,
        "Schedule type": as_schedule,
        "CFG scale": as_number("guidance"),
        "Distilled CFG Scale": as_number("distilled_guidance"),
        "Seed": as_whole("seed"),
        "Size": as_size,
        "Clip skip": as_whole("clip_skip"),
        "Emphasis": lambda value: {"emphasis": value},
        "VAE": lambda value: {"vae": value},
        "Tiling": as_tiling,
    }
)

_NO_MEANINGS: Mapping[str, object] = MappingProxyType({})

_START_READERS: Mapping[str, tuple[type[_AnyStart], str, Mapping[str, object]]] = MappingProxyType(
    {
        "Denoising strength": (FromMaskedImage, "strength", _NO_MEANINGS),
        "Resize mode": (FromMaskedImage, "resize", {text: mode for mode, text in RESIZE_NAMES.items()}),
        "Background": (FromMaskedImage, "background", _NO_MEANINGS),
        "Mask blur": (FromMaskedImage, "mask_blur", _NO_MEANINGS),
        "Mask mode": (FromMaskedImage, "invert", {NOT_MASKED: True, "Inpaint masked": False}),
        "Inpaint area": (FromMaskedImage, "area", {ONLY_MASKED: "masked", "Whole picture": "whole"}),
        "Masked area padding": (FromMaskedImage, "padding", _NO_MEANINGS),
        "Masked content": (FromMaskedImage, "content", {text: content for content, text in CONTENT_NAMES.items()}),
        "Soft inpainting enabled": (FromMaskedImage, "soft", {"True": True, "False": False}),
        **{key: (FromExtendedImage, name, _NO_MEANINGS) for key, name in OUTPAINTING_NAMES.items()},
        **{key: (FromTiles, name, _NO_MEANINGS) for key, name in TILES_NAMES.items()},
    }
)
"""Parameter → kind of start, its field, and the texts that stand for its values."""
