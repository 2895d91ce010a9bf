"""The durable job table: a job answered with an id is never forgotten, and ends exactly once.

One server process owns a database (see `webui.jobs.instance`), so rows found `running` at start belong to a run that
died. Within the process a claim carries a *fence*: whoever lost a job (its lease ran out, or the server put it back)
is refused when it reports, so two runs never both finish one job. Leases are counted on the monotonic clock: stepping
the wall clock frees nothing.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import sqlalchemy
from pydantic import TypeAdapter
from sqlalchemy import (
    Boolean,
    Column,
    Connection,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    bindparam,
    event,
    func,
    select,
)
from sqlalchemy.exc import DatabaseError, IntegrityError, OperationalError

from webui.domain.events import (
    Cancelled,
    Event,
    Failed,
    Finished,
    ImageDone,
    ImageFailed,
    ImageSkipped,
    Noted,
    Queued,
    Started,
)
from webui.domain.jobs import ENDED, Entry, JobState, JobView
from webui.domain.plan import PLANS, AnyPlan
from webui.domain.request import REQUESTS, AnyRequest, pictures_of
from webui.errors import BadRequest, Busy, EaselError, NotFound, StorageError

SCHEMA_VERSION = 1
SETTLED = ("done", "skipped", "failed")
"""States of images that no later attempt has to make."""
MAX_ATTEMPTS = 3
MAX_QUEUED = 10_000
LEASE = 60.0  # seconds a running job may go without a heartbeat
CRASHES_BEFORE_PAUSE = 2
CRASH_WINDOW = 60.0  # seconds

_schema = MetaData()

_version = Table("schema_version", _schema, Column("version", Integer, nullable=False))

_crashes = Table("crashes", _schema, Column("time", Float, nullable=False))

_jobs = Table(
    "jobs",
    _schema,
    Column("id", String(32), primary_key=True),
    Column("task_id", String(200), unique=True),
    Column("user", String(200)),
    Column("source", String(50), nullable=False),
    Column("state", String(20), nullable=False),
    Column("priority", Integer, nullable=False),
    Column("sequence", Integer, nullable=False),
    Column("created", Float, nullable=False),
    Column("started", Float),
    Column("ended", Float),
    Column("request", Text, nullable=False),
    Column("plan", Text, nullable=False),
    Column("attempts", Integer, nullable=False, default=0),
    Column("worker", String(50)),
    Column("lease_until", Float),
    Column("fence", Integer, nullable=False, default=0),
    Column("error", Text),
    Index("jobs_by_age", "created", "sequence"),
    Index("jobs_by_sequence", "sequence"),
)

_images = Table(
    "images",
    _schema,
    Column("job_id", ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("index", Integer, primary_key=True),
    Column("state", String(20), nullable=False),  # placed: a name is reserved; done: complete on disk; skipped; failed
    Column("path", Text, nullable=False),
    Column("keep", Boolean, nullable=False),
    Column("width", Integer, nullable=False, default=0),
    Column("height", Integer, nullable=False, default=0),
    Column("seed", Integer, nullable=False, default=0),
    Column("infotext", Text, nullable=False, default=""),
    Index("images_by_path", "path"),
)

_events = Table(
    "events",
    _schema,
    Column("job_id", ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("kind", String(20), nullable=False),
    Column("time", Float, nullable=False),
    Column("payload", Text, nullable=False),
)

_event_adapter: TypeAdapter[Event] = TypeAdapter(Event)
_next_first = (_jobs.c.priority.desc(), _jobs.c.sequence.asc())
Index("jobs_in_order", _jobs.c.state, *_next_first)


class ClaimLost(EaselError):
    """The job was taken away from this run (put back, or its lease ran out); what it reports no longer counts."""

    status = 500


@dataclass(frozen=True)
class Claim:
    """The right to run one job and to report about it."""

    job_id: str
    plan: AnyPlan
    attempt: int
    fence: int
    started: float  # UTC seconds since 1970


@dataclass(frozen=True)
class Recovery:
    """What was found at start. `pause`: the server crashed so often in the last minute that it must not just go on."""

    requeued: tuple[str, ...]
    quarantined: tuple[str, ...]
    pause: bool


class JobStore:
    """Jobs, their images and their event logs in a database. Safe to use from several threads."""

    def __init__(self, url: str) -> None:
        """Open the database at SQLAlchemy `url` and make its tables; `StorageError` when it is damaged or too new."""
        self._engine = sqlalchemy.create_engine(url, pool_size=20, max_overflow=100)
        if self._engine.dialect.name == "sqlite":
            event.listen(self._engine, "connect", _prepare_connection)
            event.listen(self._engine, "begin", _begin)
        self._writing = self._engine.execution_options(easel_writes=True)
        try:
            self._open()
        except BaseException:
            self._engine.dispose()
            raise

    def close(self) -> None:
        self._engine.dispose()

    def _open(self) -> None:
        if self._engine.dialect.name == "sqlite":
            with self._read() as connection:
                found = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar()
            if found != "ok":
                raise _damaged(str(found))
        with self._write() as connection:
            _schema.create_all(connection)
            version = connection.execute(select(_version.c.version)).scalar()
            if version is None:
                connection.execute(_version.insert().values(version=SCHEMA_VERSION))
        if version is not None and version > SCHEMA_VERSION:
            raise StorageError(
                f"The job database was written by a newer Easel (format {version}; this one knows {SCHEMA_VERSION}).",
                hint="Start the newer Easel, or use another --data-dir.",
            )

    # Making and ordering

    def enqueue(
        self,
        request: AnyRequest,
        plan: AnyPlan,
        *,
        source: str = "ui",
        user: str | None = None,
        task_id: str | None = None,
        priority: int = 0,
        limit: int = MAX_QUEUED,
    ) -> JobView:
        """Store a new job and its `Queued` event at once. `Busy` when `limit` wait; `BadRequest` for a known task id.

        The job is on disk when this returns.
        """
        now = time.time()
        row = {
            "id": uuid.uuid4().hex,
            "task_id": task_id,
            "user": user,
            "source": source,
            "state": "queued",
            "priority": priority,
            "created": now,
            "request": request.model_dump_json(),
            "plan": plan.model_dump_json(),
            "attempts": 0,
            "fence": 0,
        }
        try:
            with self._write() as connection:
                waiting = _count_queued(connection)
                if waiting >= limit:
                    raise Busy(
                        f"The queue is full: {waiting} jobs are waiting.", hint="Wait until some of them are done."
                    )
                row["sequence"] = (connection.execute(select(func.max(_jobs.c.sequence))).scalar() or 0) + 1
                placed = _jobs.insert().values(row).returning(_jobs.c.priority, _jobs.c.sequence)
                ahead = _count_ahead(connection, connection.execute(placed).one())
                _append(connection, str(row["id"]), Queued(), now)
        except IntegrityError:
            raise BadRequest(
                f"A job with the task id {task_id!r} exists already.",
                hint="Use a new task id for each job.",
                field="force_task_id",
            ) from None
        return JobView(
            id=str(row["id"]),
            task_id=task_id,
            state="queued",
            source=source,
            created=now,
            request=request,
            plan=plan,
            position=ahead,
        )

    def set_priority(self, job_id: str, priority: int) -> None:
        """Give a waiting job another priority (higher runs first); no-op once it runs."""
        job_id = self.resolve(job_id)
        with self._write() as connection:
            connection.execute(
                _jobs.update().where(_jobs.c.id == job_id, _jobs.c.state == "queued").values(priority=priority)
            )

    def reorder(self, job_id: str, position: int) -> None:
        """Move a waiting job to `position` (0: next), and those between by one place; no-op once it runs."""
        job_id = self.resolve(job_id)
        with self._write() as connection:
            places = connection.execute(
                select(_jobs.c.id, _jobs.c.priority, _jobs.c.sequence)
                .where(_jobs.c.state == "queued")
                .order_by(*_next_first)
            ).all()
            before = [place.id for place in places]
            if job_id not in before:
                return
            after = [other for other in before if other != job_id]
            after.insert(max(0, position), job_id)
            moved = [  # each takes over the priority and number of the place it comes to
                {"moved": now, "to_priority": place.priority, "to_sequence": place.sequence}
                for now, was, place in zip(after, before, places, strict=True)
                if now != was
            ]
            if moved:
                to_place: dict[str, object] = {
                    "priority": bindparam("to_priority"),
                    "sequence": bindparam("to_sequence"),
                }
                connection.execute(_jobs.update().where(_jobs.c.id == bindparam("moved")).values(to_place), moved)

    # Running

    def claim(self, worker: str, lease: float = LEASE) -> Claim | None:
        """Take the next waiting job, or None. The attempt is counted before the run, so a job that kills us counts."""
        now = time.time()
        following = select(_jobs.c.id).where(_jobs.c.state == "queued").order_by(*_next_first).limit(1)
        taking = (
            _jobs.update()
            .where(_jobs.c.id == following.scalar_subquery(), _jobs.c.state == "queued")
            .values(
                state="running",
                worker=worker,
                started=now,
                attempts=_jobs.c.attempts + 1,
                fence=_jobs.c.fence + 1,
                lease_until=time.monotonic() + lease,
            )
            .returning(_jobs.c.id, _jobs.c.plan, _jobs.c.attempts, _jobs.c.fence)
        )
        with self._write() as connection:
            row = connection.execute(taking).one_or_none()
            if row is None:
                return None
            plan = PLANS.validate_json(row.plan)
            started = Started(
                attempt=row.attempts, images=len(plan.images), batches=len(plan.batches), steps=plan.total_steps
            )
            _append(connection, row.id, started, now)
        return Claim(job_id=row.id, plan=plan, attempt=row.attempts, fence=row.fence, started=now)

    def heartbeat(self, claim: Claim, lease: float = LEASE) -> None:
        """Prolong the lease."""
        with self._write() as connection:
            _change_owned(connection, claim, lease_until=time.monotonic() + lease)

    def image_placed(self, claim: Claim, index: int, path: str) -> None:
        """Reserve `path` for an image before its file is written, so that a re-run finds a file left by a crash."""
        with self._write() as connection:
            _check_owned(connection, claim)
            _put_image(connection, claim, index, state="placed", path=path)

    def image_done(self, claim: Claim, image: ImageDone) -> bool:
        """Make a finished file visible and log it; the same image again changes nothing and returns False."""
        with self._write() as connection:
            _check_owned(connection, claim)
            known = _find_image(connection, claim.job_id, image.index)
            if known is not None and known.state == "done" and known.path == image.path:
                return False
            facts = image.model_dump(exclude={"kind", "index", "role"})
            _put_image(connection, claim, image.index, state="done", **facts)
            _append(connection, claim.job_id, image, time.time())
        return True

    def image_missing(self, claim: Claim, image: ImageSkipped | ImageFailed) -> bool:
        """Log that image `index` will not come; False when it is already known as done, skipped or failed."""
        with self._write() as connection:
            _check_owned(connection, claim)
            known = _find_image(connection, claim.job_id, image.index)
            if known is not None and known.state in SETTLED:
                return False
            state = "skipped" if isinstance(image, ImageSkipped) else "failed"
            _put_image(connection, claim, image.index, state=state, path="")
            _append(connection, claim.job_id, image, time.time())
        return True

    def note(self, claim: Claim, note: Noted) -> None:
        """Log something the user may want to know."""
        with self._write() as connection:
            _check_owned(connection, claim)
            _append(connection, claim.job_id, note, time.time())

    def image_state(self, job_id: str, index: int) -> tuple[str, str] | None:
        """Return (state, path) of an image a run has begun to save: `placed` or one of `SETTLED`; else None."""
        with self._read() as connection:
            known = _find_image(connection, job_id, index)
        return (known.state, known.path) if known is not None else None

    def path_is_taken(self, path: str, job_id: str) -> bool:
        """Whether a finished image of another job lies at `path`."""
        query = select(_images.c.index).where(
            _images.c.path == path, _images.c.state == "done", _images.c.job_id != job_id
        )
        with self._read() as connection:
            return connection.execute(query.limit(1)).first() is not None

    def finish(self, claim: Claim) -> None:
        with self._write() as connection:
            row = _check_owned(connection, claim)
            finished = Finished(
                images=_count_done(connection, claim.job_id), seconds=max(0.0, time.time() - row.started)
            )
            _end(connection, claim, "finished", finished)

    def fail(self, claim: Claim, failed: Failed, *, quarantine: bool = False) -> None:
        """End the job without success; `quarantine` marks one that brought its worker or the server down too often."""
        with self._write() as connection:
            _check_owned(connection, claim)
            _end(connection, claim, "quarantined" if quarantine else "failed", failed)

    def cancel(self, claim: Claim) -> None:
        """End the job because the user stopped it; its finished images stay."""
        with self._write() as connection:
            _check_owned(connection, claim)
            _end(connection, claim, "cancelled", Cancelled(images=_count_done(connection, claim.job_id)))

    def requeue(self, claim: Claim, failed: Failed | None = None, *, counted: bool = True) -> None:
        """Put the job back at its old place in the queue. `counted=False` takes the attempt back."""
        with self._write() as connection:
            row = _check_owned(connection, claim)
            attempts = row.attempts if counted else row.attempts - 1
            if failed is not None:
                _append(connection, claim.job_id, failed, time.time())
            _change_owned(connection, claim, **_back_to_queue(attempts, claim.fence))

    def cancel_queued(self, job_id: str) -> bool:
        """Cancel a job that still waits; False when it runs or has ended."""
        now = time.time()
        waiting = (_jobs.c.id == job_id, _jobs.c.state == "queued")
        with self._write() as connection:
            changed = connection.execute(_jobs.update().where(*waiting).values(state="cancelled", ended=now))
            if changed.rowcount:
                _append(connection, job_id, Cancelled(images=_count_done(connection, job_id)), now)
        return bool(changed.rowcount)

    # After a crash

    def recover(self) -> Recovery:
        """Deal with jobs that were running when the last server process died. Call once, at start."""
        now = time.time()
        with self._write() as connection:
            requeued, quarantined = _release(connection, _jobs.c.state == "running", "The server ended while it ran.")
            if requeued or quarantined:
                connection.execute(_crashes.insert().values(time=now))
            connection.execute(_crashes.delete().where(_crashes.c.time < now - CRASH_WINDOW))
            crashes = connection.execute(select(func.count()).select_from(_crashes)).scalar_one()
        crashed_now = bool(requeued or quarantined)
        return Recovery(tuple(requeued), tuple(quarantined), crashed_now and crashes >= CRASHES_BEFORE_PAUSE)

    def release_expired(self) -> tuple[str, ...]:
        """Put back jobs whose run fell silent (its end could not be stored); return the ids of all it touched."""
        expired = (_jobs.c.state == "running") & (_jobs.c.lease_until < time.monotonic())
        with self._read() as connection:
            if connection.execute(select(_jobs.c.id).where(expired).limit(1)).first() is None:
                return ()
        with self._write() as connection:
            requeued, quarantined = _release(connection, expired, "Its run fell silent.")
        return (*requeued, *quarantined)

    # Reading

    def resolve(self, name: str) -> str:
        """Return the id of the job with this id or task id; `NotFound` otherwise."""
        with self._read() as connection:
            row = connection.execute(select(_jobs.c.id).where((_jobs.c.id == name) | (_jobs.c.task_id == name))).first()
        if row is None:
            raise NotFound(f"There is no job {name!r}.", hint="It may have been made with another data folder.")
        return str(row.id)

    def job(self, name: str) -> JobView:
        """Return the job with this id or task id; `NotFound` otherwise."""
        job_id = self.resolve(name)
        with self._read() as connection:
            row = connection.execute(select(_jobs).where(_jobs.c.id == job_id)).one()
            images = _done_images(connection, [job_id]).get(job_id, ())
            ahead = _count_ahead(connection, row) if row.state == "queued" else 0
        return _view(row, images, ahead)

    def jobs(self, limit: int = 50) -> tuple[JobView, ...]:
        """Return the newest `limit` jobs, newest first."""
        newest = select(_jobs).order_by(_jobs.c.created.desc(), _jobs.c.sequence.desc()).limit(limit)
        with self._read() as connection:
            rows = connection.execute(newest).all()
            ahead = [_count_ahead(connection, row) if row.state == "queued" else 0 for row in rows]
            images = _done_images(connection, [row.id for row in rows])
        return tuple(_view(row, images.get(row.id, ()), place) for row, place in zip(rows, ahead, strict=True))

    def job_has_ended(self, job_id: str) -> bool:
        with self._read() as connection:
            state = connection.execute(select(_jobs.c.state).where(_jobs.c.id == job_id)).scalar_one()
        return state in ENDED

    def events(self, job_id: str, after: int = 0) -> tuple[Entry, ...]:
        """Return the stored events with numbers above `after`, in order."""
        query = (
            select(_events.c.number, _events.c.payload)
            .where(_events.c.job_id == job_id, _events.c.number > after)
            .order_by(_events.c.number)
        )
        with self._read() as connection:
            rows = connection.execute(query).all()
        return tuple(Entry(number=row.number, event=_event_adapter.validate_json(row.payload)) for row in rows)

    def inputs_in_use(self) -> set[str]:
        """Return the references of all pictures that jobs begin with, also of ended jobs: they may be run again."""
        begins_with_picture = _jobs.c.request.like('%"images":%')
        with self._read() as connection:
            rows = connection.execute(select(_jobs.c.request).where(begins_with_picture)).all()
        requests = (REQUESTS.validate_json(row.request) for row in rows)
        return {reference for request in requests for reference in pictures_of(request)}

    def queued(self) -> int:
        """Return how many jobs wait."""
        with self._read() as connection:
            return _count_queued(connection)

    def counts(self) -> dict[JobState, int]:
        """Return how many jobs are in each state."""
        with self._read() as connection:
            rows = connection.execute(select(_jobs.c.state, func.count().label("jobs")).group_by(_jobs.c.state)).all()
        return {row.state: row.jobs for row in rows}

    def position(self, job_id: str) -> int:
        """Return how many jobs run before this waiting one (0 for any other)."""
        return self.job(job_id).position

    def prune(self, older_than: float) -> tuple[str, ...]:
        """Forget images that were not to be kept, of jobs ended before UTC time `older_than`; return their paths.

        The caller removes the files.
        """
        old = select(_jobs.c.id).where(_jobs.c.ended < older_than)
        gone = (
            _images.delete()
            .where(_images.c.keep.is_(False), _images.c.job_id.in_(old))
            .returning(_images.c.path, _images.c.state)
        )
        with self._write() as connection:
            rows = connection.execute(gone).all()
        return tuple(row.path for row in rows if row.path)

    # Transactions

    @contextmanager
    def _read(self) -> Iterator[Connection]:
        with _storage_errors(), self._engine.connect() as connection:
            yield connection

    @contextmanager
    def _write(self) -> Iterator[Connection]:
        with _storage_errors(), self._writing.begin() as connection:
            yield connection


def _prepare_connection(raw: Any, _record: object) -> None:
    raw.isolation_level = None  # transactions are begun by `_begin`, not guessed by the driver
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=5000"):
        raw.execute(f"PRAGMA {pragma}")


def _begin(connection: Connection) -> None:
    # a writer locks at once: upgrading a read lock later fails, without waiting, if another one wrote meanwhile
    writes = connection.get_execution_options().get("easel_writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


@contextmanager
def _storage_errors() -> Iterator[None]:
    """Turn what the database driver says about disks and files into `StorageError`."""
    try:
        yield
    except OperationalError as error:
        raise StorageError(
            f"The job database cannot be used: {error.orig}.", hint="Check that its disk has space and can be written."
        ) from error
    except DatabaseError as error:
        if type(error) is not DatabaseError:  # its subclasses are broken constraints and programming errors
            raise
        raise _damaged(str(error.orig)) from error


def _damaged(reason: str) -> StorageError:
    return StorageError(
        f"The job database (easel.db) is damaged: {reason}.",
        hint="Move it aside to start with an empty queue (images and settings are not affected), or restore a backup.",
    )


def _append(connection: Connection, job_id: str, happened: Event, now: float) -> None:
    last = connection.execute(select(func.max(_events.c.number)).where(_events.c.job_id == job_id)).scalar() or 0
    connection.execute(
        _events.insert().values(
            job_id=job_id, number=last + 1, kind=happened.kind, time=now, payload=happened.model_dump_json()
        )
    )


def _owned(claim: Claim) -> tuple[sqlalchemy.ColumnElement[bool], ...]:
    return _jobs.c.id == claim.job_id, _jobs.c.fence == claim.fence, _jobs.c.state == "running"


def _check_owned(connection: Connection, claim: Claim) -> Any:
    row = connection.execute(select(_jobs.c.started, _jobs.c.attempts).where(*_owned(claim))).one_or_none()
    if row is None:
        raise ClaimLost(f"Job {claim.job_id} no longer belongs to this run (attempt {claim.attempt}).")
    return row


def _change_owned(connection: Connection, claim: Claim, **values: object) -> None:
    if not connection.execute(_jobs.update().where(*_owned(claim)).values(**values)).rowcount:
        raise ClaimLost(f"Job {claim.job_id} no longer belongs to this run (attempt {claim.attempt}).")


def _end(connection: Connection, claim: Claim, state: JobState, last: Finished | Failed | Cancelled) -> None:
    now = time.time()
    error = last.model_dump_json() if isinstance(last, Failed) else None
    _append(connection, claim.job_id, last, now)
    _change_owned(connection, claim, state=state, ended=now, error=error, lease_until=None, worker=None)


def _back_to_queue(attempts: int, fence: int) -> dict[str, object]:
    # the fence moves on, so that the run that had the job can no longer report
    return {
        "state": "queued",
        "attempts": attempts,
        "fence": fence + 1,
        "started": None,
        "lease_until": None,
        "worker": None,
    }


def _release(connection: Connection, which: sqlalchemy.ColumnElement[bool], reason: str) -> tuple[list[str], list[str]]:
    """Put the jobs of dead runs back, or quarantine those at their last attempt; return the ids of both."""
    now = time.time()
    requeued: list[str] = []
    quarantined: list[str] = []
    rows = connection.execute(select(_jobs.c.id, _jobs.c.attempts, _jobs.c.fence).where(which)).all()
    for row in rows:
        last_attempt = row.attempts >= MAX_ATTEMPTS
        failed = interrupted_run(reason, row.attempts)
        _append(connection, row.id, failed, now)
        values = _back_to_queue(row.attempts, row.fence)
        if last_attempt:
            values |= {"state": "quarantined", "ended": now, "error": failed.model_dump_json()}
        connection.execute(_jobs.update().where(_jobs.c.id == row.id).values(**values))
        (quarantined if last_attempt else requeued).append(row.id)
    return requeued, quarantined


def interrupted_run(reason: str, attempts: int) -> Failed:
    """Return the event for a run that died of `reason` in attempt `attempts`: another follows, or it was the last."""
    if attempts < MAX_ATTEMPTS:
        return Failed(
            code="WorkerDied",
            message=reason,
            hint=f"The job runs again (attempt {attempts + 1} of {MAX_ATTEMPTS}).",
            will_retry=True,
        )
    return Failed(
        code="WorkerDied",
        message=f"{reason} This was attempt {attempts} of {MAX_ATTEMPTS}, so the job is not tried again.",
        hint="Try a smaller image, fewer images at once, or another model.",
    )


def _put_image(connection: Connection, claim: Claim, index: int, **values: object) -> None:
    key = {"job_id": claim.job_id, "index": index}
    if _find_image(connection, claim.job_id, index) is None:
        connection.execute(_images.insert().values({**key, "keep": claim.plan.keep, **values}))
    else:
        same = (_images.c.job_id == claim.job_id, _images.c.index == index)
        connection.execute(_images.update().where(*same).values(values))


def _find_image(connection: Connection, job_id: str, index: int) -> Any:
    same = (_images.c.job_id == job_id, _images.c.index == index)
    return connection.execute(select(_images.c.state, _images.c.path).where(*same)).one_or_none()


def _done_images(connection: Connection, job_ids: Sequence[str]) -> dict[str, list[ImageDone]]:
    query = (
        select(_images)
        .where(_images.c.job_id.in_(job_ids), _images.c.state == "done")
        .order_by(_images.c.job_id, _images.c.index)
    )
    found: dict[str, list[ImageDone]] = {}
    for row in connection.execute(query).mappings():
        image = ImageDone(**{name: row[name] for name in ("index", "seed", "path", "width", "height", "infotext")})
        found.setdefault(row["job_id"], []).append(image)
    return found


def _count_done(connection: Connection, job_id: str) -> int:
    done = (_images.c.job_id == job_id, _images.c.state == "done")
    return connection.execute(select(func.count()).select_from(_images).where(*done)).scalar_one()


def _count_queued(connection: Connection) -> int:
    query = select(func.count()).select_from(_jobs).where(_jobs.c.state == "queued")
    return connection.execute(query).scalar_one()


def _count_ahead(connection: Connection, job: Any) -> int:
    """Return how many waiting jobs run before `job`, a row with priority and sequence."""
    # two ranges of the index; as one condition with `or` the whole queue would be read
    waiting = select(func.count()).select_from(_jobs).where(_jobs.c.state == "queued")
    above = waiting.where(_jobs.c.priority > job.priority).scalar_subquery()
    earlier = waiting.where(_jobs.c.priority == job.priority, _jobs.c.sequence < job.sequence).scalar_subquery()
    return int(connection.execute(select(above + earlier)).scalar_one())


def _view(row: Any, images: Iterable[ImageDone], position: int) -> JobView:
    plan = PLANS.validate_json(row.plan)
    return JobView(
        id=row.id,
        task_id=row.task_id,
        state=row.state,
        source=row.source,
        created=row.created,
        started=row.started,
        ended=row.ended,
        request=REQUESTS.validate_json(row.request),
        plan=plan,
        images=tuple(_with_role(image, plan) for image in images),
        error=Failed.model_validate_json(row.error) if row.error else None,
        attempts=row.attempts,
        position=position,
    )


def _with_role(image: ImageDone, plan: AnyPlan) -> ImageDone:
    """Tell sheets from images: their indices follow those of all images."""
    return image.replace(role="sheet") if image.index > plan.images[-1].index else image
