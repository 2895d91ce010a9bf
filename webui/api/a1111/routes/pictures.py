"""What is done with finished pictures: enlarging them, and reading what they say about themselves."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from webui.api.a1111.routes.operation import operation
from webui.api.a1111.routes.running import Running
from webui.api.a1111.schemas.pictures import (
    ExtrasBatchImagesRequest,
    ExtrasBatchImagesResponse,
    ExtrasSingleImageRequest,
    ExtrasSingleImageResponse,
    InterrogateRequest,
    PNGInfoRequest,
    PNGInfoResponse,
)
from webui.api.a1111.translate.extras import to_html_info, to_upscale_request
from webui.api.a1111.translate.fields import EXTRAS_NAMES
from webui.api.a1111.translate.lists import to_parameters
from webui.api.a1111.translate.pictures import read_base64_image
from webui.errors import NotFound


def add_pictures(router: APIRouter, running: Running) -> None:
    _add_extras(router, running)
    _add_reading(router, running)


def _add_extras(router: APIRouter, running: Running) -> None:
    @router.post(
        **operation("extras_single_image_api extra-single-image", "post"), response_model=ExtrasSingleImageResponse
    )
    async def enlarge(asked: ExtrasSingleImageRequest, client: Request) -> ExtrasSingleImageResponse:
        """Enlarge one picture."""
        request = await run_in_threadpool(to_upscale_request, asked, [asked.image], running.store, running.read_text)
        job = await running.run(client, request, names=EXTRAS_NAMES)
        images = await running.read_images(job, job.images)
        return ExtrasSingleImageResponse(image=images[0] if images else None, html_info=to_html_info(job))

    @router.post(
        **operation("extras_batch_images_api extra-batch-images", "post"), response_model=ExtrasBatchImagesResponse
    )
    async def enlarge_all(asked: ExtrasBatchImagesRequest, client: Request) -> ExtrasBatchImagesResponse:
        """Enlarge pictures, all in the same way."""
        pictures = [image.data for image in asked.image_list]
        request = await run_in_threadpool(
            to_upscale_request, asked, pictures, running.store, running.read_text, "imageList"
        )
        job = await running.run(client, request, names=EXTRAS_NAMES)
        images = sorted(job.images, key=lambda image: image.index)
        return ExtrasBatchImagesResponse(images=await running.read_images(job, images), html_info=to_html_info(job))


def _add_reading(router: APIRouter, running: Running) -> None:
    @router.post(**operation("pnginfoapi png-info", "post"), response_model=PNGInfoResponse)
    def read_png_info(asked: PNGInfoRequest) -> PNGInfoResponse:
        """Return what an image says about how it was made."""
        if not asked.image.strip():
            return PNGInfoResponse(info="", items={}, parameters={})
        facts = running.studio.read_image(read_base64_image(asked.image))
        return PNGInfoResponse(
            info=facts.infotext or "",
            items=dict(facts.items),
            parameters=to_parameters(facts.fields, facts.request),
        )

    @router.post(**operation("interrogateapi interrogate", "post"))
    def describe(asked: InterrogateRequest) -> None:
        """Describe a picture in words: there is no model here that could."""
        raise NotFound(
            f"Model not found: nothing here describes pictures ({asked.model[:60]!r} was asked for).",
            hint="Read what a picture says about itself with POST /sdapi/v1/png-info.",
            field="model",
        )
