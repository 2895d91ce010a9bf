"""Scripts: what makes many requests of one, with options of its own."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

from pydantic import ValidationError

from webui.domain.frozen import Data
from webui.domain.models import Kind, ModelInfo
from webui.domain.passes import ScriptCall
from webui.domain.plan import SheetPlan
from webui.domain.request import MAX_IMAGES, GenerationRequest
from webui.domain.start import FromNoise
from webui.errors import BadRequest, EaselError, GenerationError, NotFound

Page = Literal["txt2img", "img2img"]
NameKind = Literal[
    "sampler", "schedule", "checkpoint", "vae", "module", "upscaler", "picture_upscaler", "style",
    "lora", "embedding", "hypernetwork", "controlnet", "ip_adapter", "image_encoder", "detector",
    "preprocessor",
]  # fmt: skip
"""`controlnet` are what ControlNet can use, IP-Adapters apart; `picture_upscaler` are those upscalers that work on
pictures, in the order of A1111's numbers for them."""
Options = TypeVar("Options", bound=Data)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Tools:
    """What extensions may look up. `names` lists what there is of a kind, in the order users see it; `find` returns a
    model with its hash, or raises `NotFound` naming what is near."""

    draw_seed: Callable[[], int]
    names: Callable[[NameKind], Sequence[str]]
    picture_size: Callable[[str], tuple[int, int]]  # of a picture in the input store: width and height, pixels
    find: Callable[[Kind, str], ModelInfo]
    models: Callable[[Kind], Sequence[ModelInfo]]
    store_picture: Callable[[bytes], str]  # a file's content → the reference to it
    setting: Callable[[str], Any]  # the value of an extension's setting
    preprocessors: Callable[[], Sequence[Any]] = tuple  # those of all extensions (`Preprocessor`)


class Expansion(Data):
    """What a script made of a request: requests that are carried out in this order as one job, and sheets.

    `settings` (one for each request, or none at all) hold for that request alone, by name or A1111's option name. The
    cells of the sheets are indices of images, counted through all requests. `chained`: each request begins with the
    pictures of the one before, image by image, and not with those it names. `only_sheets`: the images are made for the
    sheets alone. `notes` tell the user what had no effect.
    """

    requests: tuple[GenerationRequest, ...]
    settings: tuple[Mapping[str, Any], ...] = ()
    sheets: tuple[SheetPlan, ...] = ()
    chained: bool = False
    only_sheets: bool = False
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Script(Generic[Options]):
    """A script under the name users see. `aliases` are other names it answers to, in lower case.

    `options` is what it can be told; the order of its fields is the order of A1111's `script_args`. `expand` is a pure
    function of the request (which names no script), the options and what it looks up.
    """

    name: str
    options: type[Options]
    expand: Callable[[GenerationRequest, Options, Tools], Expansion]
    aliases: tuple[str, ...] = ()
    pages: tuple[Page, ...] = ("txt2img", "img2img")
    description: str = ""


AnyScript = Script[Any]


def find_script(name: str, scripts: Iterable[AnyScript]) -> AnyScript:
    """Return the script called `name` (any case, or an alias); raise `NotFound` naming what exists."""
    wanted = name.strip().lower()
    known = tuple(scripts)
    for script in known:
        if wanted == script.name.lower() or wanted in script.aliases:
            return script
    names = ", ".join(script.name for script in known) or "none"
    raise NotFound(f"Script not found: {name!r}.", hint=f"There are: {names}.", field="script")


def images_of(request: GenerationRequest) -> int:
    """Return how many images a request makes."""
    return request.batch_size * request.batch_count


def page_of(request: GenerationRequest) -> Page:
    """Return the page a request is made on: img2img if it begins with pictures."""
    return "txt2img" if isinstance(request.start, FromNoise) else "img2img"


def expand_request(request: GenerationRequest, script: AnyScript, tools: Tools) -> Expansion:
    """Return what `script` makes of `request`, whose `script` holds the options.

    Raises `BadRequest` for options, pages and numbers of images that cannot be, `GenerationError` when the script
    itself is broken.
    """
    call = request.script or ScriptCall(name=script.name)
    page = page_of(request)
    if page not in script.pages:
        needs = "begins with a picture: use img2img" if page == "txt2img" else "begins with noise: use txt2img"
        raise BadRequest(f"Script {script.name!r} {needs}.", field="script")
    options = read_options(script, call)
    try:
        expansion = script.expand(request.replace(script=None), options, tools)
        _check(expansion)
    except EaselError:
        raise
    except ValidationError as error:
        raise BadRequest(
            f"{script.name}: {explain(error)}", hint="Correct the script's options.", field="script"
        ) from error
    except Exception as error:
        log.exception("Script %r failed", script.name)
        raise GenerationError(
            f"Script {script.name!r} failed: {type(error).__name__}: {error}.",
            hint="The log has the details for its author.",
        ) from error
    return expansion


def _check(expansion: Expansion) -> None:
    if not expansion.requests:
        raise BadRequest("The script asks for no image at all.", hint="Give it something to do.", field="script")
    total = sum(map(images_of, expansion.requests))
    if total > MAX_IMAGES:
        raise BadRequest(
            f"The script asks for {total} images: at most {MAX_IMAGES}.",
            hint="Lower the number of values or the batch count.",
            field="script",
        )
    cells = {cell for sheet in expansion.sheets for cell in sheet.cells if cell is not None}
    if wrong := sorted(cell for cell in cells if not 0 <= cell < total):
        raise IndexError(f"a sheet shows image {wrong[0]} of {total}")
    if expansion.settings and len(expansion.settings) != len(expansion.requests):
        raise ValueError(f"{len(expansion.settings)} settings for {len(expansion.requests)} requests")
    if any(request.script for request in expansion.requests):
        raise ValueError("a request of a script names a script again")


def read_options(script: Script[Options], call: ScriptCall) -> Options:
    """Return the options of a call as the script's own model; what is null keeps its default.

    Raises `BadRequest` naming the option that cannot be.
    """
    given = {name: value for name, value in call.options.items() if value is not None}
    try:
        return script.options.model_validate(given)
    except ValidationError as error:
        known = ", ".join(script.options.model_fields)
        raise BadRequest(
            f"{script.name}: {explain(error)}", hint=f"Its options are: {known}.", field="script"
        ) from error


def explain(error: ValidationError) -> str:
    first = error.errors()[0]
    place = ".".join(map(str, first["loc"]))
    given = repr(first["input"])
    return f"{place}: {first['msg']} (given: {given if len(given) <= 60 else given[:57] + '...'})."


def options_schema(options: type[Data], names: Callable[[NameKind], Sequence[str]]) -> dict[str, Any]:
    """Return the JSON schema of a model of options, with the names there are instead of their kinds.

    A field may carry these hints: `choices`, and behind them `names` (a kind), for a list to choose from;
    `suggestions`, lists or kinds by the value of the field `suggestions_for`; `step`; `widget`; `hidden` for what only
    programs set.
    """
    schema: dict[str, Any] = options.model_json_schema()
    for model in (schema, *schema.get("$defs", {}).values()):
        for field in model.get("properties", {}).values():
            _name_choices(field, names)
    return schema


def _name_choices(field: dict[str, Any], names: Callable[[NameKind], Sequence[str]]) -> None:
    if "names" in field:
        field["choices"] = [*field.get("choices", ()), *names(field.pop("names"))]
    if "suggestions" in field:
        field["suggestions"] = {
            value: list(names(found) if isinstance(found, str) else found)  # type: ignore[arg-type]
            for value, found in field["suggestions"].items()
        }


def options_from_args(script: AnyScript, args: Sequence[object]) -> ScriptCall:
    """Return the call that A1111's positional `script_args` mean.

    What is left out at the end, or is null, keeps its default. Raises `BadRequest` naming the argument that cannot be.
    """
    names = tuple(script.options.model_fields)
    if len(args) > len(names):
        raise BadRequest(
            f"script_args: {script.name} takes {len(names)} arguments, not {len(args)}.",
            hint=f"They are, in this order: {', '.join(names)}.",
            field="script_args",
        )
    given = {name: value for name, value in zip(names, args, strict=False) if value is not None}
    try:
        script.options.model_validate(given)
    except ValidationError as error:
        name = str(error.errors()[0]["loc"][0])
        position = names.index(name) if name in names else 0
        raise BadRequest(
            f"script_args[{position}] of {script.name}: {explain(error)}",
            hint="GET /sdapi/v1/script-info lists the arguments.",
            field="script_args",
        ) from error
    return ScriptCall(name=script.name, options=given)
