"""Loopback: img2img over and over, each time with the picture that came out before."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field

from webui.extending.api import (
    MAX_IMAGES,
    MAX_SEED,
    BadRequest,
    Data,
    Expansion,
    ExtensionApi,
    FromImage,
    FromMaskedImage,
    GenerationRequest,
    Script,
    SheetPlan,
    Tools,
    images_of,
)

Curve = Literal["Aggressive", "Linear", "Lazy"]


class LoopbackOptions(Data):
    """In the order of A1111's arguments."""

    loops: Annotated[int, Field(title="Loops", ge=1, le=32)] = 4
    final_denoising_strength: Annotated[
        float, Field(title="Final denoising strength", ge=0, le=1, json_schema_extra={"step": 0.01})
    ] = 0.5
    denoising_curve: Annotated[Curve, Field(title="Denoising strength curve")] = "Linear"
    append_interrogation: Annotated[
        Literal["None"],
        Field(
            description="Nothing here describes pictures yet.",
            title="Append interrogated prompt at each iteration",
            json_schema_extra={"hidden": True},
        ),
    ] = "None"


def loop(request: GenerationRequest, options: LoopbackOptions, tools: Tools) -> Expansion:
    """Return one request for each loop, with the strength on its way from the request's to the final one."""
    start = request.start
    if not isinstance(start, FromImage | FromMaskedImage):
        raise BadRequest("Loopback begins with a picture as it is.", hint="Use img2img or inpaint.", field="start")
    chains = images_of(request)
    if chains * options.loops > MAX_IMAGES:
        raise BadRequest(
            f"{options.loops} loops of {chains} images are too many: at most {MAX_IMAGES} images.",
            hint="Lower the loops or the batch count.",
            field="script",
        )
    seed = tools.draw_seed() if request.seed == -1 else request.seed
    requests, strengths = [], []
    for number in range(options.loops):
        strength = _strength(start.strength, options, number)
        changes: dict[str, object] = {"strength": strength}
        if isinstance(start, FromMaskedImage) and number:
            changes["content"] = "original"  # what the first loop painted under the mask is to be kept
        requests.append(request.replace(seed=(seed + number * chains) % (MAX_SEED + 1), start=start.replace(**changes)))
        strengths.append(strength)
    sheets = (_sheet(strengths, chains, options),) if options.loops > 1 else ()
    return Expansion(requests=tuple(requests), sheets=sheets, chained=True)


def _strength(first: float, options: LoopbackOptions, number: int) -> float:
    """Return the strength of loop `number`: along a quarter of a wave (fast or slow at the beginning) or a line."""
    if options.loops == 1:
        return first
    way = number / (options.loops - 1)
    share = {
        "Aggressive": math.sin(way * math.pi / 2),
        "Linear": way,
        "Lazy": 1 - math.cos(way * math.pi / 2),
    }[options.denoising_curve]
    return min(1.0, max(0.0, first + (options.final_denoising_strength - first) * share))


def _sheet(strengths: list[float], chains: int, options: LoopbackOptions) -> SheetPlan:
    """One row for each picture that goes through the loops."""
    loops = len(strengths)
    return SheetPlan(
        columns=loops,
        cells=tuple(loop * chains + chain for chain in range(chains) for loop in range(loops)),
        column_titles=tuple(f"Denoising: {round(strength, 2)}" for strength in strengths),
        facts={
            "Final denoising strength": str(options.final_denoising_strength),
            "Denoising curve": options.denoising_curve,
        },
    )


def register(api: ExtensionApi) -> None:
    api.add_script(
        Script(
            name="Loopback",
            aliases=("loopback", "loopback.py"),
            pages=("img2img",),
            options=LoopbackOptions,
            expand=loop,
            description="Sends the picture through img2img several times.",
        )
    )
