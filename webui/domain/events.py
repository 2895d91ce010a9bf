"""What happened to a job, in order. Milestones are stored; `Stepped` and `Previewed` live only while it runs."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from webui.domain.frozen import Data


class Queued(Data):
    kind: Literal["queued"] = "queued"


class Started(Data):
    """A worker took the job. `attempt` counts from 1."""

    kind: Literal["started"] = "started"
    attempt: int
    images: int
    batches: int
    steps: int  # of one batch


class Loading(Data):
    """The worker reads model `model` into memory before the first step."""

    kind: Literal["loading"] = "loading"
    model: str


class Stepped(Data):
    """Step `step` (from 1) of `steps` in batch `batch` (from 0) of `batches` is done."""

    kind: Literal["stepped"] = "stepped"
    batch: int
    batches: int
    step: int
    steps: int


class Previewed(Data):
    """A new live preview can be fetched; `number` grows by one each time."""

    kind: Literal["previewed"] = "previewed"
    number: int


class ImageDone(Data):
    """Image `index` is complete on disk. `path` is relative to the outputs (or temporary) folder.

    The indices of a job's sheets follow those of its images.
    """

    kind: Literal["image_done"] = "image_done"
    index: int
    role: Literal["image", "sheet"] = "image"
    seed: int
    path: str
    width: int
    height: int
    infotext: str


class ImageSkipped(Data):
    """The user skipped the batch that image `index` belongs to."""

    kind: Literal["image_skipped"] = "image_skipped"
    index: int


class ImageFailed(Data):
    """Image `index` could not be made; the others of its job are."""

    kind: Literal["image_failed"] = "image_failed"
    index: int
    message: str
    hint: str = ""


class Noted(Data):
    """Something the user may want to know, though the job goes on: what was done for want of memory."""

    kind: Literal["noted"] = "noted"
    message: str


class Finished(Data):
    kind: Literal["finished"] = "finished"
    images: int
    seconds: float


class Failed(Data):
    """The job ended without success. Images that were done stay. `code` is the error class's name."""

    kind: Literal["failed"] = "failed"
    code: str
    message: str
    hint: str = ""
    will_retry: bool = False


class Cancelled(Data):
    """The user stopped the job (`images` were finished before)."""

    kind: Literal["cancelled"] = "cancelled"
    images: int


Event = Annotated[
    Queued
    | Started
    | Loading
    | Stepped
    | Previewed
    | ImageDone
    | ImageSkipped
    | ImageFailed
    | Noted
    | Finished
    | Failed
    | Cancelled,
    Field(discriminator="kind"),
]

TRANSIENT = (Stepped, Previewed, Loading)
"""Events that are not stored: a reader who comes later gets only the newest of each."""
