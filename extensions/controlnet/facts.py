"""What the worker is told about each unit: nothing is left to look up."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from extensions.controlnet.options import ControlMode, HiresOption, ResizeMode, UnionType
from webui.extending.api import Data, Family, Kind, Reference

NAME = "controlnet"
KEEPING = "inpaint_only"
"""The preprocessor whose units keep what is not masked of their pictures."""
INPAINTING = "inpaint"
"""What the names of preprocessors begin with that show a network a picture with a hole."""


class ControlRef(Data):
    """A control file: where it is, and what was found out about it."""

    name: str
    path: Path
    kind: Kind = Kind.CONTROLNET
    family: Family | None = None  # None: its shapes tell nothing; the worker compares them with the checkpoint's
    variant: str = ""  # "control-lora", "lllite", "union", or empty
    sha256: str | None = None


class UnitFacts(Data):
    """A unit that acts. `options` are those that its preprocessor was told. Without a `model` the checkpoint itself
    looks at the picture."""

    number: int
    image: Reference | None = None  # None: what the images begin with; for the mask too
    model: ControlRef | None = None
    mask: Reference | None = None
    region: Reference | None = None
    preprocessor: str = "none"
    options: Mapping[str, float] = {}
    weight: float = 1.0
    start: float = 0.0
    end: float = 1.0
    control_mode: ControlMode = "balanced"
    resize_mode: ResizeMode = "crop"
    pixel_perfect: bool = False
    hires: HiresOption = "both"
    union_type: UnionType | None = None
    low_memory: bool = False

    @property
    def paints(self) -> bool:
        """Whether the network is shown a picture with a hole."""
        return self.preprocessor.startswith(INPAINTING)


class ControlFacts(Data):
    """The units that act on a plan, in the order of their numbers."""

    units: tuple[UnitFacts, ...] = ()
