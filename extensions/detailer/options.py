"""What the detailer can be told: up to ten units, each a way to find regions and how these are painted again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator
from typing_extensions import Self

from webui.extending.api import Data, Reference

MAX_UNITS = 10
RECTANGLES, PAINTED = "Rectangles", "Mask"
Merge = Literal["None", "Merge", "Merge and Invert"]
Order = Literal["None", "Left to right", "Centre to edge", "Large to small"]

Share = Annotated[float, Field(ge=0, le=1)]
Pixels = Annotated[int, Field(ge=64, le=2048, multiple_of=8)]


class Rectangle(Data):
    """A part of a picture: pixels, or shares of its size where all four numbers are at most 1."""

    x: float
    y: float
    width: float
    height: float


class Unit(Data):
    """One search for regions, and how what it finds is painted again."""

    enabled: Annotated[bool, Field(title="Enable", json_schema_extra={"span": 4})] = True
    detector: Annotated[
        str,
        Field(
            title="Detector",
            description="Rectangles and Mask say themselves where; files of models/adetailer (.onnx) find faces, …",
            max_length=500,
            json_schema_extra={"choices": [RECTANGLES, PAINTED], "names": "detector", "span": 8},
        ),
    ] = RECTANGLES
    rectangles: Annotated[
        str,
        Field(
            title="Rectangles",
            description="x, y, width, height; more of them behind a semicolon. In pixels, or as shares of the picture.",
            max_length=2000,
            json_schema_extra={"shown_if": {"detector": RECTANGLES}},
        ),
    ] = ""
    mask: Annotated[
        Reference | None,
        Field(
            title="Mask",
            description="Each white spot is a region.",
            json_schema_extra={"picture": True, "mask_of": "result", "shown_if": {"detector": PAINTED}},
        ),
    ] = None
    prompt: Annotated[
        str,
        Field(
            title="Prompt",
            description="Empty: the image's. [PROMPT] stands for it, [SEP] is between prompts for one region after the "
            "other, [SKIP] leaves one as it is.",
            max_length=20_000,
            json_schema_extra={"widget": "lines"},
        ),
    ] = ""
    negative_prompt: Annotated[
        str, Field(title="Negative prompt", max_length=20_000, json_schema_extra={"widget": "lines"})
    ] = ""
    confidence: Annotated[
        Share, Field(title="Confidence", description="What a detector finds below this is left out.",
                     json_schema_extra={"step": 0.01, "span": 6})
    ] = 0.3  # fmt: skip
    classes: Annotated[
        str,
        Field(
            title="Classes",
            description="Numbers of the detector's classes, with commas. Empty: all.",
            max_length=500,
            json_schema_extra={"rare": True, "span": 6},
        ),
    ] = ""
    most: Annotated[
        int,
        Field(
            title="Only the largest",
            description="So many regions at most; 0 is all.",
            ge=0,
            le=100,
            json_schema_extra={"span": 4},
        ),
    ] = 0
    min_share: Annotated[
        Share, Field(title="Least share of the area", json_schema_extra={"step": 0.001, "rare": True, "span": 6})
    ] = 0.0
    max_share: Annotated[
        Share, Field(title="Greatest share of the area", json_schema_extra={"step": 0.001, "rare": True, "span": 6})
    ] = 1.0
    order: Annotated[
        Order,
        Field(title="Order", description="In which regions are painted.", json_schema_extra={"rare": True, "span": 6}),
    ] = "None"
    x_offset: Annotated[
        int, Field(title="To the right", description="Pixels.", ge=-200, le=200,
                   json_schema_extra={"rare": True, "span": 4})
    ] = 0  # fmt: skip
    y_offset: Annotated[
        int, Field(title="Upwards", description="Pixels.", ge=-200, le=200,
                   json_schema_extra={"rare": True, "span": 4})
    ] = 0  # fmt: skip
    dilation: Annotated[
        int,
        Field(
            title="Dilation",
            description="Pixels by which a region grows; below 0 it shrinks.",
            ge=-128,
            le=128,
            json_schema_extra={"span": 4},
        ),
    ] = 4
    merge: Annotated[
        Merge,
        Field(
            title="Merge",
            description="All regions become one; inverted, it is everything else.",
            json_schema_extra={"rare": True, "span": 6},
        ),
    ] = "None"
    mask_blur: Annotated[int, Field(title="Mask blur", ge=0, le=64, json_schema_extra={"span": 4})] = 4
    strength: Annotated[
        Share, Field(title="Denoising strength", json_schema_extra={"step": 0.01, "span": 6})
    ] = 0.4  # fmt: skip
    only_masked: Annotated[
        bool,
        Field(
            title="Inpaint only masked", description="The region alone, at full size.", json_schema_extra={"span": 6}
        ),
    ] = True
    padding: Annotated[
        int,
        Field(
            title="Padding",
            description="Pixels of its surroundings that are seen.",
            ge=0,
            le=256,
            json_schema_extra={"span": 6},
        ),
    ] = 32
    width: Annotated[
        Pixels | None,
        Field(title="Inpaint width", description="Empty: the image's.", json_schema_extra={"rare": True, "span": 6}),
    ] = None
    height: Annotated[
        Pixels | None,
        Field(title="Inpaint height", description="Empty: the image's.", json_schema_extra={"rare": True, "span": 6}),
    ] = None
    steps: Annotated[
        int | None,
        Field(title="Steps", description="Empty: the image's.", ge=1, le=150,
              json_schema_extra={"rare": True, "span": 6}),
    ] = None  # fmt: skip
    guidance: Annotated[
        float | None,
        Field(title="CFG scale", description="Empty: the image's.", ge=0, le=100,
              json_schema_extra={"rare": True, "span": 6, "step": 0.5}),
    ] = None  # fmt: skip
    sampler: Annotated[
        str | None,
        Field(title="Sampler", description="Empty: the image's.", max_length=200,
              json_schema_extra={"names": "sampler", "rare": True, "span": 6}),
    ] = None  # fmt: skip
    schedule: Annotated[
        str | None,
        Field(title="Schedule", description="Empty: the image's.", max_length=200,
              json_schema_extra={"names": "schedule", "rare": True, "span": 6}),
    ] = None  # fmt: skip
    resolution: Annotated[
        int,
        Field(
            title="Size the detector sees",
            description="Of a YOLO network, as it was exported.",
            ge=32,
            le=2048,
            multiple_of=32,
            json_schema_extra={"rare": True, "span": 6},
        ),
    ] = 640

    @field_validator("rectangles")
    @classmethod
    def _check_rectangles(cls, text: str) -> str:
        read_rectangles(text)
        return text

    @field_validator("classes")
    @classmethod
    def _check_classes(cls, text: str) -> str:
        read_classes(text)
        return text

    @model_validator(mode="after")
    def _check_shares(self) -> Self:
        if self.min_share > self.max_share:
            raise ValueError("the least share of the area is above the greatest")
        return self

    @property
    def acts(self) -> bool:
        """Whether it changes anything."""
        return self.enabled and self.detector != "None" and self.strength > 0


class Detailer(Data):
    """The units in the order of their tabs."""

    enabled: Annotated[
        bool,
        Field(
            title="Enable",
            description="Finished pictures are searched for faces, hands or whatever a detector finds, or you say "
            "where; each region is painted again, enlarged.",
        ),
    ] = False
    skip_img2img: Annotated[
        bool,
        Field(title="Skip img2img", description="The picture that img2img begins with is detailed as it is."),
    ] = False
    units: Annotated[
        tuple[Unit, ...], Field(title="Units", max_length=MAX_UNITS, json_schema_extra={"item": "Unit"})
    ] = (Unit(),)

    @property
    def active(self) -> tuple[Unit, ...]:
        """The units that change anything."""
        return tuple(unit for unit in self.units if unit.acts) if self.enabled else ()


class PlannedUnit(Data):
    """A unit, and the exact file of its detector; None where it says itself what is painted."""

    unit: Unit
    path: Path | None = None
    sha256: str = ""


class Details(Data):
    """What the worker needs. `prompts` are those of the units' own, so that what they name is at hand; `original` are
    the pictures that are detailed as they are, where img2img is skipped."""

    units: tuple[PlannedUnit, ...]
    prompts: tuple[str, ...] = ()
    original: tuple[Reference, ...] = ()


def read_rectangles(text: str) -> tuple[Rectangle, ...]:
    """Return the rectangles of "x, y, width, height; …"; `ValueError` for what is none."""
    rectangles = []
    for part in filter(str.strip, text.split(";")):
        try:
            x, y, width, height = (float(number) for number in part.split(","))
        except ValueError:
            raise ValueError(f"{part.strip()[:60]!r} is no rectangle: x, y, width, height") from None
        if width <= 0 or height <= 0:
            raise ValueError(f"{part.strip()[:60]!r} has no area")
        rectangles.append(Rectangle(x=x, y=y, width=width, height=height))
    return tuple(rectangles)


def read_classes(text: str) -> frozenset[int]:
    """Return the numbers of classes, none for all; `ValueError` for what is none."""
    try:
        return frozenset(int(number) for number in text.split(",") if number.strip())
    except ValueError:
        raise ValueError(f"{text[:60]!r} are no numbers of classes such as 0, 2") from None
