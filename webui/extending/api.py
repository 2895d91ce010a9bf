"""All an extension may do. Extensions import this module, in the worker `webui.extending.computing` as well, and
nothing else of the program."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from webui.domain.events import Event
from webui.domain.frozen import Data
from webui.domain.models import Family, Kind, ModelInfo
from webui.domain.passes import GuidanceOptions, Hires, Refiner
from webui.domain.plan import ImagePlan, Plan, SheetPlan
from webui.domain.request import MAX_IMAGES, GenerationRequest, PreprocessRequest
from webui.domain.sampling import SAMPLERS, find_sampler, find_schedule, split_combined
from webui.domain.sampling_options import MAX_SEED, SamplingOptions, Variation
from webui.domain.start import FromExtendedImage, FromImage, FromMaskedImage, FromNoise, FromTiles, Reference
from webui.errors import BadFile, BadRequest, EaselError, GenerationError, NotFound
from webui.extending.offers import (
    AnyPanel,
    AnyPreprocessor,
    Call,
    ChangePlan,
    ChangeRequest,
    ExtraSampler,
    ExtraSchedule,
    ExtraUpscaler,
    File,
    Hear,
    Infotext,
    Networks,
    NoOptions,
    Panel,
    Preprocessor,
    Route,
    SettingsSection,
    Tab,
)
from webui.extending.scripts import AnyScript, Expansion, NameKind, Page, Script, Tools, images_of, page_of
from webui.prompt.tags import Tag, extract
from webui.prompt.taught import find_words
from webui.weights.formats.headers import Header, read_header
from webui.weights.formats.metadata import read_metadata
from webui.weights.recognition.embeddings import embedding_word, embedding_words

if TYPE_CHECKING:
    from PIL.Image import Image

    from webui.engine.denoise import Denoise
    from webui.engine.guidance import Combine
    from webui.engine.run import ImageRun, Run

VERSION = 2
RESERVED = ("sdapi", "api", "internal", "docs", "gradio_api", "config", "assets", "static", "file", "theme.css",
            "login", "logout", "queue", "upload", "openapi.json", "extensions")  # fmt: skip
"""First parts of paths that belong to the program."""

__all__ = [
    "MAX_IMAGES",
    "MAX_SEED",
    "RESERVED",
    "SAMPLERS",
    "VERSION",
    "BadFile",
    "BadRequest",
    "Call",
    "Data",
    "EaselError",
    "Event",
    "Expansion",
    "ExtensionApi",
    "ExtraSampler",
    "ExtraSchedule",
    "ExtraUpscaler",
    "Family",
    "File",
    "FromExtendedImage",
    "FromImage",
    "FromMaskedImage",
    "FromNoise",
    "FromTiles",
    "GenerationError",
    "GenerationRequest",
    "GuidanceOptions",
    "Header",
    "Hires",
    "ImagePlan",
    "Infotext",
    "Kind",
    "ModelInfo",
    "NameKind",
    "Networks",
    "NoOptions",
    "NotFound",
    "Page",
    "Panel",
    "Plan",
    "PreprocessRequest",
    "Preprocessor",
    "Reference",
    "Refiner",
    "Route",
    "SamplingOptions",
    "Script",
    "SettingsSection",
    "SheetPlan",
    "Tab",
    "Tag",
    "Tools",
    "Variation",
    "embedding_word",
    "embedding_words",
    "extract",
    "find_sampler",
    "find_schedule",
    "find_words",
    "images_of",
    "page_of",
    "read_header",
    "read_metadata",
    "split_combined",
]


class ExtensionApi:
    """Handed to an extension's `register`, in the server and in the worker. What it adds counts once `register` has
    returned. `name` is the extension's, `folder` where it lies."""

    def __init__(self, name: str, folder: Path = Path()) -> None:
        self.name = name
        self.folder = folder
        self.scripts: tuple[AnyScript, ...] = ()
        self.panel: AnyPanel | None = None
        self.request_changes: tuple[ChangeRequest, ...] = ()
        self.plan_changes: tuple[ChangePlan, ...] = ()
        self.tags: frozenset[str] = frozenset()
        self.infotext: Infotext | None = None
        self.networks: tuple[Networks, ...] = ()
        self.settings: SettingsSection[Data] | None = None
        self.tabs: tuple[Tab, ...] = ()
        self.routes: tuple[Route, ...] = ()
        self.preprocessors: tuple[AnyPreprocessor, ...] = ()
        self.samplers: tuple[ExtraSampler, ...] = ()
        self.schedules: tuple[ExtraSchedule, ...] = ()
        self.upscalers: tuple[ExtraUpscaler, ...] = ()
        self.listeners: tuple[Hear, ...] = ()
        self.patches: tuple[Callable[[Run], AbstractContextManager[None]], ...] = ()
        self.denoise_wraps: tuple[Callable[[Denoise, Run], Denoise], ...] = ()
        self.guidance_wraps: tuple[Callable[[Combine, Run], Combine], ...] = ()
        self.image_changes: tuple[Callable[[Image, ImageRun], Image], ...] = ()

    # What is offered

    def add_script(self, script: AnyScript) -> None:
        """Offer `script` on the pages it is for, and to programs by its name and aliases."""
        self.scripts = (*self.scripts, script)

    def add_options(self, panel: AnyPanel) -> None:
        """Let requests carry options for this extension, and draw them on the page. An extension has one panel."""
        if self.panel is not None:
            raise BadRequest(f"Extension {self.name} adds two panels.", hint="Put all options into one model.")
        panel.options()  # its defaults must be whole
        self.panel = panel

    def add_infotext(self, infotext: Infotext) -> None:
        """Read options back from infotexts. What is written is given to `Plan.told`."""
        self.infotext = infotext

    def add_networks(self, networks: Networks) -> None:
        """Show the files of a kind as cards beside the prompt."""
        self.networks = (*self.networks, networks)

    def add_settings(self, section: SettingsSection[Data]) -> None:
        """Offer settings; `tools.setting(name)` tells their values."""
        section.options()
        self.settings = section

    def add_tab(self, tab: Tab) -> None:
        """Show a page of its own in the row of tabs."""
        if not tab.page.resolve().is_relative_to(self.folder.resolve()):
            raise BadRequest(f"The page of tab {tab.id!r} lies outside the extension.", hint="Move it into its folder.")
        self.tabs = (*self.tabs, tab)

    def add_route(self, route: Route) -> None:
        """Answer requests to a path of its own; those of the program cannot be taken over."""
        first = route.path.removeprefix("/").partition("/")[0]
        if not route.path.startswith("/") or not first or "{" in first or first.lower() in RESERVED:
            raise BadRequest(
                f"The path {route.path!r} is not free.",
                hint=f"Use one below /{self.name}/, without placeholders first.",
            )
        self.routes = (*self.routes, route)

    def add_preprocessor(self, preprocessor: AnyPreprocessor) -> None:
        """Offer a way to make of a picture what a control network is shown."""
        self.preprocessors = (*self.preprocessors, preprocessor)

    def add_sampler(self, sampler: ExtraSampler) -> None:
        """Offer a sampler; it is chosen by its name like any other."""
        if sampler.like not in {known.name for known in SAMPLERS}:
            raise NotFound(f"There is no sampler {sampler.like!r} to be like.", field="sampler")
        self.samplers = (*self.samplers, sampler)

    def add_schedule(self, schedule: ExtraSchedule) -> None:
        """Offer a schedule; it is chosen by its name like any other."""
        self.schedules = (*self.schedules, schedule)

    def add_upscaler(self, upscaler: ExtraUpscaler) -> None:
        """Offer an upscaler; it is chosen by its name like any other."""
        self.upscalers = (*self.upscalers, upscaler)

    def claim_tags(self, *kinds: str) -> None:
        """Say that tags `<kind:…>` in prompts are read by this extension."""
        self.tags = self.tags | {kind.lower() for kind in kinds}

    def watch(self, hear: Hear) -> None:
        """Be told every event of every job, in the server."""
        self.listeners = (*self.listeners, hear)

    # What is changed, in the server

    def change_request(self, change: ChangeRequest) -> None:
        """Change what was asked before it is planned. `change` is called for each request, with default options where
        it says nothing."""
        self.request_changes = (*self.request_changes, change)

    def change_plan(self, change: ChangePlan) -> None:
        """Change a plan, above all by `Plan.told`: what is told there comes to the hooks in the worker, and they act on
        no other plans. `change` is called for each plan, with default options where the request says nothing."""
        self.plan_changes = (*self.plan_changes, change)

    # What is changed, in the worker

    def patch(self, enter: Callable[[Run], AbstractContextManager[None]]) -> None:
        """Change a model while it denoises one batch of a pass, from before its prompts are encoded; the block's end
        must put everything back."""
        self.patches = (*self.patches, enter)

    def wrap_denoise(self, wrap: Callable[[Denoise, Run], Denoise]) -> None:
        """Change the guided denoiser: (latents [B,C,h,w], sigma) → clean latents."""
        self.denoise_wraps = (*self.denoise_wraps, wrap)

    def wrap_guidance(self, wrap: Callable[[Combine, Run], Combine]) -> None:
        """Change how the predictions for prompts and negative prompts are combined."""
        self.guidance_wraps = (*self.guidance_wraps, wrap)

    def change_image(self, change: Callable[[Image, ImageRun], Image]) -> None:
        """Change finished pictures."""
        self.image_changes = (*self.image_changes, change)
