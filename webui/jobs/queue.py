"""The queue: takes jobs from the store one after another, runs them, saves their images, and tells followers."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable, Iterator
from typing import Protocol

from webui.domain.events import Event, Failed, ImageDone, ImageFailed, ImageSkipped, Loading, Noted, Stepped
from webui.domain.jobs import Entry, JobView, Progress
from webui.domain.plan import AnyPlan
from webui.domain.request import AnyRequest
from webui.errors import Busy, EaselError, GenerationError, StorageError, WorkerDied
from webui.jobs.live import Live
from webui.jobs.runner import ImageEncoded, Message, Preview, Runner
from webui.jobs.store import MAX_ATTEMPTS, SETTLED, Claim, ClaimLost, JobStore, Recovery, interrupted_run

log = logging.getLogger(__name__)

HEARTBEAT = 10.0  # seconds between prolongations of the lease
IDLE = 5.0  # seconds between looks at the store without being woken
STORE_RETRY = 1.0  # seconds to wait when the database refuses (its disk is full)
JOIN = 5.0  # seconds for the dispatcher to end


class OutputWriter(Protocol):
    """Puts finished images on disk. Paths are relative to the outputs folder, with forward slashes."""

    def place(self, plan: AnyPlan, image: ImageEncoded, started: float | None = None) -> str:
        """Choose the path for an image, without writing: it is noted in the database before the file is made.

        `started`: when its job began, UTC seconds since 1970.
        """

    def write(self, plan: AnyPlan, path: str, image: ImageEncoded) -> str:
        """Write the file whole and durably (fsync) at `path`, or beside it if that is taken; return where it lies.

        Raises `StorageError` when the disk refuses, with nothing half-written left behind.
        """

    def exists(self, path: str) -> bool:
        """Whether a finished file lies at `path`."""

    def tidy(self, unneeded: Iterable[str]) -> None:
        """Remove the files at these paths, and what a killed server left half-written."""


class JobQueue:
    """One queue over one runner. All methods may be called from any thread."""

    def __init__(self, store: JobStore, runner: Runner, output: OutputWriter) -> None:
        self._store = store
        self._runner = runner
        self._output = output
        self._change = threading.Condition()  # guards all below
        self._live: dict[str, Live] = {}
        self._claim: Claim | None = None
        self._interrupted: set[str] = set()
        self._paused = False
        self._pause_reason = ""
        self._stopping = False
        self._released = False
        self._thread: threading.Thread | None = None

    # Life

    def start(self) -> Recovery:
        """Deal with what a crash left, then begin to take jobs. Starts paused after two crashes within a minute."""
        recovery = self._store.recover()
        for job_id in recovery.requeued:
            log.warning("Job %s was running when the server ended; it runs again.", job_id)
        for job_id in recovery.quarantined:
            log.error("Job %s brought the server down too often; it is not tried again.", job_id)
        if recovery.pause:
            self.pause("The server crashed twice within a minute while it was running a job.")
        self._thread = threading.Thread(target=self._dispatch, name="job-queue")
        self._thread.start()
        return recovery

    def stop(self) -> None:
        """Take no more jobs, put a running one back (the attempt is not counted), end the runner, join the thread."""
        with self._change:
            self._stopping = True
            self._change.notify_all()
        self.release_followers()
        self._runner.stop()
        if self._thread is not None:
            self._thread.join(JOIN)
            claim = self._claim
            if self._thread.is_alive() and claim is not None:
                log.error("The job queue did not end in time; its job runs again at the next start.")
                self._store.requeue(claim, counted=False)
        self._store.close()

    def release_followers(self) -> None:
        """End all `follow` and `wait` calls, now and from now on: the server is about to go."""
        with self._change:
            self._released = True
            lives = list(self._live.values())
        for live in lives:
            live.changed()

    @property
    def _running(self) -> str | None:
        claim = self._claim
        return claim.job_id if claim is not None else None

    @property
    def paused(self) -> bool:
        return self._paused

    @property
    def pause_reason(self) -> str:
        """Why the queue is paused; empty when it is not, or when the user asked for it."""
        return self._pause_reason

    def pause(self, reason: str = "") -> None:
        """Let the running job end and start no other."""
        log.info("The queue is paused. %s", reason)
        with self._change:
            self._paused, self._pause_reason = True, reason

    def resume(self) -> None:
        """Go on after `pause`."""
        with self._change:
            self._paused, self._pause_reason = False, ""
            self._change.notify_all()

    # Jobs

    def submit(
        self,
        request: AnyRequest,
        plan: AnyPlan,
        *,
        source: str = "ui",
        user: str | None = None,
        task_id: str | None = None,
        priority: int = 0,
    ) -> JobView:
        """Store a job; it is on disk when this returns. `Busy` when too many wait, `BadRequest` for a used task id."""
        if self._stopping:
            raise Busy("Easel is shutting down.", hint="Start it again, then send the job again.")
        job = self._store.enqueue(request, plan, source=source, user=user, task_id=task_id, priority=priority)
        with self._change:
            self._change.notify_all()
        return job

    def job(self, name: str) -> JobView:
        """Return the job with this id or task id; `NotFound` otherwise."""
        return self._store.job(name)

    def jobs(self, limit: int = 50) -> tuple[JobView, ...]:
        """Return the newest jobs, newest first."""
        return self._store.jobs(limit)

    def active(self) -> JobView | None:
        """Return the running job."""
        running = self._running
        return self._store.job(running) if running is not None else None

    def position(self, name: str) -> int:
        """Return how many jobs run before this one."""
        return self._store.position(name)

    def set_priority(self, name: str, priority: int) -> None:
        """Give a waiting job another priority (higher runs first)."""
        self._store.set_priority(name, priority)

    def reorder(self, name: str, position: int) -> None:
        """Move a waiting job to `position` in the queue (0: next)."""
        self._store.reorder(name, position)

    def interrupt(self, name: str | None = None) -> None:
        """Stop a job: the running one (None) after its current step, a waiting one at once. Finished images stay."""
        with self._change:
            job_id = self._running if name is None else self._store.resolve(name)
            if job_id is None:
                return
            running = job_id == self._running
            if running:
                self._interrupted.add(job_id)
            cancelled = not running and self._store.cancel_queued(job_id)
        if running:
            self._runner.interrupt(job_id)
        if cancelled:
            self._ended(job_id)

    def skip(self, name: str | None = None) -> None:
        """Give up the current batch of the running job."""
        job_id = self._running if name is None else self._store.resolve(name)
        if job_id is not None and job_id == self._running:
            self._runner.skip(job_id)

    def tidy(self, older_than: float) -> None:
        """Forget images that were not to be kept, of jobs that ended before UTC time `older_than`."""
        self._output.tidy(self._store.prune(older_than))

    def inputs_in_use(self) -> set[str]:
        """Return the references of all pictures that jobs begin with."""
        return self._store.inputs_in_use()

    # Watching

    def follow(self, name: str, after: int = 0, timeout: float = 15.0) -> Iterator[Entry | None]:
        """Replay the job's log after entry `after`, then wait for what happens, until the job has ended.

        Steps and previews come only as the newest of each, under the number of the last stored entry. Yields None
        each `timeout` seconds without news. Raises `NotFound` at once for an unknown job.
        """
        return self._follow(self._store.resolve(name), after, timeout)

    def _follow(self, job_id: str, number: int, timeout: float) -> Iterator[Entry | None]:
        live = self._live_of(job_id)
        told, stored = 0, -1
        while True:
            seen = live.version  # before looking at anything: what changes from here on ends the waiting below
            if self._released:
                return
            if live.stored != stored:
                stored = live.stored
                ended = self._store.job_has_ended(job_id)
                for entry in self._store.events(job_id, number):
                    number = entry.number
                    yield entry
                if ended:
                    self._forget(job_id)
                    return
            told, events = live.newer(told)
            for event in events:
                yield Entry(number=number, event=event)
            if not live.wait(seen, timeout):
                yield None

    def wait(self, name: str) -> JobView:
        """Block until the job has ended; return it. `Busy` when the server shuts down meanwhile."""
        job_id = self._store.resolve(name)
        for _ in self._follow(job_id, 0, 60.0):
            pass
        job = self._store.job(job_id)
        if not job.has_ended:
            raise Busy(
                "Easel is shutting down; the job is kept and runs at the next start.",
                hint=f"Ask for job {job_id} after the start.",
            )
        return job

    def preview(self, name: str) -> bytes | None:
        """Return the newest preview of a running job as JPEG, or None."""
        live = self._live.get(self._store.resolve(name))
        return live.preview if live is not None else None

    def progress(self, name: str | None = None) -> Progress:
        """Return where a job is; None asks for the running one."""
        queued = self._store.queued()
        job_id = self._running if name is None else name
        if job_id is None:
            return Progress(queued=queued)
        job = self._store.job(job_id)
        if job.state == "running":
            return _progress_running(job, self._live_of(job.id), queued)
        return _progress_still(job, queued)

    # The dispatcher

    def _dispatch(self) -> None:
        while True:
            try:
                claim = self._next_claim()
                if claim is None:
                    return
                self._run(claim)
            except StorageError as error:
                # nothing is lost: an unfinished row keeps its lease and is put back when that runs out
                log.error("%s", error)
                self._pause_for(STORE_RETRY)
            except Exception:
                log.exception("The job queue met an error of its own; it goes on.")
                self._pause_for(STORE_RETRY)

    def _pause_for(self, seconds: float) -> None:
        with self._change:
            self._change.wait_for(lambda: self._stopping, seconds)

    def _next_claim(self) -> Claim | None:
        """Wait for a job and take it; None when the queue stops."""
        while True:
            with self._change:
                if self._stopping:
                    return None
                if not self._paused:
                    for job_id in self._store.release_expired():
                        self._live_of(job_id).changed()
                    # within the lock, so that `interrupt` sees a job either waiting or running
                    claim = self._store.claim("local")
                    if claim is not None:
                        self._claim = claim
                        return claim
                self._change.wait(IDLE)

    def _run(self, claim: Claim) -> None:
        live = self._live_of(claim.job_id)
        live.begin()
        live.changed()
        try:
            self._consume(claim, live)
        except ClaimLost as error:
            log.warning("%s", error)
        finally:
            with self._change:
                self._claim = None
                self._interrupted.discard(claim.job_id)
            self._ended(claim.job_id)

    def _consume(self, claim: Claim, live: Live) -> None:
        """Run the job to one of its ends."""
        try:
            beat = time.monotonic()
            for message in self._runner.run(claim.job_id, claim.plan):
                if claim.job_id in self._interrupted:
                    self._runner.interrupt(claim.job_id)  # again: the first call may have come before the run
                self._take(claim, live, message)
                if time.monotonic() - beat > HEARTBEAT:
                    beat = time.monotonic()
                    self._store.heartbeat(claim)
            self._after_run(claim)
        except ClaimLost:
            raise
        except WorkerDied as error:
            self._after_death(claim, error)
        except EaselError as error:
            log.warning("Job %s failed: %s", claim.job_id, error)
            self._store.fail(claim, Failed(code=type(error).__name__, message=error.message, hint=error.hint))
        except Exception:
            log.exception("Job %s failed in an unforeseen way.", claim.job_id)
            message_text = "Something went wrong inside Easel while it ran the job."
            self._store.fail(
                claim, Failed(code="GenerationError", message=message_text, hint="The log has the details.")
            )

    def _after_run(self, claim: Claim) -> None:
        if claim.job_id in self._interrupted:  # first: the last image may be there, and still be unfinished
            self._store.cancel(claim)
        elif self._is_complete(claim):
            self._finish(claim)
        elif self._stopping:
            self._store.requeue(claim, counted=False)
        else:
            raise GenerationError("The worker ended the job before all images were there.")

    def _finish(self, claim: Claim) -> None:
        """End a complete job: with success if there is anything to show for it."""
        happened = [entry.event for entry in self._store.events(claim.job_id)]
        failures = [event for event in happened if isinstance(event, ImageFailed)]
        if failures and not any(isinstance(event, ImageDone) for event in happened):
            self._store.fail(claim, Failed(code="GenerationError", message=failures[0].message, hint=failures[0].hint))
        else:
            self._store.finish(claim)

    def _after_death(self, claim: Claim, error: WorkerDied) -> None:
        if claim.job_id in self._interrupted:
            self._store.cancel(claim)
        elif self._stopping:
            self._store.requeue(claim, counted=False)
        else:
            log.error("The worker died under job %s: %s", claim.job_id, error)
            failed = interrupted_run(error.message, claim.attempt)
            if claim.attempt < MAX_ATTEMPTS:
                self._store.requeue(claim, failed)
            else:
                self._store.fail(claim, failed, quarantine=True)

    def _is_complete(self, claim: Claim) -> bool:
        states = (self._store.image_state(claim.job_id, image.index) for image in claim.plan.images)
        return all(found is not None and found[0] in SETTLED for found in states)

    def _take(self, claim: Claim, live: Live, message: Message) -> None:
        match message:
            case Loading() | Stepped():
                live.tell(message)
            case Preview():
                live.show(message.jpeg)
            case ImageSkipped() | ImageFailed():
                if self._store.image_missing(claim, message):
                    live.changed()
            case Noted():
                self._store.note(claim, message)
                live.changed()
            case ImageEncoded():
                if self._save(claim, message):
                    live.changed()

    def _save(self, claim: Claim, image: ImageEncoded) -> bool:
        """Put an image on disk, then make it visible; False when an earlier attempt had done so.

        The order makes it crash-safe: the name is stored, the file is complete, the image becomes visible. A re-run
        finds the name and adopts the file, so no image lies on the disk twice.
        """
        state, path = self._store.image_state(claim.job_id, image.index) or ("", "")
        on_disk = bool(path) and self._output.exists(path) and not self._store.path_is_taken(path, claim.job_id)
        if state == "done" and on_disk:
            return False
        if not on_disk:
            placed = self._output.place(claim.plan, image, claim.started)
            self._store.image_placed(claim, image.index, placed)
            path = self._output.write(claim.plan, placed, image)
        last = claim.plan.images[-1].index
        done = ImageDone(
            index=image.index,
            role="image" if image.index <= last else "sheet",
            seed=claim.plan.image(min(image.index, last)).seed,
            path=path,
            width=image.width,
            height=image.height,
            infotext=image.infotext,
        )
        return self._store.image_done(claim, done)

    # Followers

    def _live_of(self, job_id: str) -> Live:
        with self._change:
            return self._live.setdefault(job_id, Live())

    def _ended(self, job_id: str) -> None:
        """Wake the followers of a job whose run is over; forget its running state if it will not run again."""
        self._live_of(job_id).changed()
        if self._store.job_has_ended(job_id):
            self._forget(job_id)

    def _forget(self, job_id: str) -> None:
        with self._change:
            self._live.pop(job_id, None)


def _progress_running(job: JobView, live: Live, queued: int) -> Progress:
    """Describe a running job: all batches count the same, and all steps of one."""
    batches, steps = len(job.plan.batches), job.plan.total_steps
    at: Event | None = live.step()
    batch = step = 0
    if isinstance(at, Loading):
        text = f"Loading {at.model}"
    elif isinstance(at, Stepped):
        batch, step, batches, steps = at.batch, at.step, at.batches, at.steps
        which = f", batch {batch + 1} of {batches}" if batches > 1 else ""
        text = f"Step {step} of {steps}{which}" if step < steps else f"Decoding{which}"
    else:
        text = "Starting"
    return Progress(
        job_id=job.id,
        state=job.state,
        fraction=min(1.0, (batch + step / steps) / batches),
        eta=live.eta(),
        step=step,
        steps=steps,
        batch=batch,
        batches=batches,
        queued=queued,
        preview_number=live.previews,
        text=text,
    )


def _progress_still(job: JobView, queued: int) -> Progress:
    """Describe a job that waits or has ended."""
    fraction = 1.0 if job.state == "finished" else len(job.images) / len(job.plan.images) if job.has_ended else 0.0
    waiting = f"Waiting ({job.position} before it)" if job.position else "Waiting"
    return Progress(
        job_id=job.id,
        state=job.state,
        fraction=fraction,
        steps=job.plan.total_steps,
        batches=len(job.plan.batches),
        queued=queued,
        text=waiting if job.state == "queued" else job.state.capitalize(),
    )
