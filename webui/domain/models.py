"""What a model file is: family, kind, and the facts its card shows."""

from __future__ import annotations

from enum import Enum
from pathlib import Path

from webui.domain.frozen import Data


class Family(str, Enum):
    """The architecture that decides how a prompt is encoded and a network is called.

    `OTHER` are those that diffusers' own pipelines run (`domain.pipelines`), without our samplers and controls.
    """

    SD1 = "sd1"
    SD2 = "sd2"
    SDXL = "sdxl"
    SDXL_REFINER = "sdxl_refiner"
    PLAYGROUND = "playground"
    SD3 = "sd3"
    FLUX = "flux"
    PIXART_ALPHA = "pixart_alpha"
    PIXART_SIGMA = "pixart_sigma"
    AURAFLOW = "auraflow"
    CHROMA = "chroma"
    Z_IMAGE = "z_image"
    QWEN_IMAGE = "qwen_image"
    SANA = "sana"
    LUMINA2 = "lumina2"
    FLUX2 = "flux2"
    HUNYUAN_DIT = "hunyuan_dit"
    KOLORS = "kolors"
    OTHER = "other"

    @property
    def is_flow(self) -> bool:
        """Whether noise is mixed into the latents and not added to them (flow matching)."""
        return self in _FLOW

    @property
    def latents(self) -> Family:
        """The family whose latents it draws in: models of one kind of latents can go on with each other's work."""
        return _SHARED_LATENTS.get(self, self)


_SHARED_LATENTS = {
    Family.SD2: Family.SD1,
    Family.SDXL_REFINER: Family.SDXL,
    Family.CHROMA: Family.FLUX,
    Family.Z_IMAGE: Family.FLUX,
    Family.PIXART_ALPHA: Family.SD1,
    Family.PIXART_SIGMA: Family.SDXL,
    Family.AURAFLOW: Family.SDXL,
    Family.LUMINA2: Family.FLUX,
    Family.HUNYUAN_DIT: Family.SDXL,
    Family.KOLORS: Family.SDXL,
}
_FLOW = frozenset(
    {
        Family.FLUX,
        Family.FLUX2,
        Family.QWEN_IMAGE,
        Family.Z_IMAGE,
        Family.CHROMA,
        Family.SD3,
        Family.AURAFLOW,
        Family.SANA,
        Family.LUMINA2,
    }
)


class Kind(str, Enum):
    """What a file of weights is for."""

    CHECKPOINT = "checkpoint"
    VAE = "vae"
    TAESD = "taesd"
    UPSCALER = "upscaler"
    LORA = "lora"
    CONTROLNET = "controlnet"
    T2I_ADAPTER = "t2i_adapter"
    IP_ADAPTER = "ip_adapter"
    EMBEDDING = "embedding"
    HYPERNETWORK = "hypernetwork"
    TEXT_ENCODER = "text_encoder"
    IMAGE_ENCODER = "image_encoder"
    DETECTOR = "detector"


EDITING = "editing"
"""The variant of checkpoints that edit a picture by instruction, beside whose latents they look at it."""


KONTEXT = "Kontext"
"""The variant of checkpoints that look at a picture as at something said besides, in tokens of its own."""


CONTROLLED = "controlled"
"""The variant of checkpoints that follow a picture of edges or depths, beside whose latents they look at it."""


class ModelDefaults(Data):
    """What a model proposes when the user has not chosen (None: no opinion)."""

    width: int | None = None
    height: int | None = None
    steps: int | None = None
    guidance: float | None = None
    distilled_guidance: float | None = None  # None: the model was not distilled to be told one
    sampler: str | None = None
    schedule: str | None = None


class PartSlot(Data):
    """A network that checkpoints of a family have and that a file of its own may be.

    What fits is told by its `role` ("vae", "clip" or "t5") and its `width`: the channels of a VAE's latents, the
    numbers a text encoder gives for each token. `words` are what users call it. One that is `optional` can be done
    without.
    """

    component: str
    role: str
    width: int
    words: str
    optional: bool = False


class ModelInfo(Data):
    """One entry of the catalog.

    `name` is the file name without extension (unique within the catalog: sub-folders are part of it, `a/b`), `title`
    is A1111's `name.safetensors [shorthash]` and changes once the hash is known. A model with a `problem` is listed
    with its reason and never loaded. One that is `pending` was not looked into yet; what is in it is unknown.
    """

    name: str
    path: Path
    kind: Kind = Kind.CHECKPOINT
    family: Family | None = None
    layout: str = ""  # "diffusers" (a folder) or "original" (one file)
    size: int = 0  # bytes
    sha256: str | None = None
    old_hash: str | None = None  # 8 digits, of a piece of the file: what A1111 wrote into pictures before 2023
    problem: str | None = None
    pending: bool = False
    variant: str = ""  # "inpainting", "v-prediction", …; empty for the usual one
    parts: tuple[str, ...] = ()  # the networks in it
    slots: tuple[PartSlot, ...] = ()  # those that may come from files of their own
    role: str = ""  # of a VAE or a text encoder, and its width: which slots it fits
    width: int = 0
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
