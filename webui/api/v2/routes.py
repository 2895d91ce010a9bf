"""The product's own API: submit a job, follow its events, fetch previews and images, read and change settings."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Body, Header, Query
from fastapi.responses import StreamingResponse
from pydantic_core import to_jsonable_python
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import Response

from webui.api.errors import PlainJSONResponse, describe
from webui.api.following import Followers, Happening
from webui.api.strict_json import StrictRoute
from webui.api.v2.extensions_admin import add_extensions_admin
from webui.api.v2.model_work import add_model_work
from webui.api.v2.models import add_models
from webui.api.v2.names import add_names
from webui.api.v2.panels import add_panels
from webui.api.v2.zipped import zip_files
from webui.domain.jobs import JobView
from webui.domain.request import TaggedRequest
from webui.errors import BadFile, BadRequest, EaselError, NotAllowed, NotFound
from webui.settings import Settings
from webui.studio import Studio

IMAGE_TYPES = ((b"\x89PNG\r\n\x1a\n", "image/png"), (b"\xff\xd8\xff", "image/jpeg"))
MAX_INFOTEXT = 1_000_000  # characters
KEEP_ALIVE_EVERY = 7  # quiet moments of following.LOOK_EVERY seconds

NO_STORE = {"Cache-Control": "no-store"}
IMAGE_HEADERS = {
    "Cache-Control": "private, max-age=31536000, immutable",
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "X-Content-Type-Options": "nosniff",
}
EVENT_HEADERS = {**NO_STORE, "X-Accel-Buffering": "no"}


def build_router(studio: Studio, followers: Followers) -> APIRouter:
    router = APIRouter(prefix="/api/v2", route_class=StrictRoute)
    _add_jobs(router, studio)
    _add_events(router, studio, followers)
    _add_images(router, studio)
    _add_inputs(router, studio)
    _add_settings(router, studio)
    _add_state(router, studio)
    add_models(router, studio)
    add_model_work(router, studio)
    add_names(router, studio)
    add_panels(router, studio)
    add_extensions_admin(router, studio)
    return router


def _shown_job(job: JobView) -> dict[str, Any]:
    """Return the JSON of a job without the folders of this machine."""
    shown: dict[str, Any] = to_jsonable_python(_without_folders(job.model_dump()))
    return shown


def _without_folders(value: Any) -> Any:
    """Return `value` with every file in it known by its name alone, and models, wherever they stand, by their own."""
    if isinstance(value, Path):
        return value.name
    if isinstance(value, list | tuple):
        return [_without_folders(each) for each in value]
    if not isinstance(value, dict):
        return value
    return {name: _without_folders(each) for name, each in value.items() if not (name == "path" and "sha256" in value)}


def _add_jobs(router: APIRouter, studio: Studio) -> None:
    @router.get("/jobs")
    def list_jobs(limit: Annotated[int, Query(ge=1, le=500)] = 50) -> list[dict[str, Any]]:
        """Return the newest jobs first."""
        return [_shown_job(job) for job in studio.jobs(limit)]

    @router.post("/jobs", status_code=202)
    def submit_job(
        asked: Annotated[TaggedRequest, Body()], task_id: Annotated[str | None, Query(max_length=100)] = None
    ) -> PlainJSONResponse:
        """Put a request in the queue and answer with its job at once: to generate, or (kind "upscale") to enlarge."""
        job = studio.submit(asked, source="api", task_id=task_id)
        return PlainJSONResponse(_shown_job(job), 202, {"Location": f"jobs/{job.id}"})

    @router.post("/jobs/estimate")
    def estimate_job(asked: Annotated[TaggedRequest, Body()]) -> dict[str, Any]:
        """Return how a request would compute (devices, precisions, memory mode) and the bytes it would take at most, on
        the device (`peak` of `free`) and in RAM (`ram` of `ram_free`). Nothing is put in the queue."""
        return studio.estimate(asked).model_dump(mode="json")

    @router.get("/jobs/{job_id}")
    def show_job(job_id: str) -> dict[str, Any]:
        """Return one job."""
        return _shown_job(studio.job(job_id))

    @router.post("/jobs/{job_id}/interrupt")
    def interrupt_job(job_id: str) -> dict[str, Any]:
        """Stop a running job after its current step, or take a waiting one out of the queue."""
        studio.interrupt(studio.job(job_id).id)
        return {}

    @router.post("/jobs/{job_id}/skip")
    def skip_batch(job_id: str) -> dict[str, Any]:
        """Give up the current batch of a job."""
        studio.skip(studio.job(job_id).id)
        return {}


def _add_events(router: APIRouter, studio: Studio, followers: Followers) -> None:
    @router.get("/jobs/{job_id}/events", response_class=StreamingResponse)
    async def follow_job(
        job_id: str,
        after: Annotated[int, Query(ge=0)] = 0,
        last_event_id: Annotated[int | None, Header(ge=0)] = None,
    ) -> Response:
        """Replay a job's events after number `after`, then send what happens until its end (server-sent events)."""
        job = await run_in_threadpool(studio.job, job_id)  # a wrong id is a 404, not an empty stream
        start = after if last_event_id is None else last_event_id
        events = _as_events(followers, job.id, start)
        return StreamingResponse(events, media_type="text/event-stream", headers=EVENT_HEADERS)


async def _as_events(followers: Followers, job_id: str, after: int) -> AsyncIterator[str]:
    quiet = 0
    yield ": following\n\n"
    async with aclosing(followers.follow(job_id, after)) as happenings:
        try:
            async for happening in happenings:
                quiet = 0 if happening.entry else quiet + 1
                if happening.entry:
                    yield _as_event(happening)
                elif quiet % KEEP_ALIVE_EVERY == 0:
                    yield ": still here\n\n"
        except EaselError as error:  # the answer has begun, so the status cannot say it any more
            yield f"event: problem\ndata: {_json({'detail': describe(error)})}\n\n"


def _as_event(happening: Happening) -> str:
    assert happening.entry is not None and happening.progress is not None
    event = happening.entry.event
    content = {**event.model_dump(mode="json"), "progress": happening.progress.model_dump(mode="json")}
    return f"id: {happening.entry.number}\nevent: {event.kind}\ndata: {_json(content)}\n\n"


def _json(content: dict[str, Any]) -> str:
    return bytes(PlainJSONResponse(content).body).decode()


def _add_images(router: APIRouter, studio: Studio) -> None:
    @router.get("/jobs/{job_id}/preview", response_class=Response)
    def show_preview(job_id: str) -> Response:
        """Return the newest live preview (JPEG). A query such as `?n=3` keeps browsers from reusing an older one."""
        preview = studio.preview(job_id)
        if preview is None:  # the job has just ended or not begun: no error, and no red line on a browser's console
            return Response(status_code=204, headers=NO_STORE)
        return Response(preview, media_type="image/jpeg", headers={**IMAGE_HEADERS, **NO_STORE})

    @router.get("/jobs/{job_id}/images/{index}", response_class=Response)
    def show_image(
        job_id: str, index: int, download: bool = False, if_none_match: Annotated[str | None, Header()] = None
    ) -> Response:
        """Return one finished image, as the file it is on the disk."""
        path = _image_path(studio, job_id, index)
        tag = _tag(path)
        headers = {**IMAGE_HEADERS, "ETag": tag, "Content-Disposition": _disposition(path, download)}
        if if_none_match is not None and tag in if_none_match:
            return Response(status_code=304, headers=headers)
        content = _read(path)
        return Response(content, media_type=_image_type(content), headers=headers)

    @router.get("/jobs/{job_id}/images.zip", response_class=StreamingResponse)
    def download_images(job_id: str) -> Response:
        """Return all finished images of a job in one archive. What is no longer on the disk is listed in it."""
        job = studio.job(job_id)
        paths: list[Path] = []
        missing: list[str] = []
        for image in job.images:
            try:
                paths.append(_image_path(studio, job_id, image.index))
            except NotFound:
                missing.append(image.path)
        if not paths:
            raise NotFound(f"Job {job.id} has no image on the disk.", hint="Generate first.")
        disposition = f'attachment; filename="easel-{job.id[:8]}.zip"'
        headers = {**NO_STORE, "Content-Disposition": disposition, "X-Content-Type-Options": "nosniff"}
        return StreamingResponse(zip_files(paths, missing), media_type="application/zip", headers=headers)


def _add_inputs(router: APIRouter, studio: Studio) -> None:
    @router.post("/inputs", status_code=201)
    async def store_input(request: Request) -> dict[str, Any]:
        """Store a picture or mask for jobs to begin with, and return its id and size. The body is the image itself,
        or a form with a `file`. The same picture gets the same id."""
        content = await _read_upload(request)
        stored = await run_in_threadpool(studio.add_input, content)
        return stored.model_dump(mode="json")

    @router.get("/inputs/{reference}", response_class=Response)
    def show_input(reference: str) -> Response:
        """Return a stored picture (PNG)."""
        return Response(_read(studio.input_path(reference)), media_type="image/png", headers=IMAGE_HEADERS)


def _image_path(studio: Studio, job_id: str, index: int) -> Path:
    try:
        return studio.image_path(job_id, index)
    except NotAllowed:  # somebody put a link in the outputs folder; what it points at is none of the caller's business
        raise NotFound("The image is no longer on the disk.") from None


def _tag(path: Path) -> str:
    try:
        facts = path.stat()
    except OSError:
        raise NotFound("The image is no longer on the disk.") from None
    return f'"{facts.st_mtime_ns:x}-{facts.st_size:x}"'


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        raise NotFound("The image is no longer on the disk.") from None


def _disposition(path: Path, download: bool) -> str:
    # A header holds ASCII only, and a quote or a line break in it would be ours to answer for.
    name = "".join(character if character.isascii() and character.isalnum() else "_" for character in path.stem)
    suffix = path.suffix if path.suffix.isascii() and path.suffix[1:].isalnum() else ""
    return f'{"attachment" if download else "inline"}; filename="{name}{suffix}"'


def _image_type(content: bytes) -> str:
    """Return the media type by content; anything but an image of ours is never shown."""
    for beginning, media_type in IMAGE_TYPES:
        if content.startswith(beginning):
            return media_type
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "image/webp"
    if content[4:12] in (b"ftypavif", b"ftypavis"):
        return "image/avif"
    raise BadFile("The file is not a PNG, JPEG, WebP or AVIF image any more.")


def _add_settings(router: APIRouter, studio: Studio) -> None:
    @router.get("/settings")
    def show_settings() -> dict[str, Any]:
        """Return all settings and the JSON schema that says what they may be, and those of each extension."""
        return {
            "values": studio.settings().by_alias(),
            "schema": Settings.model_json_schema(by_alias=True),
            "extensions": [each.model_dump(mode="json") for each in studio.shown_settings()],
        }

    @router.post("/settings")
    def change_settings(changes: Annotated[dict[str, Any], Body()]) -> dict[str, Any]:
        """Change some settings, all or none of them, and return all."""
        return {"values": studio.change_settings(changes).by_alias()}


def _add_state(router: APIRouter, studio: Studio) -> None:
    @router.get("/status")
    def show_status() -> dict[str, Any]:
        """Return the state of worker and queue."""
        return studio.status().model_dump(mode="json")

    @router.post("/queue/resume")
    def resume_queue() -> dict[str, Any]:
        """Take jobs again after the queue was paused (it starts paused when two starts ended in a crash)."""
        studio.resume()
        return {}

    @router.post("/png-info")
    async def read_png_info(request: Request) -> dict[str, Any]:
        """Return what an image says about how it was made. The body is the image itself, or a form with a `file`."""
        content = await _read_upload(request)
        facts = await run_in_threadpool(studio.read_image, content)
        return facts.model_dump(mode="json")

    @router.post("/infotext")
    def read_infotext(text: Annotated[str, Body(embed=True, max_length=MAX_INFOTEXT)]) -> dict[str, Any]:
        """Return what a text says about how an image was made: A1111's parameters, or what another program wrote."""
        return studio.read_infotext(text).model_dump(mode="json")


async def _read_upload(request: Request) -> bytes:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "multipart/form-data":
        if not (kind.startswith("image/") or kind == "application/octet-stream"):
            raise BadRequest(
                f"This takes an image, not {kind or 'a body without a type'}.",
                hint="Send the file with Content-Type image/png or as multipart/form-data with a part named file.",
                field="file",
            )
        return await request.body()
    async with request.form(max_files=1, max_fields=10) as form:
        file = form.get("file")
        if not isinstance(file, UploadFile):
            raise BadRequest("The form has no part named file.", hint="Send the image as `file`.", field="file")
        return await file.read()
