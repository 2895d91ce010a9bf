"""What can be made of model files, with every file named: nothing is left to look up."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from webui.domain.frozen import Data

Precision = Literal["fp32", "fp16", "bf16", "fp8"]
Layout = Literal["original", "diffusers"]
MergeMethod = Literal["weighted_sum", "add_difference", "ties", "dare_linear", "dare_ties"]
QuantisedType = Literal["Q8_0", "Q5_1", "Q5_0", "Q4_1", "Q4_0", "BF16", "F16"]

MOST_RANK = 1024


class ConvertWork(Data):
    """A checkpoint in another layout or precision, with nothing but what is used (no EMA weights, no optimiser).

    `vae`: a VAE to bake in, in place of its own. `leave_out`: components not to be written.
    """

    kind: Literal["convert"] = "convert"
    source: Path
    target: Path
    layout: Layout = "original"
    precision: Precision | None = "fp16"  # None: as it is
    vae: Path | None = None
    leave_out: tuple[str, ...] = ()


class MergeWork(Data):
    """Two models and, for all methods but the weighted sum, what both come from (`base`) made into one.

    See `weights.convert.merging.Recipe`.
    """

    kind: Literal["merge"] = "merge"
    first: Path
    second: Path
    base: Path | None = None
    target: Path
    method: MergeMethod = "weighted_sum"
    share: Annotated[float, Field(ge=-10, le=10, allow_inf_nan=False)] = 0.5
    blocks: str = ""  # shares of the UNet's blocks, with commas between them
    density: Annotated[float, Field(gt=0, le=1)] = 0.5
    seed: int = 0
    precision: Precision | None = "fp16"
    vae: Path | None = None


class ExtractWork(Data):
    """The LoRA that makes `tuned` of `base`."""

    kind: Literal["extract"] = "extract"
    tuned: Path
    base: Path
    target: Path
    rank: Annotated[int, Field(ge=1, le=MOST_RANK)] = 64


class QuantiseWork(Data):
    """The denoiser of a checkpoint as a GGUF file."""

    kind: Literal["quantise"] = "quantise"
    source: Path
    target: Path
    type: QuantisedType = "Q8_0"


ModelWork = Annotated[ConvertWork | MergeWork | ExtractWork | QuantiseWork, Field(discriminator="kind")]


class WorkProgress(Data):
    """`done` of `total` parts are done; `text` says which is next."""

    done: int
    total: int
    text: str
