"""File and folder names from A1111's patterns such as `[date]/[model_name]` and `[seed]-[prompt_words]`."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from zoneinfo import ZoneInfo

from webui.domain.plan import HiresPlan, ImagePlan, Plan, SavePlan
from webui.domain.sampling import find_schedule
from webui.domain.start import FromNoise
from webui.storage import is_device_name

MAX_NAME_BYTES = 200  # of one name, so that a number, a suffix and an extension still fit into 255
MAX_VALUE = 128  # characters that one [token] may bring in (A1111's limit)
DEFAULT_PATTERN = "[seed]"


@dataclass(frozen=True)
class Naming:
    """What a pattern can be filled from: image `image` of `plan`, finished at `moment` (local time).

    Its job began at `started`; `size` is its width and height, `content` its file.
    """

    plan: Plan
    image: ImagePlan
    moment: datetime
    started: datetime
    size: tuple[int, int]
    content: bytes = b""


def image_folder(save: SavePlan, naming: Naming) -> str:
    """Return the folder for a finished image, relative to the outputs folder, divided by `/`."""
    parts = [*save.folder.split("/"), *(fill(part, naming) for part in save.directory.split("/"))]
    return "/".join(part for part in parts if part)


def image_names(save: SavePlan, naming: Naming, suffix: str = ".png") -> Callable[[int], str]:
    """Return the function that makes the file name with a given number: `00012-[seed].png`.

    Without numbering, 0 gives `[seed].png` and others `[seed]-1.png`.
    """
    name = fill(save.name or DEFAULT_PATTERN, naming)
    if not name:
        return lambda number: f"{number:05}{suffix}"
    if save.number:
        return lambda number: f"{number:05}-{name}{suffix}"
    return lambda number: f"{name}-{number}{suffix}" if number else f"{name}{suffix}"


_Maker = Callable[[Naming, tuple[str, ...]], str | None]

_TOKEN = re.compile(r"\[([^\[\]<>]+)((?:<[^<>]*>)*)\]")
_ARGUMENT = re.compile(r"<([^<>]*)>")


def fill(pattern: str, naming: Naming) -> str:
    """Return `pattern` with its tokens replaced, as one name that is safe on every system (possibly empty).

    Unknown tokens stay as they are. A token that does not apply (`[batch_number]` of a single image, `[none]`) takes
    the text before it along, so `[seed]-[batch_number]` has no dangling dash.
    """
    filled: list[str] = []
    end = 0
    for match in _TOKEN.finditer(pattern):
        before, end = pattern[end : match.start()], match.end()
        maker = TOKENS.get(match[1].lower())
        value = match[0] if maker is None else maker(naming, tuple(_ARGUMENT.findall(match[2])))
        if value is not None:
            filled += [before, value]
    return _one_name("".join([*filled, pattern[end:]]))


def _one_name(text: str) -> str:
    """Return `text` as the name of one file or folder: no path, nothing hidden, nothing reserved, not too long."""
    clean = _without_bad_characters(text)
    clean = clean.encode("utf-8")[:MAX_NAME_BYTES].decode("utf-8", "ignore")
    clean = clean.strip(" .")
    return f"_{clean}" if is_device_name(clean) else clean


_BAD_CHARACTERS = frozenset('#<>:"/\\|?*')


def _without_bad_characters(text: str) -> str:
    """Replace what some file system or terminal cannot bear: separators, control characters, direction marks."""
    composed = unicodedata.normalize("NFC", text)
    return "".join(
        "_" if character in _BAD_CHARACTERS or unicodedata.category(character) in ("Cc", "Cf", "Cs") else character
        for character in composed
    )


def _value(text: str) -> str:
    """Return a prompt or another free text as it enters a name."""
    return _without_bad_characters(text).lstrip(" ")[:MAX_VALUE].rstrip(" .")


def _words(prompt: str, number: int) -> str:
    words = [word for word in re.split(r"[\s()\[\]{}<>:;,.!?\"'`~@#$%^&*+=|\\/_-]+", prompt[:10_000]) if word]
    return _value(" ".join(words[:number]) or "empty")


def _hashed(content: str | bytes, arguments: tuple[str, ...], usual: int) -> str:
    """Return the first digits of a SHA-256: as many as the argument says, otherwise `usual`."""
    digits = int(arguments[0]) if arguments and re.fullmatch("[0-9]{1,2}", arguments[0]) else usual
    return hashlib.sha256(content.encode() if isinstance(content, str) else content).hexdigest()[:digits]


def _hashed_prompts(choose: Callable[[ImagePlan], str]) -> _Maker:
    return lambda naming, arguments: _hashed(choose(naming.image), arguments, 8)


def _moment(naming: Naming, arguments: tuple[str, ...]) -> str | None:
    """Return the time in the format and zone of `[datetime<%Y%m%d><Europe/Berlin>]`; None if those make no sense."""
    form = (arguments[0] if arguments else "") or "%Y%m%d%H%M%S"
    try:
        zone = ZoneInfo(arguments[1]) if len(arguments) > 1 and arguments[1] else None
        return _value(naming.moment.astimezone(zone).strftime(form))
    except (ValueError, OSError, KeyError):  # KeyError: no such zone
        return None


def _has_prompt(naming: Naming, arguments: tuple[str, ...]) -> str:
    """Return the words of `[hasprompt<word|otherwise>…]` that the prompt contains."""
    prompt = naming.image.prompt.lower()
    chosen = []
    for argument in arguments:
        word, _, otherwise = argument.partition("|")
        chosen.append(word if word.lower() in prompt else otherwise)
    return _value("".join(chosen))


def _batch_number(naming: Naming, _: tuple[str, ...]) -> str | None:
    return str(naming.image.index % naming.plan.batch_size + 1) if naming.plan.batch_size > 1 else None


def _generation_number(naming: Naming, _: tuple[str, ...]) -> str | None:
    return str(naming.image.index + 1) if len(naming.plan.images) > 1 else None


def _seed_first(naming: Naming, _: tuple[str, ...]) -> str:
    return str((naming.plan.images[0] if naming.plan.batch_size > 1 else naming.image).seed)


def _seed_last(naming: Naming, _: tuple[str, ...]) -> str | None:
    return str(naming.plan.images[-1].seed) if naming.plan.batch_size > 1 else None


def _styles(naming: Naming, _: tuple[str, ...]) -> str:
    return _value(", ".join(naming.plan.save.styles) or "None")


def _denoising(naming: Naming, _: tuple[str, ...]) -> str | None:
    """Return how much of a picture was painted anew: of the one it began with, or of the first pass's result."""
    if not isinstance(naming.plan.start, FromNoise):
        return _number(naming.plan.start.strength)
    return _number(naming.plan.hires.strength) if naming.plan.hires else None


def _vae(naming: Naming, _: tuple[str, ...]) -> str | None:
    return _value(naming.plan.vae.path.stem) if naming.plan.vae else None


def _hires(choose: Callable[[HiresPlan], str]) -> _Maker:
    """Return the maker of a fact about the second pass, which does not apply where there is none."""
    return lambda naming, _: _value(choose(naming.plan.hires)) if naming.plan.hires else None


def _number(value: float) -> str:
    return str(int(value)) if value.is_integer() else str(value)


TOKENS: Mapping[str, _Maker] = MappingProxyType(
    {
        "seed": lambda naming, _: str(naming.image.seed),
        "seed_first": _seed_first,
        "seed_last": _seed_last,
        "steps": lambda naming, _: str(naming.plan.steps),
        "cfg": lambda naming, _: _number(naming.plan.guidance),
        "width": lambda naming, _: str(naming.size[0]),
        "height": lambda naming, _: str(naming.size[1]),
        "clip_skip": lambda naming, _: str(naming.plan.clip_skip),
        "sampler": lambda naming, _: _value(naming.plan.sampler),
        "scheduler": lambda naming, _: find_schedule(naming.plan.schedule).name,
        "model_name": lambda naming, _: _value(naming.plan.model.name),
        "model_hash": lambda naming, _: naming.plan.model.short_hash,
        "vae_filename": _vae,
        "styles": _styles,
        "denoising": _denoising,
        "hires_upscaler": _hires(lambda hires: hires.upscaler.name),
        "hires_steps": _hires(lambda hires: str(hires.steps)),
        "refiner": lambda naming, _: _value(naming.plan.refiner.model.name) if naming.plan.refiner else None,
        "date": lambda naming, _: naming.moment.strftime("%Y-%m-%d"),
        "datetime": _moment,
        "job_timestamp": lambda naming, _: naming.started.strftime("%Y%m%d%H%M%S"),
        "prompt": lambda naming, _: _value(naming.image.prompt.replace(" ", "_")),
        "prompt_spaces": lambda naming, _: _value(naming.image.prompt),
        "prompt_no_styles": lambda naming, _: _value(naming.plan.save.typed_prompt),
        "prompt_words": lambda naming, _: _words(naming.image.prompt, naming.plan.save.prompt_words),
        "prompt_hash": _hashed_prompts(lambda image: image.prompt),
        "negative_prompt_hash": _hashed_prompts(lambda image: image.negative_prompt),
        "full_prompt_hash": _hashed_prompts(lambda image: f"{image.prompt} {image.negative_prompt}"),
        "image_hash": lambda naming, arguments: _hashed(naming.content, arguments, 64),
        "hasprompt": _has_prompt,
        "batch_number": _batch_number,
        "batch_size": lambda naming, _: str(naming.plan.batch_size),
        "generation_number": _generation_number,
        "user": lambda naming, _: None,  # jobs belong to nobody
        "none": lambda naming, _: None,
    }
)
