"""The start: extensions are found, strangers' tried in processes of their own, and those that are good loaded."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from webui.domain.extensions import Verdict
from webui.extending.api import VERSION
from webui.extending.installing.packages import overlay_problem
from webui.extending.ledger import Ledger
from webui.extending.loader import Extension, Extensions, Failure, load_places
from webui.extending.places import Found, Place, find_places, missing_requirements
from webui.extending.trial import SECONDS, try_all
from webui.extending.worker_marks import NAME, clear_marks

Which = Literal["all", "bundled", "none"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Homes:
    """The program's folder of extensions, the user's (may be the same), and where what belongs to them is kept."""

    bundled: Path
    user: Path
    state: Path

    @property
    def ledger(self) -> Path:
        return self.state / "extensions.json"

    @property
    def worker_marks(self) -> Path:
        return self.state / NAME

    @property
    def overlays(self) -> Path:
        return self.state / "overlays"

    @property
    def fetched(self) -> Path:
        """What waits for a yes. Nothing in it is ever run."""
        return self.state / "fetched"

    @property
    def listings(self) -> Path:
        """For each installed extension, which files came with it; what else is in its folder is the user's."""
        return self.state / "listings"

    @property
    def previous(self) -> Path:
        """What was there before the last update, to go back to."""
        return self.state / "previous"

    @property
    def trash(self) -> Path:
        return self.state / "trash"

    def find(self) -> tuple[Found, ...]:
        return find_places(self.bundled, self.user, self.overlays)


@dataclass(frozen=True)
class Started:
    """What there was at the start, and what became of it. `enabled` and the names of `failures` are keys."""

    homes: Homes
    ledger: Ledger
    extensions: Extensions
    which: Which = "all"
    found: tuple[Found, ...] = ()
    enabled: frozenset[str] = frozenset()
    failures: Mapping[str, Failure] = field(default_factory=dict)


def start_extensions(homes: Homes, which: Which = "all", seconds: float = SECONDS) -> Started:
    """Load all extensions that are on, each stranger's only after a good trial of at most `seconds`.

    A trial is remembered until something in the folder changes. Nothing that an extension does there can keep this from
    returning.
    """
    ledger = Ledger(homes.ledger)
    clear_marks(homes.worker_marks)
    found = homes.find() if which != "none" else ()
    enabled = [
        each for each in found if ledger.record(each.key).is_enabled and (which == "all" or each.place.is_bundled)
    ]
    failures = {each.key: problem for each in enabled if (problem := _unfit(each)) is not None}
    _blame_last_end(ledger, enabled)
    good = [each for each in enabled if each.key not in failures]
    strangers = [each for each in good if each.has_code and not each.place.is_bundled]
    _try(ledger, strangers, seconds)
    for each in strangers:
        verdict = verdict_of(ledger, each) or Verdict(stamp=each.stamp, problem="It was never tried.")
        if verdict.problem:
            failures[each.key] = Failure(each.place.name, verdict.problem, verdict.log, True)
    good = _with_requirements([each for each in good if each.key not in failures], failures)
    loaded = _load(ledger, good)
    keys = {each.place.name: each.key for each in good}
    failures |= {keys[failure.name]: failure for failure in loaded.failures}
    _note_start(ledger, good, loaded)
    problems = [f"Extension {key} is left out: {failure.problem}" for key, failure in sorted(failures.items())]
    if ledger.problem:
        problems.append(ledger.problem)
    extensions = replace(
        loaded, problems=tuple(problems), active=_with_files(good, loaded), failures=tuple(failures.values())
    )
    return Started(homes, ledger, extensions, which, found, frozenset(each.key for each in enabled), failures)


def verdict_of(ledger: Ledger, found: Found) -> Verdict | None:
    """Return what is remembered of this very content."""
    verdict = ledger.content.verdicts.get(found.key)
    return verdict if verdict is not None and verdict.stamp == found.stamp else None


def _unfit(found: Found) -> Failure | None:
    """Return why an extension cannot be loaded, as far as its files tell."""
    if problem := found.problem or overlay_problem(found.place.overlay):
        return Failure(found.place.name, problem)
    if found.manifest.api > VERSION:
        return Failure(
            found.place.name,
            f"It needs version {found.manifest.api} of the extension API; this program has version {VERSION}.",
        )
    return None


def _blame_last_end(ledger: Ledger, enabled: Sequence[Found]) -> None:
    """Switch off the extension that the program was loading when it ended the last time."""
    culprit = ledger.content.starting
    if not culprit:
        return
    for each in enabled:
        if each.key == culprit:
            problem = "The program ended while it was loading this extension."
            ledger.note_verdicts({culprit: Verdict(stamp=each.stamp, problem=problem)})
    ledger.note_starting("")


def _try(ledger: Ledger, strangers: Sequence[Found], seconds: float) -> None:
    untried = [each for each in strangers if verdict_of(ledger, each) is None]
    if untried:
        log.info("Trying %s for the first time", ", ".join(each.key for each in untried))
        verdicts = try_all(untried, seconds)
        ledger.note_verdicts({each.key: verdict for each, verdict in zip(untried, verdicts, strict=True)})


def _with_requirements(good: Sequence[Found], failures: dict[str, Failure]) -> list[Found]:
    """Return those whose requirements are among them; the others are added to `failures`."""
    left = list(good)
    while lacking := [(each, missing) for each in left if (missing := missing_requirements(each, left))]:
        for each, missing in lacking:
            left.remove(each)
            problem = f"It requires {', '.join(missing)}, which is not there, off, or failed itself."
            failures[each.key] = Failure(each.place.name, problem)
    return left


def _load(ledger: Ledger, good: Sequence[Found]) -> Extensions:
    """Load all with code; the name of one that has never been loaded here is noted while it is."""
    by_name = {each.place.name: each for each in good}

    def begin(place: Place) -> None:
        verdict = verdict_of(ledger, by_name[place.name])
        is_new = verdict is not None and not verdict.has_started
        ledger.note_starting(by_name[place.name].key if is_new else "")

    loaded = load_places([each.place for each in good if each.has_code], begin)
    ledger.note_starting("")
    return loaded


def _note_start(ledger: Ledger, good: Sequence[Found], loaded: Extensions) -> None:
    """Remember which strangers could be loaded into the server, and which could not."""
    failed = {failure.name: failure for failure in loaded.failures}
    verdicts = {}
    for each in good:
        verdict = verdict_of(ledger, each)
        if verdict is None:
            continue
        failure = failed.get(each.place.name)
        changed = verdict.replace(has_started=failure is None)
        if changed != verdict:
            verdicts[each.key] = changed
    if verdicts:
        ledger.note_verdicts(verdicts)


def _with_files(good: Sequence[Found], loaded: Extensions) -> tuple[Extension, ...]:
    """Return all that are active, those without code for us too, with their titles and files."""
    with_code = {each.name: each for each in loaded.active}
    active = []
    for each in good:
        place = each.place
        extension = with_code.get(place.name)
        if extension is None and each.has_code:
            continue  # it failed
        extension = extension or Extension(place.name, place.folder, "", place.is_bundled, place.overlay)
        active.append(
            replace(
                extension,
                title=each.manifest.title or place.folder.name,
                javascript=each.javascript,
                styles=each.styles,
                localizations=each.localizations,
            )
        )
    return tuple(active)
