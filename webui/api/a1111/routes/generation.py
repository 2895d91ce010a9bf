"""txt2img and img2img."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from webui.api.a1111.routes.operation import operation
from webui.api.a1111.routes.running import Running
from webui.api.a1111.schemas.processing import (
    ImageToImageResponse,
    Processing,
    StableDiffusionProcessingImg2Img,
    StableDiffusionProcessingTxt2Img,
    TextToImageResponse,
)
from webui.api.a1111.translate.always_on import extensions_of
from webui.api.a1111.translate.info import in_order, to_info
from webui.api.a1111.translate.infotext import Asked, with_infotext
from webui.api.a1111.translate.pictures import Store
from webui.api.a1111.translate.processing import FindScript, Translated, to_picture_request, to_request, with_always_on
from webui.studio import Studio


def add_generation(router: APIRouter, running: Running) -> None:
    studio = running.studio

    @router.post(**operation("text2imgapi txt2img", "post"), response_model=TextToImageResponse)
    async def generate(asked: StableDiffusionProcessingTxt2Img, client: Request) -> TextToImageResponse:
        """Generate images and answer when they are done.

        When the client goes away before, the job is interrupted, unless it was told to save its images.
        """
        asked = await run_in_threadpool(_filled, studio, asked)
        translated = await run_in_threadpool(_translate, running, asked, to_request)
        images, info = await _answer(running, client, asked, translated)
        return TextToImageResponse(images=images, parameters=asked.model_dump(), info=info)

    @router.post(**operation("img2imgapi img2img", "post"), response_model=ImageToImageResponse)
    async def generate_from_images(asked: StableDiffusionProcessingImg2Img, client: Request) -> ImageToImageResponse:
        """Generate images from images, or paint anew what a mask shows, and answer when they are done."""
        asked = await run_in_threadpool(_filled, studio, asked)
        translated = await run_in_threadpool(_translate, running, asked, to_picture_request)
        images, info = await _answer(running, client, asked, translated)
        hidden = {} if asked.include_init_images else {"init_images": None, "mask": None}
        return ImageToImageResponse(images=images, parameters={**asked.model_dump(), **hidden}, info=info)


def _filled(studio: Studio, asked: Asked) -> Asked:
    """Return the request with what its scripts' arguments and its infotext say of fields that were not sent."""

    def read(text: str) -> tuple[str, str, Mapping[str, str]]:
        facts = studio.read_infotext(text)
        request = facts.request
        return (request.prompt, request.negative_prompt, facts.fields) if request else ("", "", facts.fields)

    return with_infotext(with_always_on(asked), read)


def _translate(
    running: Running, asked: Asked, translate: Callable[[Asked, FindScript, Store], Translated]
) -> Translated:
    """Return what a request means, with the options of extensions that its `alwayson_scripts` and its infotext name,
    and the settings of extensions that it overrides."""
    studio = running.studio
    theirs = asked.override_settings.keys() & studio.extension_settings().keys()
    sampling = {"Sampler": asked.sampler_name or asked.sampler_index, "Schedule type": asked.scheduler or ""}
    extra = studio.features.read_sampling(sampling)
    ours = {name: value for name, value in asked.override_settings.items() if name not in theirs}
    usual: dict[str, dict[str, str | None]] = {
        "sampler": {"sampler_name": None, "sampler_index": "Euler"},
        "schedule": {"scheduler": None},
    }
    plain = {name: value for field in extra for name, value in usual[field].items()}
    known_to_us = asked.model_copy(update={"override_settings": ours, **plain})
    translated = translate(known_to_us, studio.script_call, running.store)
    options = extensions_of(asked, studio.panel_options)
    told = studio.read_infotext(asked.infotext).request if asked.infotext else None
    known = {**(told.extensions if told else {}), **options}
    return Translated(
        translated.request.replace(extensions=known, **extra),
        {**translated.overrides, **{name: asked.override_settings[name] for name in theirs}},
    )


async def _answer(
    running: Running, client: Request, asked: Processing, translated: Translated
) -> tuple[list[str], str]:
    """Run the job; return its images (none if they are not wanted) and A1111's info about them."""
    job = await running.run(client, translated.request, overrides=translated.overrides, task_id=asked.force_task_id)
    images = await running.read_images(job, in_order(job)) if asked.send_images else []
    info = await run_in_threadpool(to_info, job, lambda text: running.studio.read_infotext(text).fields)
    return images, info
