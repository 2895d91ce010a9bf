"""Joins the studio's blocking streams to the event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

from webui.domain.events import TRANSIENT
from webui.domain.jobs import Entry, JobView, Progress
from webui.errors import Busy
from webui.studio import Studio

MAX_FOLLOWERS = 256
LOOK_EVERY = 2.0  # seconds: how soon a thread notices that its reader has gone
MAX_WAITING = 1000  # entries a slow reader may be behind before steps are left out


@dataclass(frozen=True)
class Happening:
    """An entry of a job's log with the progress at that moment; both None: nothing new for LOOK_EVERY seconds."""

    entry: Entry | None
    progress: Progress | None


class Followers:
    """Streams of job events for coroutines.

    Each stream has a thread of its own, apart from the pool that serves short requests: a hundred open pages must not
    keep the hundred-and-first from reading its settings.
    """

    def __init__(self, studio: Studio) -> None:
        self._studio = studio
        self._places = threading.BoundedSemaphore(MAX_FOLLOWERS)

    async def follow(self, job_id: str, after: int = 0) -> AsyncGenerator[Happening, None]:
        """Yield what happens to a job until it has ended. Raises `NotFound`, and `Busy` beyond MAX_FOLLOWERS."""
        if not self._places.acquire(blocking=False):
            raise Busy(f"{MAX_FOLLOWERS} clients are following jobs already.", hint="Try again in a moment.")
        stream = _Stream(self._studio, job_id, after, self._places)
        try:
            stream.start()
            while (happening := await stream.next()) is not None:
                yield happening
        finally:
            stream.stop()

    async def wait(self, job_id: str) -> JobView:
        """Return the job when it has ended; `Busy` when the server stops before."""
        async with aclosing(self.follow(job_id)) as happenings:
            async for _ in happenings:
                pass
        job = await asyncio.to_thread(self._studio.job, job_id)
        if not job.has_ended:
            raise Busy("The server is stopping.", hint="The job stays in the queue and runs at the next start.")
        return job


class _Stream:
    """One thread that reads the log and hands the entries to the loop it was made in."""

    def __init__(self, studio: Studio, job_id: str, after: int, place: threading.BoundedSemaphore) -> None:
        self._studio = studio
        self._job_id = job_id
        self._after = after
        self._place = place
        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[Happening | Exception | None] = asyncio.Queue()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._read, name=f"follow-{job_id}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()

    async def next(self) -> Happening | None:
        """Return what happened next; None after the end."""
        item = await self._queue.get()
        if isinstance(item, Exception):
            raise item
        return item

    def _read(self) -> None:
        try:
            for entry in self._studio.follow(self._job_id, self._after, LOOK_EVERY):
                if self._stopped.is_set():
                    return
                self._hand_over(entry)
            self._post(None)
        except Exception as error:  # whatever it is, the coroutine raises it
            self._post(error)
        finally:
            self._place.release()

    def _hand_over(self, entry: Entry | None) -> None:
        if entry is None:
            self._post(Happening(None, None))
        elif self._queue.qsize() < MAX_WAITING or not isinstance(entry.event, TRANSIENT):
            self._post(Happening(entry, self._studio.progress(self._job_id)))

    def _post(self, item: Happening | Exception | None) -> None:
        try:
            self._loop.call_soon_threadsafe(self._queue.put_nowait, item)
        except RuntimeError:  # the loop has closed: nobody reads any more
            self._stopped.set()
