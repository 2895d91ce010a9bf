"""What was asked. Blanks are allowed here and nowhere below: the planner fills them."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from webui.domain.frozen import Data
from webui.domain.plan import EmphasisMode
from webui.domain.sampling_options import MAX_SEED, SamplingOptions, Variation
from webui.domain.start import FromNoise, Start

MAX_PROMPT = 50_000  # characters; about 150 chunks of 75 tokens
MAX_IMAGES = 1_000  # batch size × batch count of one job

Prompt = Annotated[str, Field(max_length=MAX_PROMPT)]
Pixels = Annotated[int, Field(ge=64, le=4096, multiple_of=8)]


class GenerationRequest(Data):
    """One press of Generate. None means: the current model's proposal, else the product's default."""

    prompt: Prompt = ""
    negative_prompt: Prompt = ""
    styles: Annotated[tuple[Annotated[str, Field(max_length=1000)], ...], Field(max_length=100)] = ()
    model: str | None = None
    sampler: str | None = None
    schedule: str | None = None
    steps: Annotated[int, Field(ge=1, le=150)] | None = None
    guidance: Annotated[float, Field(ge=0, le=100)] | None = None
    width: Pixels | None = None
    height: Pixels | None = None
    seed: Annotated[int, Field(ge=-1, le=MAX_SEED)] = -1
    variation: Variation | None = None
    sampling: SamplingOptions = SamplingOptions()
    batch_size: Annotated[int, Field(ge=1, le=64)] = 1
    batch_count: Annotated[int, Field(ge=1, le=1000)] = 1
    clip_skip: Annotated[int, Field(ge=1, le=12)] | None = None
    emphasis: EmphasisMode | None = None
    start: Start = FromNoise()
    keep: bool = (
        True  # False: images live in the temporary folder and go with the job (an API call without save_images)
    )
