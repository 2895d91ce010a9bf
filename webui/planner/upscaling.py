"""Pictures that are only enlarged."""

from __future__ import annotations

from webui.domain.plan import UpscaleImage, UpscalePlan
from webui.domain.request import UpscaleRequest
from webui.domain.upscaling import UpscalerRef
from webui.errors import BadRequest
from webui.planner.saving import plan_saving_enlarged
from webui.planner.shelf import Shelf, about
from webui.settings import Settings

MAX_PIXELS = 256 * 1024 * 1024  # of one result: 16384×16384


def plan_upscaling(request: UpscaleRequest, settings: Settings, shelf: Shelf) -> UpscalePlan:
    """Resolve `request`; raise `BadRequest` for results that are too large and upscalers that work on latents."""
    if (request.width is None) != (request.height is None):
        raise BadRequest("Only one side of the size was given.", hint="Give width and height.", field="width")
    if len(request.infotexts) not in (0, len(request.images)):
        raise BadRequest(
            f"{len(request.infotexts)} infotexts cannot belong to {len(request.images)} pictures.",
            hint="Send one for each, empty where there is none, or none at all.",
            field="infotexts",
        )
    for reference in request.images:
        _check_size(request, shelf.picture_size(reference))
    second = request.second_upscaler if request.second_share > 0 else None
    infotexts = request.infotexts or ("",) * len(request.images)
    return UpscalePlan(
        images=tuple(
            UpscaleImage(index=index, picture=picture, infotext=infotext)
            for index, (picture, infotext) in enumerate(zip(request.images, infotexts, strict=True))
        ),
        upscaler=find_picture_upscaler(request.upscaler, settings, shelf, "upscaler"),
        second_upscaler=find_picture_upscaler(second, settings, shelf, "second_upscaler") if second else None,
        second_share=request.second_share if second else 0.0,
        scale=request.scale,
        width=request.width,
        height=request.height,
        crop=request.crop,
        save=plan_saving_enlarged(settings),
        keep=request.keep and settings.save_images,
    )


def find_upscaler(name: str, settings: Settings, shelf: Shelf, field: str) -> UpscalerRef:
    """Return the upscaler called `name` with the tiles that the settings want for it."""
    with about(field):
        found = shelf.upscaler(name)
    return found.replace(tile=settings.upscaler_tile, overlap=settings.upscaler_overlap)


def find_picture_upscaler(name: str, settings: Settings, shelf: Shelf, field: str) -> UpscalerRef:
    """Return the upscaler called `name`; `BadRequest` for one that enlarges latents."""
    found = find_upscaler(name, settings, shelf, field)
    if found.kind == "latent":
        raise BadRequest(f"{found.name} enlarges latents, not pictures.", hint="Choose another upscaler.", field=field)
    return found


def _check_size(request: UpscaleRequest, size: tuple[int, int]) -> None:
    width = request.width or round(size[0] * request.scale)
    height = request.height or round(size[1] * request.scale)
    if width * height > MAX_PIXELS or min(width, height) < 1:
        raise BadRequest(
            f"The result would be of {width}×{height} pixels: at most {MAX_PIXELS // 2**20} million.",
            hint="Lower the scale.",
            field="scale",
        )
