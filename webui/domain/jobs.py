"""A job as its followers see it."""

from __future__ import annotations

from typing import Literal

from webui.domain.events import Event, Failed, ImageDone
from webui.domain.frozen import Data
from webui.domain.plan import TaggedPlan
from webui.domain.request import TaggedRequest

JobState = Literal["queued", "running", "finished", "failed", "cancelled", "quarantined"]

ENDED: tuple[JobState, ...] = ("finished", "failed", "cancelled", "quarantined")


class JobView(Data):
    """One job. Times are UTC seconds since 1970; `position` counts the jobs that run before it (0: next or running)."""

    id: str
    task_id: str | None = None
    state: JobState
    source: str = "ui"
    created: float
    started: float | None = None
    ended: float | None = None
    request: TaggedRequest
    plan: TaggedPlan
    images: tuple[ImageDone, ...] = ()
    error: Failed | None = None
    attempts: int = 0
    position: int = 0

    @property
    def has_ended(self) -> bool:
        return self.state in ENDED


class Progress(Data):
    """Where a job is. `fraction` is 0..1 over all its batches, `eta` in seconds (None: not known yet)."""

    job_id: str | None = None
    state: JobState | Literal["idle"] = "idle"
    fraction: float = 0.0
    eta: float | None = None
    step: int = 0
    steps: int = 0
    batch: int = 0
    batches: int = 0
    queued: int = 0  # jobs waiting behind the running one
    preview_number: int = 0  # grows with each new preview; 0: none yet
    text: str = ""


class Entry(Data):
    """One line of a job's event log. Transient events repeat the number of the last stored one."""

    number: int
    event: Event
