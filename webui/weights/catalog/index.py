"""What is known about model files, kept from one start to the next: what they are, and their hashes.

A cache in SQLite: whatever is in it can be found out again, so a damaged one is set aside and begun anew. Entries are
valid as long as the sizes and times of their files stay the same, and what files are also as long as the code that told
it does.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import sqlalchemy
from sqlalchemy import BigInteger, Column, Connection, MetaData, String, Table, Text, select
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.exc import SQLAlchemyError

from webui.domain.models import Kind
from webui.errors import BadFile
from webui.weights.catalog.hashes import GivenUp, always, digest
from webui.weights.recognition.upscaler_files import SPANDREL

log = logging.getLogger(__name__)

_SHA256 = re.compile(r"[0-9a-f]{64}")
_FORMAT = "1"

_schema = MetaData()
_state = Table(
    "state", _schema, Column("format", String(20), nullable=False), Column("code", String(64), nullable=False)
)
_models = Table(
    "models",
    _schema,
    Column("kind", String(30), primary_key=True),
    Column("path", Text, primary_key=True),
    Column("signature", Text, nullable=False),
    Column("facts", Text, nullable=False),
    Column("card_signature", Text, nullable=False),
    Column("card", Text, nullable=False),
)
_hashes = Table(
    "hashes",
    _schema,
    Column("path", Text, primary_key=True),
    Column("size", BigInteger, nullable=False),
    Column("changed", BigInteger, nullable=False),
    Column("sha256", String(64), nullable=False),
)

Signature = tuple[int, int]
"""Size in bytes and time of the last change in nanoseconds."""


@dataclass(frozen=True)
class Remembered:
    """One model as the index knows it: facts and card as JSON, each with the signature of what it was read from."""

    path: str
    signature: str
    facts: str
    card_signature: str
    card: str


class ModelIndex:
    """The index in one file. Thread-safe, and each call opens the database for itself, so there is nothing to close."""

    def __init__(self, path: Path) -> None:
        """Open the index at `path`, or begin it. A `hashes.json` of earlier versions beside it is taken over."""
        self._path = path
        self._engine = sqlalchemy.create_engine(f"sqlite:///{path}", poolclass=sqlalchemy.pool.NullPool)
        self._lock = threading.Lock()
        self._locks: dict[str, threading.Lock] = {}
        self._urgent: set[str] = set()
        self._known: dict[str, tuple[Signature, str]] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._open()
        except (SQLAlchemyError, ValueError) as error:
            aside = path.with_name(f"{path.name}.damaged")
            log.warning("The index of models is damaged (%s); it is kept as %s and made again.", error, aside.name)
            os.replace(path, aside)
            self._open()
        self._take_over(path.with_name("hashes.json"))

    def _open(self) -> None:
        code = _code_stamp()
        with self._engine.begin() as connection:
            if connection.exec_driver_sql("PRAGMA quick_check(1)").scalar() != "ok":
                raise ValueError("its pages do not fit together")
            _schema.create_all(connection)
            state = connection.execute(select(_state)).one_or_none()
            if state is not None and state.format != _FORMAT:
                raise ValueError(f"its format is {state.format}")
            if state is None or state.code != code:  # other code may tell other things about the same files
                connection.execute(_models.delete())
                connection.execute(_state.delete())
                connection.execute(_state.insert().values(format=_FORMAT, code=code))
            rows = connection.execute(select(_hashes)).all()
        self._known = {row.path: ((row.size, row.changed), row.sha256) for row in rows}

    def _take_over(self, file: Path) -> None:
        if not file.is_file():
            return
        known = _read_old(file)
        if known:
            self._save_hashes(known)
            self._known |= known
        file.unlink()

    # What files are

    def recall(self, kind: Kind) -> dict[str, Remembered]:
        """Return what is known about the models of a kind, by path."""
        rows: list[Any] = []
        with self._logged("read"), self._engine.connect() as connection:
            wanted = [column for column in _models.c if column.name != "kind"]
            rows = list(connection.execute(select(*wanted).where(_models.c.kind == kind.value)))
        return {row.path: Remembered(*row) for row in rows}

    def remember(self, kind: Kind, models: Iterable[Remembered]) -> None:
        """Keep what was found out about models of a kind."""
        rows = [{"kind": kind.value, **vars(model)} for model in models]
        self._put(_models, rows)

    # Hashes

    def known_hash(self, path: str, signature: Signature) -> str | None:
        """Return the SHA-256 of a file if it was computed when the file had this signature."""
        entry = self._known.get(path)
        return entry[1] if entry is not None and entry[0] == signature else None

    def sha256(self, path: Path) -> str:
        """Return the SHA-256 of a file's content, reading it if need be (seconds per gigabyte).

        Raises `BadFile` when the file cannot be read or changes meanwhile.
        """
        name = str(path)
        with self._lock:
            lock = self._locks.setdefault(name, threading.Lock())
        with lock:  # two who ask for the same file read it once
            self._urgent.add(name)
            try:
                return self._sha256(path, always)
            finally:
                self._urgent.discard(name)

    def sha256_quietly(self, path: Path, go_on: Callable[[], bool]) -> str:
        """Like `sha256`, for a caller in no hurry: `GivenUp` when `go_on` says no or somebody else asks for it."""
        return self._sha256(path, lambda: str(path) not in self._urgent and go_on())

    def _sha256(self, path: Path, go_on: Callable[[], bool]) -> str:
        try:
            before = read_signature(path)
            known = self.known_hash(str(path), before)
            if known is not None:
                return known
            found = digest(path, go_on)
            after = read_signature(path)
        except OSError as error:
            raise BadFile(f"{path.name} cannot be read: {error.strerror}.", field="model") from error
        if before != after:
            raise BadFile(f"{path.name} changed while it was read.", hint="Wait until it is complete.", field="model")
        with self._lock:
            self._known[str(path)] = (before, found)
        self._save_hashes({str(path): (before, found)})
        return found

    def _save_hashes(self, hashes: Mapping[str, tuple[Signature, str]]) -> None:
        rows = [
            {"path": path, "size": size, "changed": changed, "sha256": sha256}
            for path, ((size, changed), sha256) in hashes.items()
        ]
        self._put(_hashes, rows)

    # The database

    def _put(self, table: Table, rows: list[dict[str, object]]) -> None:
        if not rows:
            return
        statement = insert(table)
        keys = [column.name for column in table.primary_key]
        changed = {column.name: statement.excluded[column.name] for column in table.c if column.name not in keys}
        with self._logged("written"), self._write() as connection:
            connection.execute(statement.on_conflict_do_update(index_elements=keys, set_=changed), rows)

    @contextmanager
    def _write(self) -> Iterator[Connection]:
        with self._lock, self._engine.begin() as connection:
            yield connection

    @contextmanager
    def _logged(self, verb: str) -> Iterator[None]:
        """A cache that fails costs time, not an answer."""
        try:
            yield
        except SQLAlchemyError as error:
            log.warning("The index of models %s cannot be %s: %s", self._path, verb, getattr(error, "orig", error))


def read_signature(path: Path) -> Signature:
    """Return size and time of a file; `OSError` when there is none."""
    facts = path.stat()
    return facts.st_size, facts.st_mtime_ns


def _code_stamp() -> str:
    """Return a hash of all that decides what a file is taken for: the modules here, and libraries some models need."""
    found = hashlib.sha256()
    for file in sorted(Path(__file__).parent.parent.rglob("*.py")):
        found.update(file.read_bytes())
    found.update(repr([find_spec(name) is not None for name in SPANDREL]).encode())
    return found.hexdigest()


def _read_old(path: Path) -> dict[str, tuple[Signature, str]]:
    """Return what a `hashes.json` holds; a damaged one only costs computing again."""
    try:
        content = json.loads(path.read_text("utf-8"))
        known = {
            str(name): ((int(size), int(changed)), str(sha256)) for name, (size, changed, sha256) in content.items()
        }
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        log.warning("The old list of hashes %s is unreadable (%s); they will be computed again.", path, error)
        return {}
    return {name: entry for name, entry in known.items() if _SHA256.fullmatch(entry[1])}


__all__ = ["GivenUp", "ModelIndex", "Remembered", "Signature", "read_signature"]
