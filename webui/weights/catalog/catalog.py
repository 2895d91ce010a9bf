"""The models of one kind on disk: found, named, identified, hashed on demand."""

from __future__ import annotations

import logging
import math
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from pydantic import ValidationError

from webui.domain.cards import CardChange, ModelCard, ModelPage
from webui.domain.models import Kind, ModelInfo
from webui.errors import BadFile, EaselError, NotFound
from webui.weights.catalog.cards import CardFiles, merge, merge_defaults
from webui.weights.catalog.index import ModelIndex, Remembered, Signature, read_signature
from webui.weights.catalog.model_facts import ModelFacts
from webui.weights.catalog.model_names import NameTable, natural, unused_name
from webui.weights.catalog.scan import FileFacts, OnDisk, Scan, scan
from webui.weights.formats.metadata import read_thumbnail

log = logging.getLogger(__name__)

_TOGETHER = 200  # models that are identified before the list shows them
_NO_CARD = ModelCard()
_FRESH = 3600.0  # seconds after its last change in which a damaged file may be one that is still being written


@dataclass(frozen=True)
class Sort:
    """What to look for on disk: files that `wants` accepts (lower-case name, root), and folders that hold the file
    `folder_mark` (empty: none).

    `identify` reads one and raises `BadFile` for what is of no use; `field` is the request's name for such a model and
    `words` what users call it; `home` is where it belongs.
    """

    kind: Kind
    wants: Callable[[str, Path], bool]
    folder_mark: str
    identify: Callable[[Path], ModelFacts]
    field: str
    words: str
    home: str


@dataclass(frozen=True)
class _Known:
    """What is known about one model; `facts` is None as long as nobody looked into it."""

    disk: OnDisk
    name: str
    signature: str
    facts: ModelFacts | None
    card_signature: str
    card: ModelCard

    @property
    def remembered(self) -> Remembered | None:
        """What the index is to keep of it."""
        if self.facts is None:
            return None
        return Remembered(
            self.disk.path,
            self.signature,
            self.facts.model_dump_json(exclude_defaults=True),
            self.card_signature,
            self.card.model_dump_json(exclude_defaults=True),
        )


class Catalog:
    """All models of one sort below some folders. Thread-safe; `refresh` looks at the disk, the rest answers from
    memory.

    What the index knows is listed at once. New files are identified for up to `patience` seconds; those left over are
    listed as pending, until `identify_pending` or somebody who wants one comes to them. The first time it may be less.
    """

    def __init__(
        self,
        directories: Sequence[Path],
        index: ModelIndex,
        sort: Sort,
        cards: CardFiles | None = None,
        patience: float = math.inf,
        *,
        first_patience: float | None = None,
    ) -> None:
        self._directories = tuple(directories)
        self._index = index
        self._sort = sort
        self._cards = cards or CardFiles()
        self._patience = patience
        self._refreshing = threading.Lock()
        self._lock = threading.Lock()
        self._remembered = index.recall(sort.kind)
        self._folders: dict[str, int] = {}
        self._known: dict[str, _Known] = {}
        self._infos: dict[str, ModelInfo] = {}
        self._models: tuple[ModelInfo, ...] = ()
        self._names: NameTable | None = None
        self._refresh(patience if first_patience is None else first_patience)

    @property
    def kind(self) -> Kind:
        return self._sort.kind

    @property
    def directories(self) -> tuple[Path, ...]:
        return self._directories

    @property
    def has_pending(self) -> bool:
        """Whether there are models that nobody looked into yet."""
        return any(model.pending for model in self.models())

    # Looking at the disk

    def refresh(self) -> None:
        """Look at the folders again. Files that did not change are not read again."""
        self._refresh(self._patience)

    def _refresh(self, patience: float) -> None:
        with self._refreshing:
            found = scan(self._directories, self._sort.wants, self._sort.folder_mark)
            self._take(found)
            until = time.monotonic() + patience
            self._identify(lambda: time.monotonic() < until)

    def follow(self) -> bool:
        """Look at the folders again if something in them changed, as far as a glance tells; return whether it did.

        A glance sees that files came, went or were renamed, and that one which was damaged (perhaps because it was
        still being written) has grown.
        """
        changed = any(_folder_time(folder) != seen for folder, seen in self._folders.items())
        changed = changed or any(folder.is_dir() for folder in self._directories if str(folder) not in self._folders)
        if changed or any(_has_grown(known) for known in self._unsettled()):
            self.refresh()
            return True
        return False

    def identify_pending(self, go_on: Callable[[], bool]) -> None:
        """Look into the models that are pending, as long as `go_on` says so."""
        with self._refreshing:
            self._identify(go_on)

    def _take(self, found: Scan) -> None:
        used: set[str] = set()
        known = {}
        changed: list[_Known] = []
        for disk in found.models:
            now = self._look(disk, unused_name(disk, used))
            known[disk.path] = now
            if now != self._known.get(disk.path):
                changed.append(now)
        described = {entry.disk.path: self._describe(entry) for entry in changed}
        order = sorted(known, key=lambda path: natural(known[path].name))
        with self._lock:
            infos = self._infos | described  # a hash may have come meanwhile
            self._folders, self._known = found.folders, known
            self._infos = {path: infos[path] for path in order}
            self._publish()
        self._remember(changed)

    def _look(self, disk: OnDisk, name: str) -> _Known:
        """Return what is known about a model without opening it; only a card that changed is read."""
        before, remembered = self._known.get(disk.path), self._remembered.get(disk.path)
        signature, card_signature = disk.signature, _signature_of(self._cards.locate(disk))
        facts = before.facts if before is not None and before.signature == signature else None
        if facts is None and remembered is not None and remembered.signature == signature:
            facts = _parse_facts(remembered.facts)
        if not card_signature:
            card = _NO_CARD
        elif before is not None and before.card_signature == card_signature:
            card = before.card
        elif remembered is not None and remembered.card_signature == card_signature:
            card = _parse_card(remembered.card) or self._cards.read(disk)
        else:
            card = self._cards.read(disk)
        return _Known(disk, name, signature, facts, card_signature, card)

    def _identify(self, go_on: Callable[[], bool]) -> None:
        pending = [known for known in self._known.values() if known.facts is None]
        for start in range(0, len(pending), _TOGETHER):
            done = []
            for known in pending[start : start + _TOGETHER]:
                if not go_on():
                    break
                done.append(self._read(known))
            self._learn(done)
            if len(done) < min(_TOGETHER, len(pending) - start):
                return

    def _read(self, known: _Known) -> _Known:
        try:
            facts = self._sort.identify(Path(known.disk.path))
        except EaselError as error:
            facts = ModelFacts(problem=str(error).removeprefix(f"{os.path.basename(known.disk.path)}: "))
        except OSError as error:
            facts = ModelFacts(problem=f"it cannot be read: {error.strerror or error}.")
        except Exception as error:  # a header nobody thought of must not take the other models away
            log.exception("%s could not be identified", known.disk.path)
            facts = ModelFacts(problem=f"it could not be understood ({type(error).__name__}).")
        return _replaced(known, facts=facts)

    def _learn(self, learnt: Sequence[_Known]) -> None:
        if not learnt:
            return
        with self._lock:
            for known in learnt:
                if known.disk.path in self._infos:
                    self._known[known.disk.path] = known
                    self._infos[known.disk.path] = self._describe(known)
            self._publish()
        self._remember(learnt)

    def _remember(self, known: Iterable[_Known]) -> None:
        news = (entry.remembered for entry in known if not self._is_remembered(entry))
        fresh = {entry.path: entry for entry in news if entry is not None}
        self._index.remember(self._sort.kind, fresh.values())
        self._remembered |= fresh

    def _is_remembered(self, known: _Known) -> bool:
        kept = self._remembered.get(known.disk.path)
        return kept is not None and (kept.signature, kept.card_signature) == (known.signature, known.card_signature)

    def _publish(self) -> None:
        self._models, self._names = tuple(self._infos.values()), None

    def _unsettled(self) -> list[_Known]:
        with self._lock:
            known = list(self._known.values())
        recently = time.time_ns() - int(_FRESH * 1e9)
        broken = [entry for entry in known if entry.facts is not None and entry.facts.problem is not None]
        return [entry for entry in broken if any(changed > recently for _, _, changed in entry.disk.files)]

    # Asking

    def models(self) -> tuple[ModelInfo, ...]:
        """Return every model in natural order, broken ones with their `problem` included."""
        with self._lock:
            return self._models

    def find(self, name: str) -> ModelInfo:
        """Return the model whose name, file name, title, `name [hash]`, short or old hash or SHA-256 is `name`, in any
        case.

        Raises `NotFound` naming the nearest models, `BadFile` when the model has a problem.
        """
        model = self.settle(self.look_up(name))
        if model.problem is not None:
            raise BadFile(f"{model.filename}: {model.problem}", field=self._sort.field)
        return model

    def look_up(self, name: str) -> ModelInfo:
        """Like `find`, but a model with a problem is returned like any other."""
        field = self._sort.field
        with self._lock:
            table = self._names = self._names or NameTable(self._models)
        found = table.match(name)
        if len(found) > 1:
            names = ", ".join(model.name for model in found)
            raise NotFound(f"Several models are called {name!r}: {names}.", hint="Use the full name.", field=field)
        if not found:
            near = table.nearest(name)
            hint = f"Did you mean: {', '.join(near)}?" if near else self._none_usable()
            raise NotFound(f"{self._sort.words} not found: {name!r}.", hint=hint, field=field)
        return found[0]

    def settle(self, model: ModelInfo) -> ModelInfo:
        """Return `model` as it is now: looked into if it is pending, or if its file was replaced meanwhile.

        Raises `NotFound` when it was taken away.
        """
        with self._lock:
            known = self._known.get(str(model.path))
        if known is None:
            return model
        if not known.disk.is_folder and _time_of(known) != _now(known):
            self.refresh()
        elif model.pending:
            self._learn([self._read(known)])
        with self._lock:
            now = self._infos.get(str(model.path))
        if now is None:
            raise NotFound(f"{model.filename} is no longer on the disk.", field=self._sort.field)
        return now

    def first_usable(self, judge: Callable[[ModelInfo], ModelInfo] = lambda model: model) -> ModelInfo | None:
        """Return the first model in the list that can be used; `judge` may know a problem that the catalog does not."""
        settled = (self.settle(model) if model.pending else model for model in self.models())
        return next((model for model in settled if judge(model).problem is None), None)

    def _none_usable(self) -> str:
        return f"There is no usable one; put a file into {self._sort.home}."

    # Hashes

    def hashed(self, model: ModelInfo) -> ModelInfo:
        """Return `model` with its SHA-256, reading its files if they were never hashed (seconds per gigabyte).

        A folder's hash is the SHA-256 over the sorted (relative name, SHA-256) pairs of its weight files.
        Raises `BadFile` when a file cannot be read.
        """
        return self._hashed(model, self._index.sha256)

    def hash_quietly(self, model: ModelInfo, go_on: Callable[[], bool]) -> None:
        """Like `hashed`, for a caller in no hurry: `GivenUp` when `go_on` says no or somebody else needs the hash."""
        self._hashed(model, lambda file: self._index.sha256_quietly(file, go_on))

    def _hashed(self, model: ModelInfo, compute: Callable[[Path], str]) -> ModelInfo:
        with self._lock:
            before = self._known.get(str(model.path))
        facts = before.facts if before is not None else None
        weights = (facts or self._sort.identify(model.path)).weights or ("",)
        hashes = {name: compute(model.path / name if name else model.path) for name in weights}
        found = _combine(hashes)
        with self._lock:
            now = self._known.get(str(model.path))
            if before is not None and now is not None and now.signature == before.signature:
                info = self._infos[str(model.path)]  # not `model`: the card may have changed while the file was read
                self._infos[str(model.path)] = info.replace(sha256=found)
                self._publish()
        return model.replace(sha256=found)

    # Cards

    def page(self, model: ModelInfo) -> ModelPage:
        """Return the card of `model` and its details."""
        known = self._known_of(model)
        facts = known.facts or ModelFacts()
        has_preview = facts.has_thumbnail or self._cards.preview(known.disk) is not None
        return ModelPage(card=merge(known.card, facts.told), details=facts.details, has_preview=has_preview)

    def change_card(self, model: ModelInfo, change: CardChange) -> ModelInfo:
        """Change the card of `model`, never the model, and return it as it is now. Raises `StorageError`."""
        self._cards.write(self._known_of(model).disk, change)
        self.refresh()
        return self.look_up(str(model.path))

    def preview(self, model: ModelInfo) -> bytes | Path | None:
        """Return the picture of `model`: a file beside it, or what its metadata holds; None when there is none."""
        known = self._known_of(model)
        if known.facts is not None and known.facts.has_thumbnail and self._cards.preview(known.disk) is None:
            return read_thumbnail(model.path)
        return self._cards.preview(known.disk)

    def preview_file(self, model: ModelInfo) -> Path:
        """Return where a new picture of `model` is to be written (PNG)."""
        return self._cards.own_preview(self._known_of(model).disk)

    def _known_of(self, model: ModelInfo) -> _Known:
        with self._lock:
            known = self._known.get(str(model.path))
        if known is None:
            raise NotFound(f"{model.filename} is no longer on the disk.", field=self._sort.field)
        return known

    def _describe(self, known: _Known) -> ModelInfo:
        facts, disk = known.facts or ModelFacts(), known.disk
        card = merge(known.card, facts.told)
        usable = known.facts is not None and facts.problem is None
        return ModelInfo(
            name=known.name,
            path=Path(disk.path),
            kind=facts.kind or self._sort.kind,
            family=facts.family,
            variant=facts.variant,
            parts=facts.parts,
            slots=facts.slots,
            role=facts.role,
            width=facts.width,
            layout="diffusers" if disk.is_folder else "original",
            size=disk.size,
            sha256=self._known_hash(disk, facts) if usable else None,
            old_hash=facts.old_hash,
            problem=facts.problem,
            pending=known.facts is None,
            description=card.description or card.title,
            defaults=merge_defaults(card.defaults, facts.defaults),
            examples=card.examples,
        )

    def _known_hash(self, disk: OnDisk, facts: ModelFacts) -> str | None:
        signatures = disk.file_signatures()
        hashes: dict[str, str] = {}
        for name in facts.weights or ("",):
            path = os.path.join(disk.path, *name.split("/")) if name else disk.path
            known = self._index.known_hash(path, signatures.get(name, (-1, -1)))
            if known is None:
                return None
            hashes[name] = known
        return _combine(hashes)


def _combine(hashes: Mapping[str, str]) -> str:
    """Return the hash of a model from those of its files, by relative name; the empty one is a single file's."""
    if "" in hashes:
        return hashes[""]
    lines = (f"{name} {found}\n" for name, found in sorted(hashes.items()))
    return sha256("".join(lines).encode()).hexdigest()


def _replaced(known: _Known, facts: ModelFacts) -> _Known:
    return _Known(known.disk, known.name, known.signature, facts, known.card_signature, known.card)


def _signature_of(cards: tuple[FileFacts, ...]) -> str:
    return repr(cards) if cards else ""


def _parse_facts(text: str) -> ModelFacts | None:
    try:
        return ModelFacts.model_validate_json(text)
    except ValidationError:
        return None


def _parse_card(text: str) -> ModelCard | None:
    try:
        return ModelCard.model_validate_json(text)
    except ValidationError:
        return None


def _folder_time(folder: str) -> int | None:
    try:
        return os.stat(folder).st_mtime_ns
    except OSError:
        return None


def _has_grown(known: _Known) -> bool:
    base = Path(known.disk.path)
    files = known.disk.files
    now = (_signature(base / name if known.disk.is_folder else base) for name, _, _ in files)
    return any(found != (size, changed) for found, (_, size, changed) in zip(now, files, strict=True))


def _time_of(known: _Known) -> Signature:
    return known.disk.file_signatures()[""]


def _now(known: _Known) -> Signature | None:
    return _signature(Path(known.disk.path))


def _signature(path: Path) -> Signature | None:
    try:
        return read_signature(path)
    except OSError:
        return None
