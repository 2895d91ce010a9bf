"""Installs, updates, switches, removes and restores extensions. What is changed counts from the next start on."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from webui.domain.extensions import (
    ExtensionList,
    ExtensionView,
    FromFolder,
    FromGit,
    FromZip,
    IndexEntry,
    Inspection,
    SavedExtension,
    SavedState,
    Source,
)
from webui.errors import BadRequest, Busy, EaselError, NotAllowed, NotFound
from webui.extending.installing.addresses import folder_name
from webui.extending.installing.catalogues import read_index
from webui.extending.installing.fetching import Fetcher
from webui.extending.installing.packages import Packages
from webui.extending.installing.repositories import read_checkout
from webui.extending.installing.versions import Versions
from webui.extending.installing.views import is_changed, view_of
from webui.extending.installing.waiting import Fetch, Waiting
from webui.extending.places import Found
from webui.extending.startup import Started
from webui.extending.trial import SECONDS, try_one
from webui.extending.worker_marks import read_marks
from webui.storage import check_name

MAX_SAVED = 100
LOCK_HINT = "Try again when it is done."

Asked = FromGit | FromZip | FromFolder


class Installer:
    """Everything the Extensions page can ask for. Thread-safe; one change at a time."""

    def __init__(
        self,
        started: Started,
        *,
        refusal: str = "",
        fetcher: Fetcher | None = None,
        packages: Packages | None = None,
        seconds: float = SECONDS,
    ) -> None:
        """`refusal`: why nothing may be changed, empty if it may. `seconds`: the limit of a trial."""
        self._homes = started.homes
        self._versions = Versions(started.homes)
        self._ledger = started.ledger
        self._started = started
        self.refusal = refusal
        self._fetcher = fetcher or Fetcher()
        self._packages = packages or Packages()
        self._seconds = seconds
        self._changing = threading.Lock()
        self._waiting = Waiting(self._homes.fetched, self._fetcher.limits)

    # What there is

    def overview(self) -> ExtensionList:
        """Return all extensions as they are now, and what waits for a yes."""
        found = self._homes.find()
        keys = {each.key for each in found}
        gone = any(each.key in self._started.enabled - keys for each in self._started.found)
        return ExtensionList(
            extensions=tuple(self._view(each) for each in found),
            waiting=self._waiting.inspections(),
            saved=tuple(sorted(self._ledger.content.saved.values(), key=lambda saved: -saved.made)),
            problems=(self._ledger.problem,) if self._ledger.problem else (),
            refusal=self.refusal,
            needs_restart=gone or any(is_changed(each, self._started) for each in found),
            loads=self._started.which,
        )

    def view(self, folder: str) -> ExtensionView:
        return self._view(self._find(folder))

    def _view(self, found: Found) -> ExtensionView:
        return view_of(found, self._source(found), self._started, self._versions.has_previous(found.key))

    def worker_problems(self) -> tuple[str, ...]:
        """Return what went wrong with extensions in the worker."""
        problems = read_marks(self._homes.worker_marks).problems
        return tuple(f"Extension {name} is left out: {problem}" for name, problem in problems.items())

    def read_index(self, address: str) -> tuple[IndexEntry, ...]:
        """Return what an index lists. Asking another machine is refused where installing is."""
        self._allow()
        installed = [self._source(each).address for each in self._homes.find()]
        return read_index(address.strip(), self._fetcher.downloads, installed)

    # Installing: fetch, look, say yes

    def fetch(self, asked: Asked) -> Inspection:
        """Fetch what was asked for and return what it is. Nothing of it has run, and nothing is installed."""
        with self._change():
            name = folder_name(asked.name, asked.address)
            return self._wait_for_yes(name, lambda target: self._fetcher.fetch(asked, target))

    def fetch_zip(self, chunks: Iterable[bytes], filename: str) -> Inspection:
        """Do as `fetch` with a zip that was sent."""
        with self._change():
            name = folder_name("", Path(filename).name)
            return self._wait_for_yes(name, lambda target: self._fetcher.unpack(chunks, filename, target))

    def look_for_update(self, folder: str) -> Inspection | None:
        """Fetch what is new for an extension; None when nothing is."""
        with self._change():
            found = self._find(folder)
            source = self._source(found)
            is_upload = source.kind == "zip" and "://" not in source.address and not Path(source.address).is_absolute()
            if found.place.is_bundled or source.kind == "unknown" or is_upload:
                raise BadRequest(f"It is not known where {folder} could be updated from.", hint="Install it again.")
            if source.kind == "git":
                self._homes.fetched.mkdir(parents=True, exist_ok=True)
                newest = self._fetcher.repositories.newest(source.address, source.ref, self._homes.fetched)
                if newest == source.commit:
                    return None
            inspection = self._fetch_again(folder, source)
            if not inspection.changed:
                self._waiting.discard(inspection.id)
                return None
            return inspection

    def accept(self, number: str) -> ExtensionView:
        """Install what was fetched: its packages, then its files, then a trial in a process of its own.

        An update whose trial fails is taken back (`BadRequest` says why); a new extension stays, switched off by its
        failure, with the log of it.
        """
        with self._change():
            inspection, content = self._waiting.get(number)
            name, overlay = inspection.folder, content.parent / "overlay"
            self._packages.install(content, overlay, self._versions.other_overlays(name))
            record = self._ledger.record(name)
            old = self._source(self._find(name)) if self._versions.folder(name).exists() else None
            self._versions.put(name, content, overlay)
            self._ledger.change_record(name, source=inspection.source, previous=old)
            self._waiting.discard(number)
            problem = self._try(name)
            if problem and old is not None:
                self._versions.swap(name)
                self._versions.drop_previous(name)
                self._ledger.change_record(name, **dict(record.replace(previous=None)))
                raise BadRequest(
                    f"The new version of {name} does not work: {problem} The one before is back.",
                    hint="Its author may know more.",
                )
            return self.view(name)

    def reject(self, number: str) -> None:
        """Forget what was fetched; nothing is left of it."""
        with self._change():
            self._waiting.get(number)
            self._waiting.discard(number)

    # Changing what there is

    def enable(self, folder: str, is_enabled: bool) -> ExtensionView:
        """Switch an extension on or off, from the next start on."""
        with self._change():
            self._ledger.change_record(self._find(folder).key, is_enabled=is_enabled)
            return self.view(folder)

    def try_again(self, folder: str) -> ExtensionView:
        """Try an extension that failed once more, as something outside of its folder may have changed."""
        with self._change():
            self._try(folder)
            return self.view(folder)

    def roll_back(self, folder: str) -> ExtensionView:
        """Put the version before the last update in the place of the present one, which can be got back likewise."""
        with self._change():
            found = self._find(folder)
            if not self._versions.has_previous(found.key):
                raise NotFound(f"No earlier version of {folder} is kept.")
            record, source = self._ledger.record(folder), self._source(found)
            self._versions.swap(folder)
            self._ledger.change_record(folder, source=record.previous or Source(), previous=source)
            self._try(folder)
            return self.view(folder)

    def remove(self, folder: str) -> Path:
        """Move an extension into the trash and return where it is now."""
        with self._change():
            found = self._find(folder)
            if found.place.is_bundled:
                raise NotAllowed(f"{folder} comes with the program.", hint="Switch it off instead.")
            record = self._ledger.record(found.key).replace(source=self._source(found))
            trash = self._versions.throw_away(found.place.folder.name, record.model_dump_json(indent=1).encode())
            self._ledger.forget(found.key)
            return trash

    # Saved states

    def save_state(self, name: str) -> SavedState:
        """Remember which extensions there are and which are on."""
        with self._change():
            check_name(name)
            saved = self._ledger.content.saved
            if len(saved) >= MAX_SAVED and name not in saved:
                raise BadRequest(f"There are {MAX_SAVED} saved states.", hint="Delete some.", field="name")
            extensions = {
                each.key: SavedExtension(source=self._source(each), is_enabled=self._ledger.record(each.key).is_enabled)
                for each in self._homes.find()
            }
            state = SavedState(name=name, made=time.time(), extensions=extensions)
            self._ledger.change(saved={**saved, name: state})
            return state

    def delete_state(self, name: str) -> None:
        with self._change():
            self._saved(name)
            saved = {key: each for key, each in self._ledger.content.saved.items() if key != name}
            self._ledger.change(saved=saved)

    def restore_state(self, name: str) -> tuple[str, ...]:
        """Switch everything on or off as it was, and fetch what was there in another version, or is no longer there.

        What is fetched waits for a yes. Extensions that were not there are switched off, not removed. Returns what
        could not be done.
        """
        with self._change():
            state = self._saved(name)
            found = {each.key: each for each in self._homes.find()}
            for key, each in found.items():
                if key in state.extensions or not each.place.is_bundled:
                    is_enabled = key in state.extensions and state.extensions[key].is_enabled
                    self._ledger.change_record(key, is_enabled=is_enabled)
            problems = []
            for key, saved in state.extensions.items():
                if saved.source.kind == "bundled" or (key in found and self._source(found[key]) == saved.source):
                    continue
                try:
                    self._fetch_saved(key, saved.source)
                except EaselError as error:
                    problems.append(f"{key}: {error}")
            return tuple(problems)

    # Inside

    @contextlib.contextmanager
    def _change(self) -> Iterator[None]:
        """Hold everything else up; raise `NotAllowed` where nothing may be changed, `Busy` while something is."""
        self._allow()
        if not self._changing.acquire(blocking=False):
            raise Busy("Another extension is being fetched or changed.", hint=LOCK_HINT)
        try:
            yield
        finally:
            self._changing.release()

    def _allow(self) -> None:
        if self.refusal:
            raise NotAllowed(self.refusal)

    def _find(self, folder: str) -> Found:
        for each in self._homes.find():
            if each.key == folder:
                return each
        raise NotFound(f"There is no extension {folder[:100]!r}.")

    def _source(self, found: Found) -> Source:
        if found.place.is_bundled:
            return Source(kind="bundled")
        source = self._ledger.record(found.key).source
        return source if source.kind != "unknown" else read_checkout(found.place.folder)

    def _wait_for_yes(self, name: str, fetch: Fetch) -> Inspection:
        """Have `fetch` fill a new folder called `name`, look at it, and keep it until somebody decides."""
        self._refuse_twin(name)
        folder = self._versions.folder(name)
        if not folder.is_dir():
            return self._waiting.add(name, fetch, None)
        replaces = self._source(self._find(name))
        inspection = self._waiting.add(name, fetch, folder)
        own = {f"- {path}" for path in self._versions.own_files(name)}
        changed = tuple(each for each in inspection.changed if each not in own)
        return self._waiting.change(inspection.replace(replaces=replaces, changed=changed))

    def _refuse_twin(self, name: str) -> None:
        """Raise `BadRequest` when another extension has this name but for its case, or what has it is no extension."""
        found = self._homes.find()
        for each in found:
            known = each.place.folder.name
            if known != name and known.lower() == name.lower():
                raise BadRequest(f"There is an extension {known} already.", hint="Choose another name.", field="name")
        path = self._versions.folder(name)
        if path.exists() and name not in {each.key for each in found}:
            raise BadRequest(f"{path} is no extension and stays.", hint="Choose another name.", field="name")

    def _fetch_again(self, folder: str, source: Source) -> Inspection:
        asked: Asked
        if source.kind == "git":
            asked = FromGit(address=source.address, ref=source.ref)
        elif source.kind == "zip":
            asked = FromZip(address=source.address)
        else:
            asked = FromFolder(address=source.address)
        return self._wait_for_yes(folder, lambda target: self._fetcher.fetch(asked, target))

    def _fetch_saved(self, key: str, source: Source) -> None:
        """Fetch the very version that was saved."""
        if source.kind == "unknown":
            raise BadRequest("It is not known where it came from.", hint="Put its folder back by hand.")
        if source.kind != "git":
            inspection = self._fetch_again(key, source)
            if inspection.source.commit != source.commit:
                self._waiting.discard(inspection.id)
                raise BadRequest("What is at its address now is another version.")
            return
        asked = FromGit(address=source.address, ref=source.commit or source.ref)
        inspection = self._wait_for_yes(key, lambda target: self._fetcher.fetch(asked, target))
        self._waiting.change(inspection.replace(source=source))

    def _saved(self, name: str) -> SavedState:
        if name not in self._ledger.content.saved:
            raise NotFound(f"There is no saved state {name[:100]!r}.")
        return self._ledger.content.saved[name]

    def _try(self, folder: str) -> str:
        """Try an extension in a process of its own and remember the verdict; return what is wrong."""
        found = self._find(folder)
        if found.problem or not found.has_code or found.place.is_bundled:
            return found.problem
        verdict = try_one(found, self._seconds)
        self._ledger.note_verdicts({found.key: verdict})
        return verdict.problem
