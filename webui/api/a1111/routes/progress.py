"""Following and stopping what runs."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from webui.api.a1111.routes.operation import operation
from webui.api.a1111.schemas.state import InternalProgressRequest, InternalProgressResponse, ProgressResponse
from webui.api.a1111.translate.progress import to_internal_progress, to_progress
from webui.errors import NotFound
from webui.studio import Studio


def add_progress(router: APIRouter, studio: Studio) -> None:
    @router.get(**operation("progressapi progress"), response_model=ProgressResponse)
    def show_progress(skip_current_image: bool = False) -> ProgressResponse:
        """Return how far the running job is."""
        progress = studio.progress()
        job = studio.active()
        preview = studio.preview(job.id) if job is not None and not skip_current_image else None
        return to_progress(progress, job, preview)

    @router.post(**operation("interruptapi interrupt", "post"))
    def interrupt() -> dict[str, Any]:
        """Stop the running job after its current step."""
        studio.interrupt()
        return {}

    @router.post(**operation("skip skip", "post"))
    def skip() -> dict[str, Any]:
        """Give up the current batch of the running job."""
        studio.skip()
        return {}

    @router.post(**operation("progressapi progress", "post", "internal"), response_model=InternalProgressResponse)
    def show_task_progress(asked: InternalProgressRequest) -> InternalProgressResponse:
        """Return how far one task is."""
        try:
            job = studio.job(asked.id_task or "")
        except NotFound:
            return to_internal_progress(None, None, None)
        progress = studio.progress(job.id)
        is_new = asked.live_preview and progress.preview_number != asked.id_live_preview
        preview = studio.preview(job.id) if is_new else None
        return to_internal_progress(job, progress, preview)

    @router.get("/internal/ping", operation_id="ping_internal_ping_get")
    def ping() -> dict[str, Any]:
        """Answer that the server lives."""
        return {}
