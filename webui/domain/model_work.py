"""What can be made of model files. Sources are told by their names (`str`) when asked for, and by their paths (`Path`)
when nothing is left to look up."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Generic, Literal, TypeVar

from pydantic import Field

from webui.domain.frozen import Data

Source = TypeVar("Source", str, Path)

Precision = Literal["fp32", "fp16", "bf16", "fp8"]
Layout = Literal["original", "diffusers"]
MergeMethod = Literal["weighted_sum", "add_difference", "ties", "dare_linear", "dare_ties"]
QuantisedType = Literal["Q8_0", "Q5_1", "Q5_0", "Q4_1", "Q4_0", "BF16", "F16"]

MOST_RANK = 1024


class ConvertWork(Data, Generic[Source]):
    """A checkpoint in another layout or precision, with nothing but what is used (no EMA weights, no optimiser).

    `vae`: a VAE to bake in, in place of its own. `leave_out`: components not to be written.
    """

    kind: Literal["convert"] = "convert"
    source: Source
    target: Source
    layout: Layout = "original"
    precision: Precision | None = "fp16"  # None: as it is
    vae: Source | None = None
    leave_out: tuple[str, ...] = ()


class MergeWork(Data, Generic[Source]):
    """Two models and, for all methods but the weighted sum, what both come from (`base`) made into one.

    See `weights.convert.merging.Recipe`; layout, precision and VAE as in `ConvertWork`.
    """

    kind: Literal["merge"] = "merge"
    first: Source
    second: Source
    base: Source | None = None
    target: Source
    method: MergeMethod = "weighted_sum"
    share: Annotated[float, Field(ge=-10, le=10)] = 0.5
    blocks: Annotated[str, Field(max_length=1000)] = ""  # shares of the UNet's blocks, with commas between them
    density: Annotated[float, Field(gt=0, le=1)] = 0.5
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    layout: Layout = "original"
    precision: Precision | None = "fp16"
    vae: Source | None = None


class ExtractWork(Data, Generic[Source]):
    """The LoRA that makes `tuned` of `base`."""

    kind: Literal["extract"] = "extract"
    tuned: Source
    base: Source
    target: Source
    rank: Annotated[int, Field(ge=1, le=MOST_RANK)] = 64


class QuantiseWork(Data, Generic[Source]):
    """The denoiser of a checkpoint as a GGUF file."""

    kind: Literal["quantise"] = "quantise"
    source: Source
    target: Source
    type: QuantisedType = "Q8_0"


ModelWork = Annotated[
    ConvertWork[Path] | MergeWork[Path] | ExtractWork[Path] | QuantiseWork[Path], Field(discriminator="kind")
]
AskedWork = Annotated[
    ConvertWork[str] | MergeWork[str] | ExtractWork[str] | QuantiseWork[str], Field(discriminator="kind")
]


class WorkProgress(Data):
    """`done` of `total` parts are done; `text` says which is next."""

    done: int
    total: int
    text: str


class WorkView(Data):
    """One piece of work as users see it. `target` is what it makes; `field` is the one to blame for an `error`."""

    id: str
    kind: str
    target: str
    state: Literal["waiting", "running", "finished", "failed", "cancelled"] = "waiting"
    progress: WorkProgress | None = None
    error: str = ""
    hint: str = ""
    field: str | None = None
