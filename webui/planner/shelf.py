"""What the names in a request stand for. The planner asks; who answers may read files, the planner does not."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

from webui.domain.models import Family, Kind, ModelInfo
from webui.domain.plan import PartsPlan
from webui.domain.upscaling import UpscalerRef
from webui.errors import EaselError
from webui.extending.features import Features
from webui.extending.scripts import AnyScript, NameKind, Tools
from webui.prompt.dynamic import Lookup
from webui.prompt.styles import Style
from webui.settings import Settings
from webui.weights.recognition.vae_files import Half


@dataclass(frozen=True)
class Words:
    """What prompts refer to by name: styles, and the lines of wildcards."""

    styles: Mapping[str, Style] = field(default_factory=lambda: MappingProxyType({}))
    wildcards: Lookup = lambda name: ()


NO_WORDS = Words()


@contextmanager
def about(field: str) -> Iterator[None]:
    """Let errors from within speak of the request's `field`: the shelf does not know what it is asked for."""
    try:
        yield
    except EaselError as error:
        raise type(error)(error.message, hint=error.hint, field=field) from error


class Shelf(Protocol):
    """Finds models, scripts and stored pictures. All raise `NotFound` for a name nobody knows, naming the nearest."""

    def checkpoint(self, name: str | None) -> ModelInfo:
        """Return the checkpoint (None: the current one) with its hash; `BadFile` when it cannot be used."""

    def vae(self, name: str, checkpoint: ModelInfo) -> ModelInfo | None:
        """Return the VAE file called `name` with its hash. "Automatic": the one beside `checkpoint` that has its name,
        or None; "None": None."""

    def parts(self, checkpoint: ModelInfo, modules: Sequence[str]) -> PartsPlan:
        """Return the files that complete `checkpoint`, with their hashes: the `modules` where they fit, else the best
        for what it lacks. `BadFile` when there is none, or no tokenizer."""

    def taesd(self, half: Half, family: Family) -> Path | None:
        """Return the file that holds a half of the TAESD of `family`, if there is one."""

    def upscaler(self, name: str) -> UpscalerRef:
        """Return a built-in way to enlarge, or the network called `name` with its hash."""

    @property
    def features(self) -> Features:
        """What extensions do."""

    def find(self, kind: Kind, name: str) -> ModelInfo:
        """Return the model of a kind with its hash."""

    def models_of(self, kind: Kind) -> Sequence[ModelInfo]:
        """Return all models of a kind."""

    def store_picture(self, content: bytes) -> str:
        """Keep a picture's file and return the reference to it; `BadFile` when it is none."""

    def picture_size(self, reference: str) -> tuple[int, int]:
        """Return width and height of a stored picture, pixels."""

    def script(self, name: str) -> AnyScript:
        """Return the script called `name`."""

    def names(self, kind: NameKind) -> Sequence[str]:
        """Return all names of a kind, in the order users see them."""


def make_tools(shelf: Shelf, draw_seed: Callable[[], int], settings: Settings) -> Tools:
    """Return what extensions may look up."""
    return Tools(
        draw_seed=draw_seed,
        names=shelf.names,
        picture_size=shelf.picture_size,
        find=shelf.find,
        models=shelf.models_of,
        store_picture=shelf.store_picture,
        setting=lambda name: shelf.features.setting(name, settings.extensions),
        preprocessors=lambda: shelf.features.preprocessors,
    )
