"""A1111's two outpainting scripts by their names and arguments: both let the picture grow at its sides."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from webui.extending.api import (
    BadRequest,
    Data,
    Expansion,
    ExtensionApi,
    FromExtendedImage,
    FromImage,
    GenerationRequest,
    Script,
    Tools,
)

Side = Literal["left", "right", "up", "down"]
Content = Literal["fill", "original", "latent noise", "latent nothing"]
SIDES: tuple[Side, ...] = ("left", "right", "up", "down")
CONTENTS: tuple[Content, ...] = ("fill", "original", "latent noise", "latent nothing")
FALL_OFF, COLOUR_VARIATION = 1.0, 0.05

Pixels = Annotated[int, Field(title="Pixels to expand", ge=8, le=256, multiple_of=8)]
Blur = Annotated[int, Field(title="Mask blur", ge=0, le=64)]
Direction = Annotated[
    tuple[Side, ...],
    Field(title="Outpainting direction", min_length=1, max_length=4, description="Some of left, right, up, down."),
]


class PoorMansOptions(Data):
    """In the order of A1111's arguments. The content may also be its number."""

    pixels: Pixels = 128
    mask_blur: Blur = 4
    inpainting_fill: Annotated[
        Content | Annotated[int, Field(ge=0, le=3)],
        Field(title="Masked content", json_schema_extra={"choices": list(CONTENTS)}),
    ] = "fill"
    direction: Direction = SIDES


class Mk2Options(Data):
    """In the order of A1111's arguments; its first is a text on the page."""

    info: Annotated[str, Field(json_schema_extra={"hidden": True})] = ""
    pixels: Pixels = 128
    mask_blur: Blur = 8
    direction: Direction = SIDES
    noise_q: Annotated[float, Field(title="Fall-off exponent", ge=0, le=4, json_schema_extra={"hidden": True})] = (
        FALL_OFF
    )
    color_variation: Annotated[
        float, Field(title="Color variation", ge=0, le=1, json_schema_extra={"hidden": True})
    ] = COLOUR_VARIATION


def extend_poor_mans(request: GenerationRequest, options: PoorMansOptions, tools: Tools) -> Expansion:
    content = options.inpainting_fill
    chosen = CONTENTS[content] if isinstance(content, int) else content
    return Expansion(requests=(_extend(request, options, chosen.replace(" ", "_")),))


def extend_mk2(request: GenerationRequest, options: Mk2Options, tools: Tools) -> Expansion:
    usual = (options.noise_q, options.color_variation) == (FALL_OFF, COLOUR_VARIATION)
    note = (
        "Outpainting: fall-off exponent and colour variation have no effect; new parts begin with the colours beside."
    )
    return Expansion(requests=(_extend(request, options, "fill"),), notes=() if usual else (note,))


def _extend(request: GenerationRequest, options: PoorMansOptions | Mk2Options, content: str) -> GenerationRequest:
    """Return the request with a growing picture as its start; A1111's masks reach twice the blur into the picture."""
    start = request.start
    if not isinstance(start, FromImage):
        raise BadRequest("Outpainting begins with a whole picture.", hint="Use img2img without a mask.", field="start")
    sides: dict[str, Any] = {side: options.pixels for side in options.direction}
    extended = FromExtendedImage.model_validate(
        {
            "images": start.images,
            "strength": start.strength,
            "background": start.background,
            "overlap": 2 * options.mask_blur,
            "content": content,
            **sides,
        }
    )
    return request.replace(start=extended)


def register(api: ExtensionApi) -> None:
    api.add_script(
        Script(
            name="Poor man's outpainting",
            aliases=("poor_mans_outpainting", "poor_mans_outpainting.py"),
            pages=("img2img",),
            options=PoorMansOptions,
            expand=extend_poor_mans,
            description="Lets the picture grow at its sides.",
        )
    )
    api.add_script(
        Script(
            name="Outpainting mk2",
            aliases=("outpainting", "outpainting_mk_2", "outpainting_mk_2.py"),
            pages=("img2img",),
            options=Mk2Options,
            expand=extend_mk2,
            description="Lets the picture grow at its sides; best with 80 to 100 steps and a high denoising strength.",
        )
    )
