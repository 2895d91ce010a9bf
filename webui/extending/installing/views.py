"""An extension as the page shows it: what its folder says, what is remembered of it, and how its start went."""

from __future__ import annotations

from webui.domain.extensions import Addition, ExtensionView, Source, State
from webui.errors import BadRequest
from webui.extending.additions import additions_of
from webui.extending.api import ExtensionApi
from webui.extending.installing.inspecting import notes_on
from webui.extending.installing.packages import REQUIREMENTS, read_requirements
from webui.extending.places import Found
from webui.extending.startup import Started, verdict_of
from webui.extending.worker_marks import read_marks


def view_of(found: Found, source: Source, started: Started, can_roll_back: bool) -> ExtensionView:
    """Return everything there is to show of one extension."""
    verdict = verdict_of(started.ledger, found)
    failure = None if is_changed(found, started) else started.failures.get(found.key)
    problem, log = (failure.problem, failure.log) if failure else (found.problem, verdict.log if verdict else "")
    if verdict is not None and not problem:
        problem = verdict.problem
    if not problem and not is_changed(found, started):
        problem = read_marks(started.homes.worker_marks).problems.get(found.place.name, "")
    folder = found.place.folder
    title, description = _words(found, started)
    return ExtensionView(
        folder=found.key,
        name=found.place.name,
        title=title,
        version=found.manifest.version,
        description=description,
        author=found.manifest.author,
        homepage=found.manifest.homepage if found.manifest.homepage.startswith("https://") else "",
        source=source,
        is_bundled=found.place.is_bundled,
        is_enabled=started.ledger.record(found.key).is_enabled,
        state=_state(found, started, problem),
        problem=problem,
        log=log,
        notes=(*notes_on(folder), *(verdict.notes if verdict else ())),
        additions=(*_additions(found, started, verdict.additions if verdict else ()), *_files(found)),
        permissions=found.manifest.permissions,
        packages=_packages(found),
        seconds=verdict.seconds if verdict else 0.0,
        can_roll_back=can_roll_back,
    )


def _words(found: Found, started: Started) -> tuple[str, str]:
    """Return title and description: the manifest's, or else those of the panel, the only script or the cards."""
    api = _registered(found, started)
    title, description = found.manifest.title, found.manifest.description
    if api is not None and api.panel is not None:
        title, description = title or api.panel.title, description or api.panel.description
    elif api is not None and len(api.scripts) == 1:
        title, description = title or api.scripts[0].name, description or api.scripts[0].description
    elif api is not None and api.networks:
        title = title or api.networks[0].title
    return title or found.place.folder.name, description


def is_changed(found: Found, started: Started) -> bool:
    """Return whether the next start would do something else with an extension than the last one did."""
    may_load = started.which == "all" or (started.which == "bundled" and found.place.is_bundled)
    will_load = may_load and started.ledger.record(found.key).is_enabled
    if will_load != (found.key in started.enabled):
        return True
    if not will_load:
        return False
    before = next((each for each in started.found if each.key == found.key), None)
    if before is None or before.stamp != found.stamp:
        return True
    verdict, failure = verdict_of(started.ledger, found), started.failures.get(found.key)
    return failure is not None and failure.is_trial and verdict is not None and not verdict.problem  # tried once more


def _state(found: Found, started: Started, problem: str) -> State:
    if not started.ledger.record(found.key).is_enabled:
        return "waiting" if found.key in started.enabled else "disabled"
    if problem:
        return "failed"
    if is_changed(found, started):
        return "waiting"
    return "active" if found.key in started.enabled else "disabled"


def _registered(found: Found, started: Started) -> ExtensionApi | None:
    """Return what an extension registered at the start."""
    return next((each.api for each in started.extensions.active if each.folder == found.place.folder), None)


def _additions(found: Found, started: Started, tried: tuple[Addition, ...]) -> tuple[Addition, ...]:
    api = _registered(found, started)
    return tried if api is None else additions_of(api)


def _files(found: Found) -> tuple[Addition, ...]:
    lists = {"javascript": found.javascript, "styles": found.styles, "translations": found.localizations}
    return tuple(
        Addition(kind=kind, names=tuple(path.name for path in paths)) for kind, paths in lists.items() if paths
    )


def _packages(found: Found) -> tuple[str, ...]:
    try:
        return read_requirements(found.place.folder)
    except (BadRequest, OSError):
        return (REQUIREMENTS,)
