"""What ControlNet can be told: up to ten units, each a picture, a preprocessor and a network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, model_validator
from typing_extensions import Self

from webui.extending.api import Data, Reference

MAX_UNITS = 10

ControlMode = Literal["balanced", "prompt", "control"]
ResizeMode = Literal["just_resize", "crop", "fill"]
HiresOption = Literal["both", "low", "high"]
UnionType = Literal["openpose", "depth", "soft_edge", "hard_edge", "normal_map", "segmentation", "tile", "inpaint"]

# The words of sd-webui-controlnet: users know them, programs send them, infotexts hold them.
CONTROL_MODES: Mapping[ControlMode, str] = {
    "balanced": "Balanced",
    "prompt": "My prompt is more important",
    "control": "ControlNet is more important",
}
RESIZE_MODES: Mapping[ResizeMode, str] = {
    "just_resize": "Just Resize",
    "crop": "Crop and Resize",
    "fill": "Resize and Fill",
}
HIRES_OPTIONS: Mapping[HiresOption, str] = {"both": "Both", "low": "Low res only", "high": "High res only"}
UNION_TYPES: Mapping[UnionType, str] = {
    "openpose": "OpenPose",
    "depth": "Depth",
    "soft_edge": "Soft Edge",
    "hard_edge": "Hard Edge",
    "normal_map": "Normal Map",
    "segmentation": "Segmentation",
    "tile": "Tile",
    "inpaint": "Inpaint",
}


class Unit(Data):
    """One picture that guides the image through one network.

    Without `image` the picture that img2img begins with is used. `preprocessor_options` are those of the preprocessor
    (`resolution`, `threshold_a`, `threshold_b` as far as it has them); what is left out is its default.
    """

    enabled: Annotated[bool, Field(title="Enable", json_schema_extra={"span": 3})] = False
    pixel_perfect: Annotated[
        bool,
        Field(
            title="Pixel perfect",
            description="The preprocessor's resolution follows from the size of the image.",
            json_schema_extra={"span": 3},
        ),
    ] = False
    low_memory: Annotated[
        bool,
        Field(
            title="Low memory",
            description="The network is on the device only while it computes: slower.",
            json_schema_extra={"span": 3, "rare": True},
        ),
    ] = False
    image: Annotated[
        Reference | None,
        Field(
            title="Picture",
            description="Left empty: the picture that img2img begins with.",
            json_schema_extra={"picture": True, "span": 6},
        ),
    ] = None
    mask: Annotated[
        Reference | None,
        Field(
            title="Mask",
            description="White is what inpainting changes.",
            json_schema_extra={"picture": True, "mask_of": "image", "span": 6},
        ),
    ] = None
    preprocessor: Annotated[
        str,
        Field(
            title="Preprocessor",
            max_length=200,
            json_schema_extra={"names": "preprocessor", "preview": "preprocessor", "span": 6},
        ),
    ] = "none"
    model: Annotated[
        str | None,
        Field(title="Model", max_length=500, json_schema_extra={"names": "controlnet", "span": 6}),
    ] = None
    preprocessor_options: Annotated[
        Mapping[str, float],
        Field(title="Preprocessor's options", json_schema_extra={"options_of": "preprocessor"}),
    ] = {}
    weight: Annotated[
        float, Field(title="Control weight", ge=0, le=2, json_schema_extra={"step": 0.05, "span": 12})
    ] = 1.0
    start: Annotated[
        float,
        Field(
            title="Starting control step",
            ge=0,
            le=1,
            json_schema_extra={"step": 0.01, "span": 6},
        ),
    ] = 0.0
    end: Annotated[
        float,
        Field(
            title="Ending control step",
            ge=0,
            le=1,
            json_schema_extra={"step": 0.01, "span": 6},
        ),
    ] = 1.0
    control_mode: Annotated[
        ControlMode, Field(title="Control mode", json_schema_extra={"labels": dict(CONTROL_MODES), "span": 6})
    ] = "balanced"
    resize_mode: Annotated[
        ResizeMode,
        Field(
            title="Resize mode",
            description="How the picture comes to the proportions of the image.",
            json_schema_extra={"labels": dict(RESIZE_MODES), "span": 6},
        ),
    ] = "crop"
    hires: Annotated[
        HiresOption,
        Field(title="Hires. fix pass", json_schema_extra={"labels": dict(HIRES_OPTIONS), "rare": True, "span": 6}),
    ] = "both"
    union_type: Annotated[
        UnionType | None,
        Field(
            title="Union control type",
            description="For union networks. Left empty: what the preprocessor makes.",
            json_schema_extra={"labels": dict(UNION_TYPES), "rare": True, "span": 6},
        ),
    ] = None
    region: Annotated[
        Reference | None,
        Field(
            title="Effective region mask",
            description="The unit guides only where this is white.",
            json_schema_extra={"picture": True, "mask_of": "image", "rare": True},
        ),
    ] = None

    @model_validator(mode="after")
    def _check_steps(self) -> Self:
        if self.start > self.end:
            raise ValueError(f"the starting control step ({self.start:g}) lies after the ending one ({self.end:g})")
        return self

    @property
    def is_active(self) -> bool:
        """Whether the unit changes anything: it is enabled and has a weight."""
        return self.enabled and self.weight > 0


class ControlOptions(Data):
    """The units in the order of their tabs; infotexts and messages count them from 0."""

    units: Annotated[
        tuple[Unit, ...], Field(title="Units", max_length=MAX_UNITS, json_schema_extra={"item": "Unit", "first": 0})
    ] = ()

    @property
    def active(self) -> tuple[tuple[int, Unit], ...]:
        """The units that change anything, each with its number."""
        return tuple((number, unit) for number, unit in enumerate(self.units) if unit.is_active)
