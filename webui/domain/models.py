"""What a model file is: family, kind, and the facts its card shows."""

from __future__ import annotations

from enum import Enum
from pathlib import Path

from webui.domain.frozen import Data


class Family(str, Enum):
    """The architecture that decides how a prompt is encoded and a network is called."""

    SD1 = "sd1"
    SDXL = "sdxl"
    FLUX = "flux"

    @property
    def is_flow(self) -> bool:
        """Whether noise is mixed into the latents and not added to them (flow matching)."""
        return self is Family.FLUX


class Kind(str, Enum):
    CHECKPOINT = "checkpoint"
    VAE = "vae"
    UPSCALER = "upscaler"


class ModelDefaults(Data):
    """What a model proposes when the user has not chosen (None: no opinion)."""

    width: int | None = None
    height: int | None = None
    steps: int | None = None
    guidance: float | None = None
    distilled_guidance: float | None = None  # None: the model was not distilled to be told one
    sampler: str | None = None
    schedule: str | None = None


class ModelInfo(Data):
    """One entry of the catalog.

    `name` is the file name without extension (unique within the catalog: sub-folders are part of it, `a/b`), `title`
    is A1111's `name.safetensors [shorthash]` and changes once the hash is known. A model with a `problem` is listed
    with its reason and never loaded.
    """

    name: str
    path: Path
    kind: Kind = Kind.CHECKPOINT
    family: Family | None = None
    layout: str = ""  # "diffusers" (a folder) or "original" (one file)
    size: int = 0  # bytes
    sha256: str | None = None
    problem: str | None = None
    description: str = ""
    defaults: ModelDefaults = ModelDefaults()
    examples: tuple[str, ...] = ()

    @property
    def filename(self) -> str:
        """File or folder name as shown to users."""
        return self.path.name

    @property
    def short_hash(self) -> str | None:
        """A1111's 10-digit short hash."""
        return self.sha256[:10] if self.sha256 else None

    @property
    def title(self) -> str:
        return f"{self.filename} [{self.short_hash}]" if self.sha256 else self.filename
