"""What a request may add to the plain road from noise to picture: a second pass, a second model, shaped guidance."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from webui.domain.frozen import Data
from webui.domain.sampling_options import Share

MAX_SIDE = 4096  # pixels

HiresPixels = Annotated[int, Field(ge=64, le=MAX_SIDE)]

Tiling = Literal["none", "both", "x", "y"]
"""In which directions the left edge of a picture continues its right one (x), the top its bottom (y)."""


class Hires(Data):
    """A second pass over the enlarged result of the first ("hires fix"). None and empty texts mean: as in the first.

    With `width` or `height` the result has that size (the other side follows the first pass's shape; with both, the
    picture is cropped to fit), otherwise `scale` times the first pass's.
    """

    scale: Annotated[float, Field(ge=1, le=8)] = 2.0
    width: HiresPixels | None = None
    height: HiresPixels | None = None
    upscaler: str = "Latent"
    steps: Annotated[int, Field(ge=1, le=150)] | None = None
    strength: Share = 0.7
    sampler: str | None = None
    schedule: str | None = None
    guidance: Annotated[float, Field(ge=0, le=100)] | None = None
    model: str | None = None
    prompt: Annotated[str, Field(max_length=50_000)] = ""
    negative_prompt: Annotated[str, Field(max_length=50_000)] = ""


class Refiner(Data):
    """Another checkpoint that takes over when the share `switch_at` of the steps is done."""

    model: str
    switch_at: Annotated[float, Field(ge=0.01, le=1)] = 0.8


class GuidanceOptions(Data):
    """When and how classifier-free guidance acts, besides its scale.

    `rescale` brings the guided result back to the contrast of the unguided one (Lin et al. 2023, arXiv:2305.08891,
    §3.4). Guidance acts from the share `start` of the steps to the share `end` (Kynkäänniemi et al. 2024,
    arXiv:2404.07724); outside, the prompt alone counts. Below the sigma `minimum`, every second step goes without the
    negative branch (A1111's "negative guidance minimum sigma"). `image` is the scale at which models that edit by
    instruction keep to the picture they were given (Brooks et al. 2022, arXiv:2211.09800).
    """

    rescale: Share = 0.0
    start: Share = 0.0
    end: Share = 1.0
    minimum: Annotated[float, Field(ge=0, le=15)] | None = None  # None: as in the settings
    image: Annotated[float, Field(ge=0, le=100)] | None = None  # None: as is usual for the model


class ScriptCall(Data):
    """A script by name, with options of its own. It makes many requests of this one."""

    name: Annotated[str, Field(max_length=200)]
    options: Mapping[str, Any] = {}
