"""The text inside an image that says how it was made, in A1111's format."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from pydantic import ValidationError

from webui import __version__
from webui.domain.frozen import Data
from webui.domain.plan import ImagePlan, Plan, SamplingPlan
from webui.domain.request import GenerationRequest
from webui.domain.sampling import find_sampler, find_schedule, split_combined
from webui.domain.sampling_options import SamplingOptions, Variation
from webui.domain.start import Content, FromMaskedImage, FromNoise
from webui.errors import NotFound

NEGATIVE = "Negative prompt:"
FEWEST_PARAMETERS = 3  # a last line with fewer belongs to the prompt (A1111's rule)
LONGEST_JSON = 16_384  # characters of an unquoted JSON value; the limit keeps hostile text from costing quadratic time
LONGEST_SHOWN = 100  # characters of a value in a message

CHURN_KEYS = ("Sigma churn", "Sigma tmin", "Sigma tmax")
NOISE_KEYS = ("Sigma noise",)
SCHEDULE_KEYS = ("Schedule min sigma", "Schedule max sigma", "Schedule rho")
BETA_KEYS = ("Beta schedule alpha", "Beta schedule beta")
SAMPLING_NAMES: Mapping[str, str] = MappingProxyType(
    {
        "Eta": "eta",
        "Eta DDIM": "eta",
        "Sigma churn": "churn",
        "Sigma tmin": "tmin",
        "Sigma tmax": "tmax",
        "Sigma noise": "noise",
        "Schedule min sigma": "sigma_min",
        "Schedule max sigma": "sigma_max",
        "Schedule rho": "rho",
        "Beta schedule alpha": "beta_alpha",
        "Beta schedule beta": "beta_beta",
        "Discard penultimate sigma": "discard_penultimate",
        "ENSD": "seed_delta",
        "RNG": "noise_source",
    }
)
"""Parameter → field of `SamplingOptions` and `SamplingPlan`."""

VARIATION_NAMES: Mapping[str, str] = MappingProxyType({"Variation seed": "seed", "Variation seed strength": "strength"})
"""Parameter → field of `Variation`."""

NOT_MASKED = "Inpaint not masked"
ONLY_MASKED = "Only masked"
CONTENT_NAMES: Mapping[Content, str] = MappingProxyType(
    {
        "fill": "fill",
        "original": "original",
        "latent_noise": "latent noise",
        "latent_nothing": "latent nothing",
    }
)


class ReadInfotext(Data):
    """`fields`: every parameter as text. `request`: those that can be asked for here. `start`: those of img2img and
    inpainting, under the names of `FromMaskedImage` (the picture itself is not in a text). `unmapped`: the others,
    each with the reason."""

    fields: dict[str, str]
    request: GenerationRequest
    start: dict[str, Any]
    unmapped: tuple[str, ...]


def write(plan: Plan, index: int) -> str:
    """Return the infotext of image `index` of `plan`."""
    image = plan.images[index]
    lines = [_with_plain_lines(image.prompt)] if image.prompt else []
    if image.negative_prompt:
        lines.append(f"{NEGATIVE} {_with_plain_lines(image.negative_prompt)}")
    lines.append(", ".join(f"{key}: {_quoted(value)}" for key, value in _parameters(plan, image).items()))
    return "\n".join(lines)


def _with_plain_lines(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _parameters(plan: Plan, image: ImagePlan) -> dict[str, str]:
    parameters = {
        "Steps": str(plan.steps),
        "Sampler": plan.sampler,
        "Schedule type": plan.schedule,
        "CFG scale": _number(plan.guidance),
        "Seed": str(image.seed),
        "Size": f"{plan.width}x{plan.height}",
    }
    if plan.infotext.model_hash:
        parameters["Model hash"] = plan.model.short_hash
    if plan.infotext.model_name:
        parameters["Model"] = plan.model.name
    parameters |= _variation_parameters(plan, image)
    if not isinstance(plan.start, FromNoise):
        parameters["Denoising strength"] = _number(plan.start.strength)
    if plan.clip_skip > 1:
        parameters["Clip skip"] = str(plan.clip_skip)
    parameters |= _sampling_parameters(plan)
    parameters |= _prompt_parameters(plan, image)
    if isinstance(plan.start, FromMaskedImage):
        parameters |= _mask_parameters(plan.start)
    if plan.infotext.version:
        parameters["Version"] = f"easel-{__version__}"
    return parameters


def _variation_parameters(plan: Plan, image: ImagePlan) -> dict[str, str]:
    parameters: dict[str, str] = {}
    if image.variation_seed is not None:
        parameters["Variation seed"] = str(image.variation_seed)
        parameters["Variation seed strength"] = _number(plan.variation.strength)
    if plan.variation.resize_from:
        width, height = plan.variation.resize_from
        parameters["Seed resize from"] = f"{width}x{height}"
    return parameters


def _sampling_parameters(plan: Plan) -> dict[str, str]:
    """Return the options that differ from A1111's own defaults, as far as the sampler heeds them.

    Its noise comes from the GPU unless its text says otherwise, so ours is named unless it does as well.
    """
    sampler, options, usual = find_sampler(plan.sampler), plan.sampling, SamplingPlan()
    parameters: dict[str, str] = {}
    if options.seed_delta and sampler.uses_seed_delta and options.eta:
        parameters["ENSD"] = str(options.seed_delta)
    if options.noise_source != "GPU":
        parameters["RNG"] = options.noise_source
    if options.eta is not None and options.eta != sampler.default_eta:
        parameters["Eta DDIM" if sampler.default_eta == 0 else "Eta"] = _number(options.eta)
    heeded = [*(CHURN_KEYS if sampler.churns else ()), *(NOISE_KEYS if sampler.churns or sampler.stochastic else ())]
    for key in [*heeded, *SCHEDULE_KEYS, *(BETA_KEYS if plan.schedule == "Beta" else ())]:
        name = SAMPLING_NAMES[key]
        if key in BETA_KEYS or getattr(options, name) != getattr(usual, name):
            parameters[key] = _number(getattr(options, name))
    if options.discard_penultimate and not sampler.discards_penultimate:
        parameters["Discard penultimate sigma"] = "True"
    return parameters


def _prompt_parameters(plan: Plan, image: ImagePlan) -> dict[str, str]:
    """Return what the prompts alone do not say: how their brackets were taken, and which templates they came from."""
    has_brackets = any(bracket in text for text in (image.prompt, image.negative_prompt) for bracket in "([")
    parameters: dict[str, str] = {}
    if plan.emphasis != "Original" and has_brackets:
        parameters["Emphasis"] = plan.emphasis
    if image.template:
        parameters["Template"] = _with_plain_lines(image.template)
    if image.negative_template:
        parameters["Negative Template"] = _with_plain_lines(image.negative_template)
    return parameters


def _mask_parameters(start: FromMaskedImage) -> dict[str, str]:
    """Return what A1111 writes about a mask: only what differs from painting the masked part of the whole picture."""
    parameters = {"Mask mode": NOT_MASKED} if start.invert else {}
    if start.mask_blur:
        parameters["Mask blur"] = str(start.mask_blur)
    if start.area == "masked":
        parameters |= {"Inpaint area": ONLY_MASKED, "Masked area padding": str(start.padding)}
    if start.content != "original":
        parameters["Masked content"] = CONTENT_NAMES[start.content]
    if start.soft:
        parameters["Soft inpainting enabled"] = "True"
    return parameters


def _number(value: float) -> str:
    return str(int(value)) if value.is_integer() else str(value)


def _quoted(text: str) -> str:
    """Return `text` as a JSON string if it would not be read back as it stands."""
    is_plain = text == text.strip() and not text.startswith('"') and not re.search(r"[,:\n\r]", text)
    return text if is_plain else json.dumps(text, ensure_ascii=False)


def read(text: str) -> ReadInfotext:
    """Return what `text` says; for any text, in time linear in its length.

    The prompt keeps its inner and leading spaces. The first line that starts with `Negative prompt:` ends it.
    """
    clean = _with_plain_lines(text.encode("utf-8", "replace").decode("utf-8")).rstrip()
    *lines, last = clean.split("\n")
    fields = read_parameters(last)
    if len(fields) < FEWEST_PARAMETERS:
        lines, fields = [*lines, last], {}
    prompt, negative_prompt = _split_prompts(lines)
    reading = _Reading(fields)
    reading.offer("prompt", prompt, "Prompt", prompt)
    reading.offer("negative_prompt", negative_prompt, "Negative prompt", negative_prompt)
    reading.read_all()
    return ReadInfotext(fields=fields, request=reading.request, start=reading.start, unmapped=tuple(reading.unmapped))


def _split_prompts(lines: list[str]) -> tuple[str, str]:
    for number, line in enumerate(lines):
        if line.lstrip().startswith(NEGATIVE):
            first = line.lstrip().removeprefix(NEGATIVE).removeprefix(" ")
            return "\n".join(lines[:number]), "\n".join([first, *lines[number + 1 :]])
    return "\n".join(lines), ""


_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_DECODER = json.JSONDecoder()


def read_parameters(line: str) -> dict[str, str]:
    """Return the `Key: value` pairs of a parameter line. A value may be a JSON string, object or list."""
    parameters: dict[str, str] = {}
    start = 0
    while (colon := line.find(":", start)) >= 0:
        key = _key_before(line, start, colon)
        start = colon + 1
        if len(key) > 1:
            value, start = _value_at(line, start)
            parameters[key] = value
    return parameters


def _key_before(line: str, start: int, colon: int) -> str:
    """Return the words that stand before the colon: letters, digits, spaces, dashes and slashes."""
    begin = colon
    while begin > start and (line[begin - 1].isalnum() or line[begin - 1] in "_ -/"):
        begin -= 1
    return line[begin:colon].lstrip(" -/")


def _value_at(line: str, start: int) -> tuple[str, int]:
    """Return the value that begins at `start` and the position behind its comma."""
    while start < len(line) and line[start].isspace():
        start += 1
    end = _end_of_json(line, start)
    if end is None:
        comma = line.find(",", start)
        end = comma if comma >= 0 else len(line)
    return _unquoted(line[start:end].rstrip()), end + 1


def _end_of_json(line: str, start: int) -> int | None:
    """Return where the JSON value at `start` ends, if there is one and it fills the place up to the next comma."""
    end: int | None = None
    if line.startswith('"', start) and (match := _STRING.match(line, start)):
        end = match.end()
    elif line.startswith(("{", "["), start):
        try:
            length = _DECODER.raw_decode(line[start : start + LONGEST_JSON])[1]
        except (ValueError, RecursionError):
            return None
        end = start + length
    return end if end is not None and line[end : end + 1] in ("", ",") else None


def _unquoted(value: str) -> str:
    if len(value) > 1 and value[0] == value[-1] == '"':
        try:
            return str(json.loads(value)).encode("utf-8", "replace").decode("utf-8")
        except ValueError:
            return value
    return value


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
