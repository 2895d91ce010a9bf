"""Imports extensions and lets each register what it offers; one that fails does not stop the others."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

from webui.config import REPOSITORY
from webui.errors import BadRequest, EaselError
from webui.extending.api import ExtensionApi
from webui.extending.places import ENTRY, Place, module_name
from webui.extending.scripts import AnyScript

PACKAGE = "extensions"  # of which every extension becomes a part, wherever its folder lies

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Extension:
    """One that is active. `api` holds what it registered, None if it has no code for us. The lists are what a page may
    be sent: files of A1111's `javascript/`, `style.css` and `localizations/`."""

    name: str
    folder: Path
    title: str
    is_bundled: bool = True
    overlay: Path | None = None
    api: ExtensionApi | None = None
    javascript: tuple[Path, ...] = ()
    styles: tuple[Path, ...] = ()
    localizations: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Failure:
    """Why an extension is left out, and where it failed: in its trial, or later."""

    name: str
    problem: str
    log: str = ""
    is_trial: bool = False


@dataclass(frozen=True)
class Extensions:
    """What all extensions offer, and what the user should know about those that offer nothing."""

    scripts: tuple[AnyScript, ...] = ()
    problems: tuple[str, ...] = ()
    active: tuple[Extension, ...] = ()
    failures: tuple[Failure, ...] = field(default=(), repr=False)

    @property
    def apis(self) -> tuple[ExtensionApi, ...]:
        """What each registered, in the order in which they were loaded."""
        return tuple(each.api for each in self.active if each.api is not None)

    @property
    def places(self) -> tuple[Place, ...]:
        """What the worker loads: those with code, in the same order."""
        return tuple(
            Place(each.name, each.folder, each.is_bundled, each.overlay) for each in self.active if each.api is not None
        )


def load_extensions(folder: Path) -> Extensions:
    """Load every `<folder>/<name>/extension.py` in the order of their names, as the program's own: without a trial."""
    entries = sorted(folder.glob(f"*/{ENTRY}")) if folder.is_dir() else []
    return load_places([Place(module_name(entry.parent.name), entry.parent, True) for entry in entries])


def load_places(places: Iterable[Place], begin: Callable[[Place], None] = lambda place: None) -> Extensions:
    """Import the `extension.py` of every place, in this order, and call its `register`.

    They become modules below the package `extensions`; `begin` is called before each. An extension that raises is named
    in the log, in `problems` and `failures`, and nothing it added counts.
    """
    active: list[Extension] = []
    failures = []
    for place in places:
        begin(place)
        if not place.is_bundled:
            log.info("Loading extension %s", place.name)  # in the worker, the last that is heard of one that ends it
        try:
            api = load(place)
            _refuse_twins(api, [each.api for each in active if each.api is not None])
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # sys.exit and whatever else strangers raise
            log.warning("Extension %s failed and is left out", place.name, exc_info=True)
            failures.append(Failure(place.name, explain(error), trace_of(error, place)))
        else:
            active.append(Extension(place.name, place.folder, place.folder.name, place.is_bundled, place.overlay, api))
    problems = tuple(f"Extension {each.name} is left out: {each.problem}" for each in failures)
    scripts = tuple(script for each in active if each.api is not None for script in each.api.scripts)
    return Extensions(scripts, problems, tuple(active), tuple(failures))


def explain(error: BaseException) -> str:
    """Return in a line why an extension failed."""
    if isinstance(error, EaselError):
        return str(error)
    return f"{type(error).__name__}: {error}".removesuffix(": ")


def trace_of(error: BaseException, place: Place) -> str:
    """Return where in its own files an extension failed, as Python writes it."""
    trace = error.__traceback__
    while trace is not None and not Path(trace.tb_frame.f_code.co_filename).is_relative_to(place.folder):
        trace = trace.tb_next  # ours, and Python's import
    return "".join(traceback.format_exception(type(error), error, trace))


def load(place: Place) -> ExtensionApi:
    """Import one extension and return what it registered. Raises whatever it raises."""
    _make_known(place)
    module = import_entry(place)
    register = getattr(module, "register", None)
    if not callable(register):
        raise BadRequest(f"{ENTRY} has no function register(api).", hint="docs/extensions.md shows a first extension.")
    api = ExtensionApi(place.name, place.folder)
    register(api)
    return api


def import_entry(place: Place) -> ModuleType:
    importlib.invalidate_caches()
    module = importlib.import_module(f"{PACKAGE}.{place.name}.{place.entry.stem}")
    if Path(str(module.__file__)) != place.entry:
        raise BadRequest(f"There is already an extension {place.name} in {module.__file__}.", hint="Rename the folder.")
    return module


def _make_known(place: Place) -> None:
    if place.overlay is not None and str(place.overlay) not in sys.path:
        sys.path.append(str(place.overlay))  # last: nothing there may hide a module of the program
    finder = next((finder for finder in sys.meta_path if isinstance(finder, _Finder)), None)
    if finder is None:
        finder = _Finder()
        sys.meta_path.insert(0, finder)
    finder.add(place)


class _Finder(MetaPathFinder):
    """Finds `extensions.<name>` in the folder of that extension, whatever that folder is called."""

    def __init__(self) -> None:
        self._folders: dict[str, Path] = {}

    def add(self, place: Place) -> None:
        self._folders[f"{PACKAGE}.{place.name}"] = place.folder

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname == PACKAGE:
            return _namespace(fullname, REPOSITORY / PACKAGE)
        folder = self._folders.get(fullname)
        if folder is None:
            return None
        if (folder / "__init__.py").is_file():
            return importlib.util.spec_from_file_location(
                fullname, folder / "__init__.py", submodule_search_locations=[str(folder)]
            )
        return _namespace(fullname, folder)


def _namespace(name: str, folder: Path) -> ModuleSpec:
    spec = ModuleSpec(name, None, is_package=True)
    spec.submodule_search_locations = [str(folder)]
    return spec


def _refuse_twins(api: ExtensionApi, others: Sequence[ExtensionApi]) -> None:
    """Raise `BadRequest` when something of `api` has a name that is taken already, by others or by itself."""
    taken = {name for other in others for name in _names_of(other)}
    for name in _names_of(api):
        if name in taken:
            raise BadRequest(f"There is already a {name[0]} called {name[1]!r}.", hint="Switch one of the two off.")
        taken.add(name)


def _names_of(api: ExtensionApi) -> Iterator[tuple[str, str]]:
    """Yield (kind, name) of everything that is found by its name, each thing's own names once."""
    for script in api.scripts:
        yield from (("script", name) for name in {script.name.lower(), *script.aliases})
    if api.panel is not None:
        yield from (("panel", name) for name in {api.panel.title.lower(), *api.panel.aliases})
    for preprocessor in api.preprocessors:
        yield from (("preprocessor", name) for name in {preprocessor.name, *preprocessor.aliases})
    for kind, named in (("sampler", api.samplers), ("schedule", api.schedules), ("upscaler", api.upscalers)):
        yield from ((kind, each.name.lower()) for each in named)
    yield from (("tab", tab.id) for tab in api.tabs)
    yield from (("route", f"{route.method} {route.path}") for route in api.routes)
    yield from (("kind of tag", tag) for tag in sorted(api.tags))
    if api.settings is not None:
        yield from (("setting", name) for name in api.settings.options.model_fields)
