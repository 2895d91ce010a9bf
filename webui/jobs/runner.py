"""The seam between the queue and whatever does the work: a worker process, a stub, a machine elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

from webui.domain.events import ImageFailed, ImageSkipped, Loading, Noted, Stepped
from webui.domain.plan import AnyPlan


@dataclass(frozen=True)
class Preview:
    """A live preview as JPEG bytes."""

    jpeg: bytes


ImageRole = Literal["image", "sheet"]


@dataclass(frozen=True)
class ImageEncoded:
    """Image `index` of the plan, or one of its sheets, as the bytes of a finished file with its infotext inside."""

    index: int
    width: int
    height: int
    infotext: str
    content: bytes
    role: ImageRole = "image"
    suffix: str = ".png"  # what kind of file it is


Message = Loading | Stepped | Preview | ImageEncoded | ImageSkipped | ImageFailed | Noted

RunnerState = Literal["starting", "ready", "busy", "dead"]


class Runner(Protocol):
    """Runs one plan at a time. All methods may be called from any thread."""

    @property
    def state(self) -> RunnerState: ...

    def start(self) -> None:
        """Begin starting up; return at once."""

    def run(self, job_id: str, plan: AnyPlan) -> Iterator[Message]:
        """Yield messages until the plan is done or was interrupted (then it just ends early).

        Waits while the runner is still starting. Raises `WorkerDied` when the process under it ends (a later call
        starts a new one), any other `EaselError` when the run fails.
        """

    def interrupt(self, job_id: str) -> None:
        """Stop `job_id` after the current step; images already finished stay. No-op for another job."""

    def skip(self, job_id: str) -> None:
        """Give up the current batch of `job_id` and go on with the next one."""

    def unload(self) -> None:
        """Give back the memory that models take up, once no job runs any more; the next job loads what it needs."""

    def stop(self) -> None:
        """End the runner and join it (at most a few seconds)."""

    def facts(self) -> dict[str, object]:
        """Return what is known about it: device, dtype, resident memory in bytes, loaded model."""
