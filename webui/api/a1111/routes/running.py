"""From a translated request to its finished job, while the client waits."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterable, Mapping
from contextlib import suppress

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from webui.api.a1111.translate.fields import A1111_NAMES, in_their_words
from webui.api.errors import failure_of_job
from webui.api.following import Followers
from webui.domain.events import ImageDone, ImageFailed
from webui.domain.jobs import JobView
from webui.domain.request import AnyRequest
from webui.errors import EaselError, GenerationError
from webui.studio import Studio


class Running:
    """Runs jobs for clients that wait for their end."""

    def __init__(self, studio: Studio, followers: Followers) -> None:
        self.studio = studio
        self._followers = followers

    async def run(
        self,
        client: Request,
        request: AnyRequest,
        *,
        overrides: Mapping[str, object] | None = None,
        task_id: str | None = None,
        names: Mapping[str, str] = A1111_NAMES,
    ) -> JobView:
        """Return the job of a request when it has ended well, or was interrupted. `names` of fields are for errors.

        A client that left is only waited for when its images are kept; otherwise the job is interrupted.
        """
        try:
            job = await run_in_threadpool(
                self.studio.submit, request, source="api", task_id=task_id or None, overrides=overrides
            )
        except EaselError as error:
            raise in_their_words(error, names) from error
        job = await self._wait_for_end(client, job, keeps_images=request.keep)
        if job.error is not None and job.state in ("failed", "quarantined"):
            raise failure_of_job(job.error)
        if job.state == "finished" and not job.images:
            await run_in_threadpool(self._raise_first_failure, job)
        return job

    def store(self, content: bytes) -> str:
        """Keep a picture that was sent and return the reference to it."""
        return self.studio.add_input(content).id

    def read_text(self, content: bytes) -> str:
        """Return what a picture that was sent says about how it was made; empty if nothing."""
        return self.studio.read_image(content).infotext or ""

    async def read_images(self, job: JobView, images: Iterable[ImageDone]) -> list[str]:
        """Return the files of these images as bare base64."""

        def read() -> list[str]:
            paths = [self.studio.image_path(job.id, image.index) for image in images]
            return [base64.b64encode(path.read_bytes()).decode() for path in paths]

        return await run_in_threadpool(read)

    async def _wait_for_end(self, client: Request, job: JobView, *, keeps_images: bool) -> JobView:
        ended = asyncio.create_task(self._followers.wait(job.id))
        left = asyncio.create_task(_client_leaves(client))
        try:
            await asyncio.wait({ended, left}, return_when=asyncio.FIRST_COMPLETED)
            if not ended.done() and not keeps_images:
                await run_in_threadpool(self.studio.interrupt, job.id)
            return await ended
        finally:
            for task in (ended, left):
                task.cancel()
                with suppress(asyncio.CancelledError, Exception):
                    await task

    def _raise_first_failure(self, job: JobView) -> None:
        """Raise what was wrong with the first image of a job none of whose images could be made."""
        for entry in self.studio.follow(job.id):
            if entry is not None and isinstance(entry.event, ImageFailed):
                raise GenerationError(entry.event.message, hint=entry.event.hint)


async def _client_leaves(client: Request) -> None:
    while (await client.receive())["type"] != "http.disconnect":
        pass
