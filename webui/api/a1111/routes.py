"""A1111's API under its own paths and operation ids. What the product cannot do yet is not here: 404 Not Found."""

from __future__ import annotations

import asyncio
import base64
from contextlib import suppress
from typing import Annotated, Any

import psutil
from fastapi import APIRouter, Body
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from webui.api.a1111 import translate
from webui.api.a1111.schemas import (
    EmbeddingsResponse,
    FaceRestorerItem,
    Flags,
    HypernetworkItem,
    ImageToImageResponse,
    InternalProgressRequest,
    InternalProgressResponse,
    LatentUpscalerModeItem,
    MemoryResponse,
    Options,
    PNGInfoRequest,
    PNGInfoResponse,
    Processing,
    ProgressResponse,
    PromptStyleItem,
    RealesrganItem,
    SamplerItem,
    SchedulerItem,
    ScriptInfo,
    ScriptsList,
    SDModelItem,
    SDVaeItem,
    StableDiffusionProcessingImg2Img,
    StableDiffusionProcessingTxt2Img,
    TextToImageResponse,
    UpscalerItem,
)
from webui.api.errors import failure_of_job
from webui.api.following import Followers
from webui.api.strict_json import StrictRoute
from webui.domain.jobs import JobView
from webui.domain.models import ModelInfo
from webui.domain.sampling import SAMPLERS, SCHEDULES
from webui.errors import NotFound
from webui.studio import Studio

READ_ONLY_OPTIONS = frozenset({"sd_checkpoint_hash"})
"""Facts that GET /options shows; clients post the whole object back, so these are passed over."""


def build_router(studio: Studio, followers: Followers) -> APIRouter:
    router = APIRouter(route_class=StrictRoute)
    _add_generation(router, studio, followers)
    _add_progress(router, studio)
    _add_settings(router, studio)
    _add_models(router, studio)
    _add_lists(router)
    _add_state(router, studio)
    return router


def _operation(name: str, method: str = "get", area: str = "sdapi_v1") -> dict[str, Any]:
    """Return path and operation id as A1111 generates them: `text2imgapi_sdapi_v1_txt2img_post`."""
    function, _, route = name.partition(" ")
    path = f"/{area.replace('_', '/')}/{route}"
    return {"path": path, "operation_id": f"{function}_{area}_{route.replace('-', '_')}_{method}"}


def _add_generation(router: APIRouter, studio: Studio, followers: Followers) -> None:
    @router.post(**_operation("text2imgapi txt2img", "post"), response_model=TextToImageResponse)
    async def generate(asked: StableDiffusionProcessingTxt2Img, request: Request) -> TextToImageResponse:
        """Generate images and answer when they are done.

        When the client goes away before, the job is interrupted, unless it was told to save its images.
        """
        job = await _run(studio, followers, request, asked, translate.to_request(asked))
        images = await run_in_threadpool(_read_images, studio, job) if asked.send_images else []
        return TextToImageResponse(images=images, parameters=asked.model_dump(), info=translate.to_info(job))

    @router.post(**_operation("img2imgapi img2img", "post"), response_model=ImageToImageResponse)
    async def generate_from_images(asked: StableDiffusionProcessingImg2Img, request: Request) -> ImageToImageResponse:
        """Generate images from images, or paint anew what a mask shows, and answer when they are done."""
        translated = await run_in_threadpool(
            translate.to_picture_request, asked, lambda image: studio.add_input(image).id
        )
        job = await _run(studio, followers, request, asked, translated)
        images = await run_in_threadpool(_read_images, studio, job) if asked.send_images else []
        hidden = {} if asked.include_init_images else {"init_images": None, "mask": None}
        return ImageToImageResponse(
            images=images, parameters={**asked.model_dump(), **hidden}, info=translate.to_info(job)
        )

    @router.post(**_operation("pnginfoapi png-info", "post"), response_model=PNGInfoResponse)
    def read_png_info(asked: PNGInfoRequest) -> PNGInfoResponse:
        """Return what an image says about how it was made."""
        if not asked.image.strip():
            return PNGInfoResponse(info="", items={}, parameters={})
        facts = studio.read_image(translate.read_base64_image(asked.image))
        return PNGInfoResponse(
            info=facts.infotext or "",
            items=dict(facts.items),
            parameters=translate.read_parameters(facts.fields, facts.request),
        )


async def _run(
    studio: Studio, followers: Followers, request: Request, asked: Processing, translated: translate.Translated
) -> JobView:
    """Return the job of a request when it has ended well, or was interrupted."""
    job = await run_in_threadpool(
        studio.submit,
        translated.request,
        source="api",
        task_id=asked.force_task_id or None,
        overrides=translated.overrides,
    )
    job = await _wait_for_end(studio, followers, request, job, keeps_images=asked.save_images)
    if job.error is not None and job.state in ("failed", "quarantined"):
        raise failure_of_job(job.error)
    return job


async def _wait_for_end(
    studio: Studio, followers: Followers, request: Request, job: JobView, *, keeps_images: bool
) -> JobView:
    """Return the job when it has ended. A client that left is only waited for when its images are kept."""
    ended = asyncio.create_task(followers.wait(job.id))
    left = asyncio.create_task(_client_leaves(request))
    try:
        await asyncio.wait({ended, left}, return_when=asyncio.FIRST_COMPLETED)
        if not ended.done() and not keeps_images:
            await run_in_threadpool(studio.interrupt, job.id)
        return await ended
    finally:
        for task in (ended, left):
            task.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await task


async def _client_leaves(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _read_images(studio: Studio, job: JobView) -> list[str]:
    """Return the files of the finished images as bare base64, in order."""
    indexes = sorted(image.index for image in job.images)
    return [base64.b64encode(studio.image_path(job.id, index).read_bytes()).decode() for index in indexes]


def _add_progress(router: APIRouter, studio: Studio) -> None:
    @router.get(**_operation("progressapi progress"), response_model=ProgressResponse)
    def show_progress(skip_current_image: bool = False) -> ProgressResponse:
        """Return how far the running job is."""
        progress = studio.progress()
        job = studio.active()
        preview = studio.preview(job.id) if job is not None and not skip_current_image else None
        return translate.to_progress(progress, job, preview)

    @router.post(**_operation("interruptapi interrupt", "post"))
    def interrupt() -> dict[str, Any]:
        """Stop the running job after its current step."""
        studio.interrupt()
        return {}

    @router.post(**_operation("skip skip", "post"))
    def skip() -> dict[str, Any]:
        """Give up the current batch of the running job."""
        studio.skip()
        return {}

    @router.post(**_operation("progressapi progress", "post", "internal"), response_model=InternalProgressResponse)
    def show_task_progress(asked: InternalProgressRequest) -> InternalProgressResponse:
        """Return how far one task is."""
        try:
            job = studio.job(asked.id_task or "")
        except NotFound:
            return translate.to_internal_progress(None, None, None)
        progress = studio.progress(job.id)
        is_new = asked.live_preview and progress.preview_number != asked.id_live_preview
        preview = studio.preview(job.id) if is_new else None
        return translate.to_internal_progress(job, progress, preview)

    @router.get("/internal/ping", operation_id="ping_internal_ping_get")
    def ping() -> dict[str, Any]:
        """Answer that the server lives."""
        return {}


def _add_settings(router: APIRouter, studio: Studio) -> None:
    @router.get(**_operation("get_config options"), response_model=Options)
    def show_options() -> Options:
        """Return all settings."""
        model = studio.current_model()
        options = studio.settings().by_alias()
        options["sd_model_checkpoint"] = model.title if model else None
        options["sd_checkpoint_hash"] = model.sha256 if model else None
        return Options(**options)

    @router.post(**_operation("set_config options", "post"))
    def change_options(changes: Annotated[dict[str, Any], Body()]) -> None:
        """Change some settings, all or none of them. The whole object of GET is accepted."""
        wanted = {name: value for name, value in changes.items() if name not in READ_ONLY_OPTIONS}
        model = studio.current_model()
        if "sd_model_checkpoint" in wanted and wanted["sd_model_checkpoint"] in (None, model and model.title):
            del wanted["sd_model_checkpoint"]  # posted back as it was: no choice of the user's
        studio.change_settings(wanted)

    @router.get(**_operation("get_cmd_flags cmd-flags"), response_model=Flags)
    def show_flags() -> Flags:
        """Return what the server was started with."""
        return Flags(**studio.config.flags)


def _add_models(router: APIRouter, studio: Studio) -> None:
    @router.get(**_operation("get_sd_models sd-models"), response_model=list[SDModelItem])
    def list_models() -> list[SDModelItem]:
        """Return the checkpoints that can be used."""
        return [translate.to_model_item(model) for model in _usable(studio)]

    @router.post(**_operation("refresh_checkpoints refresh-checkpoints", "post"))
    def refresh_models() -> None:
        """Look at the model folders again."""
        studio.refresh_models()

    @router.get(**_operation("get_samplers samplers"), response_model=list[SamplerItem])
    def list_samplers() -> list[SamplerItem]:
        """Return the samplers."""
        return [translate.to_sampler_item(sampler) for sampler in SAMPLERS]

    @router.get(**_operation("get_prompt_styles prompt-styles"), response_model=list[PromptStyleItem])
    def list_styles() -> list[PromptStyleItem]:
        """Return the styles."""
        return [PromptStyleItem(**style.model_dump()) for style in studio.styles()]

    @router.get(**_operation("get_schedulers schedulers"), response_model=list[SchedulerItem])
    def list_schedules() -> list[SchedulerItem]:
        """Return the schedules."""
        return [translate.to_scheduler_item(schedule) for schedule in SCHEDULES]


def _usable(studio: Studio) -> list[ModelInfo]:
    return [model for model in studio.models() if model.problem is None]


EMPTY_LISTS: tuple[tuple[str, type], ...] = (
    ("get_sd_vaes sd-vae", SDVaeItem),
    ("get_upscalers upscalers", UpscalerItem),
    ("get_latent_upscale_modes latent-upscale-modes", LatentUpscalerModeItem),
    ("get_hypernetworks hypernetworks", HypernetworkItem),
    ("get_face_restorers face-restorers", FaceRestorerItem),
    ("get_realesrgan_models realesrgan-models", RealesrganItem),
    ("get_script_info script-info", ScriptInfo),
)
"""Kinds of things Easel has none of. Clients ask for all of them when they start, and an empty list is the truth."""


def _add_lists(router: APIRouter) -> None:
    def list_nothing() -> list[Any]:
        """Return an empty list: Easel has none of these."""
        return []

    for name, item in EMPTY_LISTS:
        router.add_api_route(**_operation(name), endpoint=list_nothing, response_model=list[item])  # type: ignore[valid-type]
    router.add_api_route(**_operation("get_loras loras"), endpoint=list_nothing, response_model=list[dict[str, Any]])

    @router.get(**_operation("get_embeddings embeddings"), response_model=EmbeddingsResponse)
    def list_embeddings() -> EmbeddingsResponse:
        """Return the embeddings: none."""
        return EmbeddingsResponse(loaded={}, skipped={})

    @router.get(**_operation("get_scripts_list scripts"), response_model=ScriptsList)
    def list_scripts() -> ScriptsList:
        """Return the scripts: none."""
        return ScriptsList(txt2img=[], img2img=[])


def _add_state(router: APIRouter, studio: Studio) -> None:
    @router.get(**_operation("get_memory memory"), response_model=MemoryResponse)
    def show_memory() -> MemoryResponse:
        """Return the memory in use, in bytes. The device belongs to the worker, which reports what it knows."""
        status = studio.status()
        machine = psutil.virtual_memory()
        ram = {"free": machine.available, "used": status.server_memory, "total": machine.total}
        return MemoryResponse(ram=ram, cuda=dict(status.worker_facts))
