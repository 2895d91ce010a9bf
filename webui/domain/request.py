"""What was asked. Blanks are allowed here and nowhere below: the planner fills them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, TypeAdapter

from webui.domain.frozen import Data
from webui.domain.passes import GuidanceOptions, Hires, Refiner, ScriptCall, Tiling
from webui.domain.plan import EmphasisMode
from webui.domain.sampling_options import MAX_SEED, SamplingOptions, Variation
from webui.domain.start import MAX_PICTURES, FromNoise, Reference, Start, references, references_in

MAX_PROMPT = 50_000  # characters; about 150 chunks of 75 tokens
MAX_IMAGES = 1_000  # batch size × batch count of one job

Prompt = Annotated[str, Field(max_length=MAX_PROMPT)]
Infotext = Annotated[str, Field(max_length=2 * MAX_PROMPT)]
Pixels = Annotated[int, Field(ge=64, le=4096, multiple_of=8)]


class GenerationRequest(Data):
    """One press of Generate. None means: the current model's proposal, else the product's default."""

    kind: Literal["generate"] = "generate"
    prompt: Prompt = ""
    negative_prompt: Prompt = ""
    styles: Annotated[tuple[Annotated[str, Field(max_length=1000)], ...], Field(max_length=100)] = ()
    model: str | None = None
    sampler: str | None = None
    schedule: str | None = None
    steps: Annotated[int, Field(ge=1, le=150)] | None = None
    guidance: Annotated[float, Field(ge=0, le=100)] | None = None
    distilled_guidance: Annotated[float, Field(ge=0, le=100)] | None = (
        None  # what a distilled model is told, as Flux dev
    )
    width: Pixels | None = None
    height: Pixels | None = None
    seed: Annotated[int, Field(ge=-1, le=MAX_SEED)] = -1
    variation: Variation | None = None
    sampling: SamplingOptions = SamplingOptions()
    batch_size: Annotated[int, Field(ge=1, le=64)] = 1
    batch_count: Annotated[int, Field(ge=1, le=1000)] = 1
    clip_skip: Annotated[int, Field(ge=1, le=12)] | None = None
    emphasis: EmphasisMode | None = None
    vae: str | None = None  # None: as in the settings; "Automatic", "None" (the checkpoint's own) or a file's name
    modules: Annotated[tuple[Annotated[str, Field(max_length=1000)], ...], Field(max_length=20)] | None = (
        None  # files of VAE and text encoders in the place of the checkpoint's; None: as in the settings
    )
    tiling: Tiling = "none"
    guiding: GuidanceOptions = GuidanceOptions()
    hires: Hires | None = None
    refiner: Refiner | None = None
    start: Start = FromNoise()
    script: ScriptCall | None = None
    extensions: Annotated[Mapping[str, Mapping[str, Any]], Field(max_length=100)] = {}  # their options, by their names
    keep: bool = (
        True  # False: images live in the temporary folder and go with the job (an API call without save_images)
    )


class UpscaleRequest(Data):
    """Pictures to be enlarged and nothing else: the Extras page.

    With `width` and `height` the result covers that size (and is cropped to it with `crop`), otherwise it is `scale`
    times the picture's. `second_upscaler` is mixed in with the share `second_share`. `infotexts` are what the files of
    the pictures said about how they were made, one for each or none at all.
    """

    kind: Literal["upscale"] = "upscale"
    images: Annotated[tuple[Reference, ...], Field(min_length=1, max_length=MAX_PICTURES)]
    upscaler: str = "Lanczos"
    second_upscaler: str | None = None
    second_share: Annotated[float, Field(ge=0, le=1)] = 0.0
    scale: Annotated[float, Field(ge=0.05, le=8)] = 4.0
    width: Annotated[int, Field(ge=8, le=16384)] | None = None
    height: Annotated[int, Field(ge=8, le=16384)] | None = None
    crop: bool = True
    infotexts: Annotated[tuple[Infotext, ...], Field(max_length=MAX_PICTURES)] = ()
    keep: bool = True


class PreprocessRequest(Data):
    """A picture made ready for a control network, and nothing else: what a preprocessor makes of it."""

    kind: Literal["preprocess"] = "preprocess"
    image: Reference
    preprocessor: Annotated[str, Field(max_length=200)]
    options: Mapping[str, Any] = {}
    keep: Literal[False] = False


AnyRequest = GenerationRequest | UpscaleRequest | PreprocessRequest


def _kind(value: Any) -> str:
    """Return which kind of request `value` is. What says nothing is a generation, as all requests once were."""
    kind = value.get("kind", "generate") if isinstance(value, Mapping) else getattr(value, "kind", "generate")
    return str(kind)


TaggedRequest = Annotated[
    Annotated[GenerationRequest, Tag("generate")]
    | Annotated[UpscaleRequest, Tag("upscale")]
    | Annotated[PreprocessRequest, Tag("preprocess")],
    Discriminator(_kind),
]
"""`AnyRequest` as a field of a model."""

REQUESTS: TypeAdapter[AnyRequest] = TypeAdapter(TaggedRequest)


def pictures_of(request: AnyRequest) -> tuple[str, ...]:
    """Return every stored picture a request needs, each once."""
    if isinstance(request, UpscaleRequest):
        return tuple(dict.fromkeys(request.images))
    if isinstance(request, PreprocessRequest):
        return (request.image,)
    return tuple(dict.fromkeys((*references(request.start), *references_in(request.extensions))))
