"""What extensions may offer besides scripts: panels of options, settings, networks, tabs, routes, and hooks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Literal

from webui.domain.frozen import Data
from webui.domain.models import Kind
from webui.domain.plan import Plan
from webui.domain.request import AnyRequest, GenerationRequest
from webui.extending.scripts import Options, Page, Tools

if TYPE_CHECKING:
    from PIL.Image import Image

    from webui.engine.samplers import Sample

ReadArguments = Callable[[Sequence[object], Tools], Mapping[str, Any]]
"""(A1111's arguments by position, tools) → options by name."""

ChangeRequest = Callable[[GenerationRequest, Any, Tools], GenerationRequest]
"""(request, options, tools) → the request that is planned."""

ChangePlan = Callable[[Plan, Any, Tools], Plan]
"""(plan, options, tools) → the plan that is queued; see `Plan.told`."""

ReadInfotext = Callable[[Mapping[str, str]], Mapping[str, Any] | None]
"""(parameters of an infotext by key) → options by name, None where it says nothing of the extension."""

Hear = Callable[[str, object], None]
"""(id of a job, one of its events: `webui.domain.events`)."""


@dataclass(frozen=True)
class Panel(Generic[Options]):
    """Options that a request may carry, drawn as a panel under the title users see.

    `options` is a model; what it says by default must change nothing. Programs send it by name, or as A1111's
    `alwayson_scripts` under the title or one of `aliases` (lower case), by position: in the order of the fields, or as
    `read_arguments` reads it.
    """

    title: str
    options: type[Options]
    aliases: tuple[str, ...] = ()
    pages: tuple[Page, ...] = ("txt2img", "img2img")
    description: str = ""
    read_arguments: ReadArguments | None = None


@dataclass(frozen=True)
class Infotext:
    """How options come back from an infotext; `keys` are the parameters that `read` understands, or how they begin.

    What is written is given to `Plan.told`.
    """

    read: ReadInfotext
    keys: tuple[str, ...] = ()
    prefixes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Networks:
    """Files of a kind shown as cards beside the prompt; a click writes `tag`, in which {name} is replaced."""

    kind: Kind
    title: str
    tag: str
    families_matter: bool = True  # hide those of other families than the checkpoint's


@dataclass(frozen=True)
class SettingsSection(Generic[Options]):
    """Settings of an extension: the fields of a model, by names that no other setting has."""

    title: str
    options: type[Options]


@dataclass(frozen=True)
class Tab:
    """A page of its own: `page` is an HTML file in the extension's folder, shown in a frame; its scripts reach the
    program through the extension's routes and the API."""

    id: str
    title: str
    page: Path


@dataclass(frozen=True)
class Call:
    """What a route is asked: the query, and the JSON that was sent (None: nothing).

    `run` carries a request out as a job, waits for it, and returns the files of its images.
    """

    query: Mapping[str, str]
    body: Any
    tools: Tools
    run: Callable[[AnyRequest], tuple[bytes, ...]]


@dataclass(frozen=True)
class File:
    """An answer that is no JSON."""

    content: bytes
    media_type: str


@dataclass(frozen=True)
class Route:
    """A path of the API. `answer` returns what becomes JSON, or a `File`; errors of the product become 4xx."""

    method: Literal["GET", "POST"]
    path: str
    answer: Callable[[Call], Any]
    description: str = ""


@dataclass(frozen=True)
class Preprocessor(Generic[Options]):
    """Makes of a picture what a control network is shown. `run` (picture, options → picture) runs in the worker.

    `groups` are the sorts of control it serves; `aliases` other names that programs know it by.
    """

    name: str
    label: str
    options: type[Options]
    run: Callable[[Image, Options], Image]
    groups: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    description: str = ""


@dataclass(frozen=True)
class ExtraSampler:
    """A sampler of an extension's own, under the name users see. `sample` runs in the worker: (denoise, latents
    [B,C,h,w], sigmas, noise, setup) yields a `Step` for each step. In all else, such as its usual schedule, it counts
    as the sampler it is `like`."""

    name: str
    sample: Sample
    like: str = "Euler"


@dataclass(frozen=True)
class ExtraSchedule:
    """A schedule of an extension's own. `sigmas` (steps, lowest and highest trained noise level) → as many falling
    noise levels as there are steps; 0 is added behind them. It runs in the worker."""

    name: str
    sigmas: Callable[[int, float, float], Sequence[float]]


@dataclass(frozen=True)
class ExtraUpscaler:
    """An upscaler of an extension's own. `enlarge` (picture, width, height) → a picture, best of that size; it runs in
    the worker."""

    name: str
    enlarge: Callable[[Image, int, int], Image]


AnyPanel = Panel[Any]
AnyPreprocessor = Preprocessor[Any]


class NoOptions(Data):
    """What an extension without a panel is told."""
