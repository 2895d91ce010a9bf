"""Submit, follow, stop, models, settings: the only thing `api` and `ui` call."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from webui import planner
from webui.config import Config
from webui.domain.cards import CardChange, ModelList, ModelPage, ModelQuery
from webui.domain.frozen import Data
from webui.domain.jobs import Entry, JobView, Progress
from webui.domain.models import Kind, ModelInfo
from webui.domain.passes import ScriptCall
from webui.domain.plan import AnyPlan
from webui.domain.request import AnyRequest, GenerationRequest, pictures_of
from webui.domain.sampling import find_sampler, split_combined
from webui.domain.sampling_options import SamplingOptions
from webui.errors import BadRequest, NotAllowed, NotFound, error_called
from webui.extending.assets import Assets
from webui.extending.features import Features, blaming
from webui.extending.installing.installer import Installer
from webui.extending.loader import Extensions
from webui.extending.offers import AnyPanel, Call, File, Route
from webui.extending.scripts import AnyScript, NameKind, Tools, find_script, options_from_args, options_schema
from webui.extending.shown import ShownExtensions, ShownSettings, show_extensions, show_settings
from webui.images.dialects.interpret import interpret
from webui.images.encode import INFOTEXT_KEY
from webui.images.open import read_infotext, read_size
from webui.images.save import contained
from webui.jobs.estimate import MemoryEstimate, engine_options, estimate
from webui.jobs.inputs import InputStore, StoredInput
from webui.jobs.queue import JobQueue
from webui.jobs.runner import Runner, RunnerState
from webui.library.librarian import Librarian
from webui.library.search import search_models
from webui.library.thumbnails import make_preview, make_thumbnail
from webui.prompt.styles import Style, Styles
from webui.prompt.taught import TaughtWords, find_words
from webui.prompt.tokens import count_tokens, limit
from webui.prompt.wildcards import Wildcards
from webui.settings import Settings, SettingsStore
from webui.shelf import Shelf
from webui.storage import replace_file
from webui.weights.catalog.index import read_signature
from webui.weights.formats.metadata import read_metadata
from webui.weights.recognition.embeddings import embedding_word, embedding_words
from webui.weights.vocabulary import Vocabulary, read_vocabulary
from webui.workshop import Workshop

KEEP_UNUSED_INPUTS = 7 * 24 * 3600.0  # seconds: a page left open may still send a picture it uploaded
KEEP_UNKEPT_IMAGES = 24 * 3600.0  # seconds that images of calls without save_images can still be fetched
MAX_PROBLEMS = 50  # of models, in the state line
RANDOM_SEEDS = 2**32 - 1  # A1111 draws from 0 … 2³²-2, so that any drawn seed can be typed there too


class InfotextFacts(Data):
    """What a text says about how an image was made. `infotext` is None when it says nothing, otherwise in A1111's form.

    `program` is the name of what wrote it, empty if that cannot be told. See `images.dialects.interpret`.
    """

    program: str = ""
    infotext: str | None = None
    fields: Mapping[str, str] = {}
    request: GenerationRequest | None = None
    start: Mapping[str, Any] = {}
    unmapped: tuple[str, ...] = ()


class ImageFacts(InfotextFacts):
    """What an uploaded image says about how it was made. `items` are all other texts in the file."""

    width: int
    height: int
    items: dict[str, str]


@dataclass(frozen=True)
class RouteAnswer:
    """What the route of an extension answered: a `value` that becomes JSON, or with a `media_type` a file's content."""

    value: Any = None
    content: bytes = b""
    media_type: str = ""


class TokenCount(Data):
    """How many tokens a prompt takes up, and how many fit into the chunks of 75 that it needs."""

    tokens: int
    limit: int


class StudioStatus(Data):
    """The state line: worker, queue, memory (bytes) and anything the user should know."""

    worker: RunnerState
    worker_facts: dict[str, object]
    queued: int
    running: str | None
    paused: bool
    server_memory: int
    uptime: float
    problems: tuple[str, ...]


class Studio:
    """The product without its doors: everything the UI and the API can ask for."""

    def __init__(
        self,
        config: Config,
        settings: SettingsStore,
        shelf: Shelf,
        queue: JobQueue,
        runner: Runner,
        inputs: InputStore,
        styles: Styles,
        wildcards: Wildcards,
        extensions: Extensions,
        installer: Installer,
    ) -> None:
        self.config = config
        self._settings = settings
        self._shelf = shelf
        self._catalog = shelf.checkpoints
        self._queue = queue
        self._runner = runner
        self._inputs = inputs
        self._styles = styles
        self._wildcards = wildcards
        self._extensions = extensions
        self.installer = installer
        self._restart: Callable[[], None] | None = None
        self._vocabulary: tuple[Path, Vocabulary] | None = None  # of the model that tokens were counted for last
        self._counting = threading.Lock()
        self._started = time.monotonic()
        self._choosing = threading.Lock()
        self.workshop = Workshop(
            lambda kind, name: shelf.files.of(kind).find(name),
            config.checkpoint_dirs[0],
            config.models_dir / "Lora",
            self.refresh_models,
        )
        self._librarian = Librarian(
            shelf.files, lambda: queue.active() is not None, lambda: settings.snapshot().hash_models
        )

    # Jobs

    def submit(
        self,
        request: AnyRequest,
        *,
        source: str = "ui",
        task_id: str | None = None,
        overrides: Mapping[str, object] | None = None,
    ) -> JobView:
        """Plan `request` and put it in the queue.

        `overrides` are settings (A1111's option names) for this one job. Raises `BadRequest`, `NotFound`, `BadFile`
        when it cannot be run and `Busy` when the queue is full; nothing is queued then.
        """
        job = self._queue.submit(request, self._plan(request, overrides), source=source, task_id=task_id)
        self._let_listen(job.id)
        return job

    def _let_listen(self, job_id: str) -> None:
        """Tell the extensions that want to hear of it what happens to a job."""
        if any(api.listeners for api in self.features.apis):
            threading.Thread(target=self._listen, args=(job_id,), name="extensions-listen", daemon=True).start()

    def _listen(self, job_id: str) -> None:
        for entry in self._queue.follow(job_id):
            if entry is not None:
                self.features.hear(job_id, entry.event)

    def estimate(self, request: AnyRequest) -> MemoryEstimate:
        """Return how `request` would compute and what memory that takes, as things are now; nothing is queued.

        Raises what `submit` does, and `Busy` until the worker has told its device.
        """
        return estimate(engine_options(self.config), self._runner.facts(), self._plan(request, None))

    def _plan(self, request: AnyRequest, overrides: Mapping[str, object] | None) -> AnyPlan:
        for reference in pictures_of(request):
            self._inputs.path(reference)
        settings = self._settings.snapshot().overridden(self._with_settings_of_extensions(overrides or {}))
        # A script may name styles in the requests it makes; nobody else looks into their files for nothing.
        names_styles = isinstance(request, GenerationRequest) and bool(request.styles or request.script)
        words = planner.Words(self._styles.all() if names_styles else {}, self._wildcards.lines)
        return planner.plan(request, settings, self._shelf, lambda: secrets.randbelow(RANDOM_SEEDS), words)

    def job(self, job_id: str) -> JobView:
        """Return the job with this id or task id; `NotFound` otherwise."""
        return self._queue.job(job_id)

    def jobs(self, limit: int = 50) -> tuple[JobView, ...]:
        return self._queue.jobs(limit)

    def active(self) -> JobView | None:
        """Return the running job."""
        return self._queue.active()

    def follow(self, job_id: str, after: int = 0, timeout: float = 15.0) -> Iterator[Entry | None]:
        """Replay the job's log after entry `after`, then wait for what happens until its end.

        Yields None each `timeout` seconds without news, so that a caller can look whether anybody still listens.
        """
        return self._queue.follow(job_id, after, timeout)

    def wait(self, job_id: str) -> JobView:
        """Block until the job has ended."""
        return self._queue.wait(job_id)

    def interrupt(self, job_id: str | None = None) -> None:
        """Stop a job (None: the running one). A waiting job is cancelled; finished images stay."""
        self._queue.interrupt(job_id)

    def skip(self, job_id: str | None = None) -> None:
        """Give up the current batch of a job and go on with the next."""
        self._queue.skip(job_id)

    def progress(self, job_id: str | None = None) -> Progress:
        return self._queue.progress(job_id)

    def preview(self, job_id: str) -> bytes | None:
        """Return the newest live preview as JPEG."""
        return self._queue.preview(job_id)

    def image_path(self, job_id: str, index: int) -> Path:
        """Return the file of image `index`; `NotFound` when it was never made or is gone from the disk."""
        job = self.job(job_id)
        for image in job.images:
            if image.index == index:
                path = contained(self.config.outputs_dir, image.path)
                if path.is_file():
                    return path
                raise NotFound(f"Image {index} of job {job.id} is no longer on the disk.")
        raise NotFound(f"Job {job.id} has no image {index}.")

    def resume(self) -> None:
        """Go on after the queue was paused (it starts paused when the last two starts ended in a crash)."""
        self._queue.resume()

    # Models

    def models(self) -> tuple[ModelInfo, ...]:
        """Return all checkpoints, unusable ones with their `problem`."""
        return self._shelf.models()

    def refresh_models(self) -> None:
        """Look at the model folders again."""
        self._shelf.refresh()

    def current_model(self) -> ModelInfo | None:
        """Return the model a request without one gets, or None when there is no usable model at all."""
        try:
            return self._shelf.find_checkpoint(self._settings.snapshot().model)
        except NotFound:
            return None

    def select_model(self, name: str) -> ModelInfo:
        """Make `name` the current model. Jobs already queued keep theirs."""
        model = self._catalog.hashed(self._catalog.find(name))
        with self._choosing:
            self._settings.change(model=model.title)
        return model

    def vaes(self) -> tuple[ModelInfo, ...]:
        """Return all VAE files, unusable ones with their `problem`."""
        return self._shelf.vaes.models()

    def upscalers(self) -> tuple[ModelInfo, ...]:
        """Return all upscaler networks, unusable ones with their `problem`; the built-in ways are in the domain."""
        return self._shelf.upscalers.models()

    def find_models(self, query: ModelQuery) -> ModelList:
        """Return the models that agree with `query`, with their cards."""
        return search_models(self._shelf.files.of(query.kind), self.models_of(query.kind), query)

    def models_of(self, kind: Kind) -> tuple[ModelInfo, ...]:
        """Return all models of a kind, unusable ones with their `problem`; `NotFound` for a kind without a list."""
        return self._shelf.models() if kind is Kind.CHECKPOINT else self._shelf.files.models_of(kind)

    def model(self, kind: Kind, name: str) -> ModelInfo:
        """Return the model of a kind that `name` means, even if it cannot be used; `NotFound` otherwise."""
        catalog = self._shelf.files.of(kind)
        return catalog.settle(catalog.look_up(name))

    def model_page(self, model: ModelInfo) -> ModelPage:
        """Return the card of a model and what else is known about it."""
        return self._shelf.files.of(model.kind).page(model)

    def model_metadata(self, model: ModelInfo) -> Mapping[str, str]:
        """Return the texts in the header of a model's file; nothing for files that have none."""
        return read_metadata(model.path) if model.path.is_file() else {}

    def change_card(self, model: ModelInfo, change: CardChange) -> ModelInfo:
        """Change what the card of a model says, never the model itself, and return it. Raises `StorageError`."""
        return self._shelf.files.of(model.kind).change_card(model, change)

    def model_preview(self, model: ModelInfo, side: int) -> bytes:
        """Return the picture of a model as WebP of at most `side` pixels; `NotFound` when it has none."""
        source = self._shelf.files.of(model.kind).preview(model)
        if source is None:
            raise NotFound(f"{model.filename} has no picture.")
        return make_thumbnail(source, side)

    def model_preview_tag(self, model: ModelInfo) -> str:
        """Return what changes whenever the picture of a model does; `NotFound` when it has none."""
        source = self._shelf.files.of(model.kind).preview(model)
        if source is None:
            raise NotFound(f"{model.filename} has no picture.")
        file = model.path if isinstance(source, bytes) else source
        size, changed = read_signature(file)
        return f"{changed:x}-{size:x}"

    def set_model_preview(self, model: ModelInfo, reference: str) -> None:
        """Make a stored picture that of a model. Raises `NotFound` and `StorageError`."""
        file = self._shelf.files.of(model.kind).preview_file(model)
        replace_file(file, make_preview(self._inputs.path(reference)))
        self._shelf.files.of(model.kind).refresh()

    def scripts(self) -> tuple[AnyScript, ...]:
        """Return all scripts that extensions offer."""
        return self._extensions.scripts

    def options_schema(self, options: type[Data]) -> dict[str, Any]:
        """Return the JSON schema of options of an extension with the names there are now; see `options_schema`."""
        return options_schema(options, self.names)

    @property
    def features(self) -> Features:
        """What extensions offer and do."""
        return self._shelf.features

    def panels(self, page: str) -> tuple[AnyPanel, ...]:
        """Return the panels of extensions on a page."""
        return tuple(api.panel for api in self.features.apis if api.panel and page in api.panel.pages)

    def panel_options(self, title: str, page: str, arguments: Sequence[object]) -> tuple[str, Mapping[str, Any]] | None:
        """Return the extension whose panel A1111's clients call `title`, and the options that arguments mean.

        None if there is none; `BadRequest` for arguments that cannot be.
        """
        found = self.features.find_panel(title, page)
        if found is None:
            return None
        name, panel = found
        return name, self.features.read_arguments(panel, arguments, self.tools())

    def extension_routes(self) -> tuple[tuple[str, Route], ...]:
        """Return the routes of extensions, each with the name of its extension."""
        return tuple((api.name, route) for api in self.features.apis for route in api.routes)

    def answer_route(self, number: int, query: Mapping[str, str], body: Any) -> RouteAnswer:
        """Let route `number` of `extension_routes` answer. Raises any `EaselError`."""
        name, route = self.extension_routes()[number]
        with blaming(name):
            answer = route.answer(Call(query, body, self.tools(), self._carry_out))
        if isinstance(answer, File):
            return RouteAnswer(content=answer.content, media_type=answer.media_type)
        return RouteAnswer(value=answer)

    def _carry_out(self, request: AnyRequest) -> tuple[bytes, ...]:
        """Carry out `request` as a job and return the files of its images; raise what made it fail."""
        job = self.wait(self.submit(request, source="api").id)
        if job.error is not None:
            raise error_called(job.error.code)(job.error.message, hint=job.error.hint)
        return tuple(self.image_path(job.id, image.index).read_bytes() for image in job.images)

    def tools(self) -> Tools:
        """Return what extensions may look up."""
        return planner.make_tools(self._shelf, lambda: secrets.randbelow(RANDOM_SEEDS), self._settings.snapshot())

    def script_call(self, name: str, arguments: Sequence[object]) -> ScriptCall:
        """Return the call that a script's name and A1111's arguments by position mean; `NotFound` or `BadRequest`."""
        return options_from_args(find_script(name, self._extensions.scripts), arguments)

    def shown_extensions(self) -> ShownExtensions:
        """Return what the page shows of extensions, with the names there are now."""
        return show_extensions(self._extensions.apis, self.names)

    def shown_settings(self) -> tuple[ShownSettings, ...]:
        """Return the settings of extensions, with the names there are now."""
        return show_settings(self._extensions.apis, self.names, self.extension_settings())

    @property
    def assets(self) -> Assets:
        """The files of extensions that browsers may have."""
        return Assets(self._extensions.active)

    def unload_models(self) -> None:
        """Give back the memory that models take up, once no job runs any more."""
        self._runner.unload()

    def names(self, kind: NameKind) -> Sequence[str]:
        """Return all usable names of a kind, in the order users see them."""
        return self._shelf.names(kind)

    def proper_name(self, kind: NameKind, name: str) -> str:
        """Return the name under which `names` lists what `name` means, which may have a hash, an ending or any case.

        Raises `NotFound` or, for a file that cannot be used, `BadFile`.
        """
        return self._shelf.proper_name(kind, name)

    # Prompts

    def styles(self) -> tuple[Style, ...]:
        """Return all styles in the order of their files."""
        return tuple(self._styles.all().values())

    def save_style(self, name: str, prompt: str, negative_prompt: str) -> Style:
        """Add a style or replace the one of its name, and return it."""
        style = Style(name=name, prompt=prompt, negative_prompt=negative_prompt)
        self._styles.save(style)
        return style

    def delete_style(self, name: str) -> None:
        """Remove a style; `NotFound` when `styles.csv` has none of that name."""
        self._styles.delete(name)

    def wildcards(self) -> tuple[str, ...]:
        """Return the names of all wildcards."""
        return self._wildcards.names()

    def count_tokens(self, text: str, model: str | None = None) -> TokenCount:
        """Return how many tokens a prompt takes up in `model` (None: the current one), and how many its chunks hold.

        An edited prompt counts with its longest text, a template with one of the prompts it can become. Raises
        `NotFound` without a model.
        """
        settings = self._settings.snapshot()
        info = self._shelf.find_checkpoint(model or settings.model)
        with self._counting:
            if self._vocabulary is None or self._vocabulary[0] != info.path:
                self._vocabulary = (info.path, read_vocabulary(info))
            vocabulary = self._vocabulary[1]
        prompt = planner.preview_prompt(text, settings, self._wildcards.lines)
        words = self._taught_words(prompt, info)
        tokens = count_tokens(
            prompt,
            planner.DEFAULT_STEPS,
            lambda part: words.encode(part, vocabulary.encode),
            vocabulary.comma,
            settings.emphasis,
            settings.comma_backtrack,
            words.spans,
        )
        return TokenCount(tokens=tokens, limit=limit(tokens))

    def _taught_words(self, prompt: str, model: ModelInfo) -> TaughtWords:
        """Return the words of `prompt` that stand for vectors when `model` reads them, and for how many."""
        if model.family is None:
            return TaughtWords({})
        known = embedding_words(self.models_of(Kind.EMBEDDING), model.family)
        vectors = {
            word: int(self.model_page(known[word]).details.get("vectors", 1)) for word in find_words(prompt, known)
        }
        return TaughtWords(vectors)

    def embeddings(self) -> tuple[dict[str, ModelInfo], dict[str, ModelInfo]]:
        """Return what is typed for the embeddings that the current model can read, and for the others."""
        every, model = self.models_of(Kind.EMBEDDING), self.current_model()
        known = embedding_words(every, model.family) if model is not None and model.family is not None else {}
        return known, {word: each for each in every if (word := embedding_word(each)) not in known}

    # Settings

    def settings(self) -> Settings:
        return self._settings.snapshot()

    def change_settings(self, changes: Mapping[str, object], *, ignore_unknown: bool = False) -> Settings:
        """Save changed settings (our names or A1111's); all or nothing. `BadRequest` names the one at fault."""
        wanted = self._with_settings_of_extensions(changes)
        for name in ("model", "sd_model_checkpoint"):
            if wanted.get(name):
                wanted[name] = self._catalog.hashed(self._catalog.find(str(wanted[name]))).title
        return self._settings.change(wanted, ignore_unknown=ignore_unknown)

    def extension_settings(self) -> dict[str, Any]:
        """Return the settings that extensions offer, by name, as JSON types."""
        return self.features.settings(self._settings.snapshot().extensions)

    def _with_settings_of_extensions(self, changes: Mapping[str, object]) -> dict[str, object]:
        """Return `changes` with those that extensions offer in their own place; `BadRequest` for bad values."""
        of_extensions = self.features.check_settings(changes)
        inner = {*of_extensions, "extensions", "extension_settings"}
        wanted = {name: value for name, value in changes.items() if name not in inner}
        if of_extensions:
            wanted["extensions"] = {**self._settings.snapshot().extensions, **of_extensions}
        return wanted

    def defaults(self, model: str | None = None) -> GenerationRequest:
        """Return what a form shows before anything was typed: every blank filled for `model` (None: the current)."""
        info = self._catalog.find(model) if model else self.current_model()
        return planner.fill(GenerationRequest(), self._settings.snapshot(), info)

    def unlike_settings(self, request: GenerationRequest) -> dict[str, Any]:
        """Return what `request` says of sampling, emphasis and files in the place of the current model's parts that
        differs from the settings, as parts of a request."""
        settings = self._settings.snapshot()
        filled = planner.fill(request, settings, self.current_model())
        sampler = find_sampler(split_combined(str(filled.sampler), str(filled.schedule))[0])
        usual = planner.plan_sampling(SamplingOptions(), settings, sampler)
        asked = planner.plan_sampling(request.sampling, settings, sampler)
        sampling = {name: value for name, value in asked if value != getattr(usual, name)}
        emphasis = {} if request.emphasis in (None, settings.emphasis) else {"emphasis": request.emphasis}
        return {**({"sampling": sampling} if sampling else {}), **emphasis, **self._unlike_usual(request.modules or ())}

    def _unlike_usual(self, modules: Sequence[str]) -> dict[str, Any]:
        """Return the files that the current model would not take by itself."""
        model = self.current_model()
        chosen = self._settings.snapshot().modules
        usual = self._shelf.part_names(model, chosen) if modules and model is not None else ()
        return {"modules": list(modules)} if set(modules) - set(usual) else {}

    # Images

    def read_image(self, content: bytes) -> ImageFacts:
        """Return what an image file says about itself; `BadFile` when it is not an image."""
        if not content:
            raise BadRequest("No image was sent.", hint="Choose a PNG, JPEG or WebP file.", field="image")
        infotext, items = read_infotext(content)  # before the pixels: a cut-off file may still say how it was made
        width, height = read_size(content)
        return ImageFacts(
            width=width, height=height, items=items, **self._facts({**items, INFOTEXT_KEY: infotext or ""})
        )

    def read_infotext(self, text: str) -> InfotextFacts:
        """Return what a text says about how an image was made; any text that says nothing more is a prompt."""
        return InfotextFacts(**self._facts({INFOTEXT_KEY: text}))

    def _facts(self, texts: Mapping[str, str]) -> dict[str, Any]:
        """Return what texts say, with the options of extensions among it."""
        found = interpret(texts)
        if not found:
            return {}
        facts = dict(found)
        extra = self.features.read_sampling(found.fields)
        known = {"Sampler"} if "sampler" in extra else set()
        known |= {"Schedule type"} if "schedule" in extra else set()
        if found.request is not None:
            told = {"extensions": self.features.read_infotext(found.fields), **extra}
            facts["request"] = found.request.replace(**told)
        facts["unmapped"] = tuple(
            line
            for line in found.unmapped
            if not (self.features.understands(key := line.partition(":")[0]) or key in known)
        )
        return facts

    def add_input(self, content: bytes) -> StoredInput:
        """Store a picture or mask for jobs to begin with; `BadFile` when it is not an image."""
        if not content:
            raise BadRequest("No image was sent.", hint="Choose a PNG, JPEG or WebP file.", field="image")
        return self._inputs.add(content)

    def input_path(self, reference: str) -> Path:
        """Return the PNG file of a stored picture; `NotFound` when there is none."""
        return self._inputs.path(reference)

    # State

    def status(self) -> StudioStatus:
        progress = self._queue.progress()
        broken = [f"{model.name}: {model.problem}" for model in self._shelf.files.models() if model.problem]
        if len(broken) > MAX_PROBLEMS:
            broken = [*broken[:MAX_PROBLEMS], f"… and {len(broken) - MAX_PROBLEMS} more models that cannot be used."]
        problems = [
            *([self._settings.problem] if self._settings.problem else []),
            *broken,
            *self._styles.problems(),
            *self._extensions.problems,
            *self.installer.worker_problems(),
        ]
        return StudioStatus(
            worker=self._runner.state,
            worker_facts=self._runner.facts(),
            queued=progress.queued,
            running=progress.job_id,
            paused=self._queue.paused,
            server_memory=psutil.Process().memory_info().rss,
            uptime=time.monotonic() - self._started,
            problems=tuple(problems),
        )

    def start(self) -> None:
        """Start the worker and the queue, clear away pictures no job needs; return at once."""
        self._runner.start()
        self._inputs.prune(self._queue.inputs_in_use(), KEEP_UNUSED_INPUTS)
        self._queue.tidy(time.time() - KEEP_UNKEPT_IMAGES)
        self._queue.start()
        for job in self._queue.jobs():
            if not job.has_ended:
                self._let_listen(job.id)
        self._librarian.start()

    def offer_restart(self, restart: Callable[[], None]) -> None:
        """Let users have the program started anew by `restart`, which returns at once."""
        self._restart = restart

    @property
    def can_restart(self) -> bool:
        return self._restart is not None and not self.installer.refusal

    def restart(self) -> None:
        """Start the program anew: jobs stay in the queue. `NotAllowed` where others than this machine could ask."""
        if self.installer.refusal:
            raise NotAllowed("The server cannot be restarted over the network.", hint="Restart it in its console.")
        if self._restart is None:
            raise NotAllowed("This server cannot restart itself.", hint="End it in its console and start it again.")
        self._restart()

    def release_followers(self) -> None:
        """End all `follow` and `wait` calls, because the server is about to go."""
        self._queue.release_followers()

    def stop(self) -> None:
        """Stop taking jobs, put a running one back into the queue, join the worker."""
        self.workshop.stop()
        self._librarian.stop()
        self._queue.stop()
        self._runner.stop()
