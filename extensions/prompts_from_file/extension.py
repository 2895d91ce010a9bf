"""Prompts from file or textbox: one request for each line, which may be a prompt or options such as `--steps 30`."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Annotated, Any, Literal

from pydantic import Field

from webui.extending.api import (
    MAX_IMAGES,
    MAX_SEED,
    SAMPLERS,
    BadRequest,
    Data,
    Expansion,
    ExtensionApi,
    GenerationRequest,
    Script,
    Tools,
    Variation,
    find_sampler,
    find_schedule,
    images_of,
    split_combined,
)

TEXTS = ("prompt", "negative_prompt")  # their values go on up to the next option, quoted or not


class PromptListOptions(Data):
    """In the order of A1111's arguments."""

    checkbox_iterate: Annotated[bool, Field(title="Iterate seed every line")] = False
    checkbox_iterate_batch: Annotated[bool, Field(title="Use same random seed for all lines")] = False
    prompt_position: Annotated[Literal["start", "end"], Field(title="Insert prompts at the")] = "start"
    prompt_txt: Annotated[
        str,
        Field(
            max_length=1_000_000,
            description='One prompt a line, or options: --prompt "a house" --steps 30 --cfg_scale 5',
            title="List of prompt inputs",
            json_schema_extra={"widget": "lines"},
        ),
    ] = ""


def expand_lines(request: GenerationRequest, options: PromptListOptions, tools: Tools) -> Expansion:
    """Return one request for each line that is not empty."""
    lines = [(number, line.strip()) for number, line in enumerate(options.prompt_txt.splitlines(), 1) if line.strip()]
    if not lines:
        raise BadRequest("The list of prompts is empty.", hint="Write one prompt a line.", field="script")
    if len(lines) > MAX_IMAGES:
        raise BadRequest(f"The list has {len(lines)} lines.", hint=f"At most {MAX_IMAGES}.", field="script")
    seed = request.seed
    if seed == -1 and (options.checkbox_iterate or options.checkbox_iterate_batch):
        seed = tools.draw_seed()
    requests = []
    for number, line in lines:
        requests.append(_read_line(request.replace(seed=seed), number, line, options))
        if options.checkbox_iterate:
            seed = (seed + images_of(request)) % (MAX_SEED + 1)
    return Expansion(requests=tuple(requests))


def _read_line(request: GenerationRequest, number: int, line: str, options: PromptListOptions) -> GenerationRequest:
    given = _split(number, line) if line.startswith("--") else {"prompt": line}
    for name in TEXTS:
        if name in given:
            asked = getattr(request, name)
            both = [given[name], asked] if options.prompt_position == "start" else [asked, given[name]]
            given[name] = " ".join(text for text in both if text)
    for name, text in given.items():
        if name not in READERS:
            raise BadRequest(
                f"Line {number}: there is no option --{name}.", hint=f"Use one of: {KNOWN}.", field="script"
            )
        try:
            request = READERS[name](request, text)
        except ValueError as error:
            raise BadRequest(
                f"Line {number}: --{name} cannot be {text!r}.",
                hint="Correct it, or leave the option out.",
                field="script",
            ) from error
    return request


def _split(number: int, line: str) -> dict[str, str]:
    """Return the options of a line as texts by name."""
    try:
        words = shlex.split(line)
    except ValueError as error:
        raise BadRequest(f"Line {number}: {error}.", hint='Put texts between two ".', field="script") from error
    given: dict[str, str] = {}
    while words:
        name = words.pop(0).removeprefix("--")
        values: list[str] = []
        while words and not words[0].startswith("--") and (name in TEXTS or not values):
            values.append(words.pop(0))
        if not values:
            raise BadRequest(f"Line {number}: --{name} has no value.", hint=f"Write --{name} VALUE.", field="script")
        given[name] = " ".join(values)
        if words and not words[0].startswith("--"):
            raise BadRequest(
                f"Line {number}: {words[0]!r} belongs to no option.", hint='Put texts between two ".', field="script"
            )
    return given


Reader = Callable[[GenerationRequest, str], GenerationRequest]


def _field(name: str, read: Callable[[str], Any] = str) -> Reader:
    return lambda request, text: request.replace(**{name: read(text)})


def _variation(name: str, read: Callable[[str], Any]) -> Reader:
    return lambda request, text: request.replace(
        variation=(request.variation or Variation()).replace(**{name: read(text)})
    )


def _resize(name: str) -> Reader:
    """A1111's sizes up to 0 mean none."""
    return _variation(name, lambda text: size if (size := int(text)) > 0 else None)


def _sampler(request: GenerationRequest, text: str) -> GenerationRequest:
    sampler, schedule = split_combined(text)
    found = find_sampler(sampler).name
    return (
        request.replace(sampler=found) if schedule == "Automatic" else request.replace(sampler=found, schedule=schedule)
    )


def _numbered_sampler(request: GenerationRequest, text: str) -> GenerationRequest:
    number = int(text)
    if not 0 <= number < len(SAMPLERS):
        raise ValueError(text)
    return request.replace(sampler=SAMPLERS[number].name)


def _truth(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError(text)
    return text.lower() == "true"


def _tiling(request: GenerationRequest, text: str) -> GenerationRequest:
    return request.replace(tiling="both" if _truth(text) else "none")


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _only_false(name: str, reason: str) -> Reader:
    def read(request: GenerationRequest, text: str) -> GenerationRequest:
        if _truth(text):
            raise BadRequest(f"--{name} true: {reason}.", hint="Leave the option out.", field="script")
        return request

    return read


def _refused(name: str, reason: str) -> Reader:
    def refuse(request: GenerationRequest, text: str) -> GenerationRequest:
        raise BadRequest(f"--{name}: {reason}.", hint="Leave the option out.", field="script")

    return refuse


def _as_it_is(request: GenerationRequest, text: str) -> GenerationRequest:
    return request


READERS: Mapping[str, Reader] = MappingProxyType(
    {
        "prompt": _field("prompt"),
        "negative_prompt": _field("negative_prompt"),
        "styles": _field("styles", _names),
        "sd_model": _field("model"),
        "seed": _field("seed", int),
        "subseed": _variation("seed", int),
        "subseed_strength": _variation("strength", float),
        "seed_resize_from_w": _resize("resize_from_width"),
        "seed_resize_from_h": _resize("resize_from_height"),
        "sampler_name": _sampler,
        "sampler_index": _numbered_sampler,
        "scheduler": _field("schedule", lambda text: find_schedule(text).label),
        "batch_size": _field("batch_size", int),
        "n_iter": _field("batch_count", int),
        "steps": _field("steps", int),
        "cfg_scale": _field("guidance", float),
        "width": _field("width", int),
        "height": _field("height", int),
        "tiling": _tiling,
        "restore_faces": _only_false("restore_faces", "there is no face restoration"),
        "do_not_save_samples": _only_false("do_not_save_samples", "all lines of a list are saved, or none"),
        "do_not_save_grid": _as_it_is,  # a list has no grid
        "prompt_for_display": _as_it_is,  # shown is what was used
        "outpath_samples": _refused("outpath_samples", "folders are chosen in the settings"),
        "outpath_grids": _refused("outpath_grids", "folders are chosen in the settings"),
    }
)
KNOWN = ", ".join(f"--{name}" for name in READERS)


def register(api: ExtensionApi) -> None:
    api.add_script(
        Script(
            name="Prompts from file or textbox",
            aliases=("prompts_from_file", "prompts_from_file.py"),
            options=PromptListOptions,
            expand=expand_lines,
            description="Carries out one line after the other, with options of their own.",
        )
    )
