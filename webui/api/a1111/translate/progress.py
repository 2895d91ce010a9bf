"""Where a job is, as A1111 tells it."""

from __future__ import annotations

import base64

from webui.api.a1111.schemas.state import InternalProgressResponse, ProgressResponse
from webui.api.a1111.translate.info import timestamp
from webui.domain.jobs import JobView, Progress

RUNNING_PROGRESS = 0.01  # A1111's clients read 0 as "idle", so a job that has just begun is at one percent


def to_progress(progress: Progress, job: JobView | None, preview: bytes | None) -> ProgressResponse:
    """Return A1111's progress. Idle is exactly `progress == 0` and `state.job_count == 0`."""
    is_idle = progress.state == "idle" or progress.job_id is None
    state = {
        "skipped": False,
        "interrupted": False,
        "stopping_generation": False,
        "job": "" if is_idle else f"Batch {progress.batch + 1} out of {max(1, progress.batches)}",
        "job_count": 0 if is_idle else max(1, progress.batches),
        "job_timestamp": timestamp(job.started or job.created) if job else "0",
        "job_no": 0 if is_idle else progress.batch,
        "sampling_step": 0 if is_idle else progress.step,
        "sampling_steps": 0 if is_idle else progress.steps,
    }
    return ProgressResponse(
        progress=0.0 if is_idle else max(RUNNING_PROGRESS, progress.fraction),
        eta_relative=0.0 if is_idle else progress.eta or 0.0,
        state=state,
        current_image=None if is_idle or preview is None else base64.b64encode(preview).decode(),
        textinfo=None if is_idle else progress.text or None,
    )


def to_internal_progress(
    job: JobView | None, progress: Progress | None, preview: bytes | None
) -> InternalProgressResponse:
    """Return what A1111's own page polls for one task; a task nobody knows is neither active nor completed."""
    if job is None or progress is None:
        return InternalProgressResponse(active=False, queued=False, completed=False, textinfo="Waiting...")
    active = job.state == "running"
    return InternalProgressResponse(
        active=active,
        queued=job.state == "queued",
        completed=job.has_ended,
        progress=progress.fraction if active else None,
        eta=progress.eta if active else None,
        live_preview=f"data:image/jpeg;base64,{base64.b64encode(preview).decode()}" if preview else None,
        id_live_preview=progress.preview_number,
        textinfo=progress.text or None,
    )
