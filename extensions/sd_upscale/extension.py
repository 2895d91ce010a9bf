"""SD upscale: the picture is enlarged, and every tile of it goes through img2img."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from webui.extending.api import (
    BadRequest,
    Data,
    Expansion,
    ExtensionApi,
    FromImage,
    FromTiles,
    GenerationRequest,
    Script,
    Tools,
)


class UpscaleOptions(Data):
    """In the order of A1111's arguments; its first is a text on the page. The upscaler may also be its number."""

    info: Annotated[str, Field(json_schema_extra={"hidden": True})] = ""
    overlap: Annotated[int, Field(title="Tile overlap", ge=0, le=256, multiple_of=8)] = 64
    upscaler_index: Annotated[int | str, Field(title="Upscaler", json_schema_extra={"names": "picture_upscaler"})] = (
        "Lanczos"
    )
    scale_factor: Annotated[float, Field(title="Scale factor", ge=1, le=4, json_schema_extra={"step": 0.05})] = 2.0


def enlarge(request: GenerationRequest, options: UpscaleOptions, tools: Tools) -> Expansion:
    """Return the request with tiles of its width and height as the start. The upscaler "None" enlarges nothing."""
    start = request.start
    if not isinstance(start, FromImage):
        raise BadRequest("SD upscale begins with a whole picture.", hint="Use img2img without a mask.", field="start")
    upscaler = _find_upscaler(options.upscaler_index, tools)
    tiles = FromTiles(
        images=start.images,
        strength=start.strength,
        background=start.background,
        upscaler=upscaler,
        factor=1.0 if upscaler == "None" else options.scale_factor,
        overlap=options.overlap,
    )
    return Expansion(requests=(request.replace(start=tiles, batch_size=1),))


def _find_upscaler(wanted: int | str, tools: Tools) -> str:
    if isinstance(wanted, str):
        return wanted
    names = tools.names("picture_upscaler")
    if not 0 <= wanted < len(names):
        known = ", ".join(f"{number}: {name}" for number, name in enumerate(names))
        raise BadRequest(f"There is no upscaler number {wanted}.", hint=f"Use one of {known}.", field="script")
    return names[wanted]


def register(api: ExtensionApi) -> None:
    api.add_script(
        Script(
            name="SD upscale",
            aliases=("sd_upscale", "sd_upscale.py"),
            pages=("img2img",),
            options=UpscaleOptions,
            expand=enlarge,
            description="Enlarges the picture and sends every tile of it, of the given size, through img2img.",
        )
    )
