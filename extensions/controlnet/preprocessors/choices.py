"""What preprocessors can be told, under A1111's names, so that every program's numbers find their place."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from webui.extending.api import Data


def number(title: str, least: float, most: float, step: float, description: str = "", span: int = 6) -> Any:
    """Describe a number for the panel: its title, its limits, the step of its slider and its width in twelfths."""
    return Field(
        title=title, ge=least, le=most, description=description or None, json_schema_extra={"step": step, "span": span}
    )


class NoChoice(Data):
    """Nothing: the picture keeps its size."""


class Sized(Data):
    """`resolution`: pixels of the shorter side that the preprocessor works with, and of what it makes."""

    resolution: Annotated[int, number("Preprocessor resolution", 64, 2048, 8, span=12)] = 512


class Canny(Sized):
    threshold_a: Annotated[float, number("Low threshold", 0, 255, 1, "An edge goes on where it is this strong.")] = 100
    threshold_b: Annotated[float, number("High threshold", 0, 255, 1, "An edge begins where it is this strong.")] = 200


class Xdog(Sized):
    threshold_a: Annotated[float, number("XDoG threshold", 1, 64, 1)] = 32


class Scribbled(Sized):
    threshold_a: Annotated[float, number("Least edge", 1, 254, 1)] = 80


class Straight(Sized):
    threshold_a: Annotated[float, number("Least length (% of the shorter side)", 1, 100, 1)] = 8
    threshold_b: Annotated[float, number("Largest gap (px)", 0, 50, 1)] = 3


class Binary(Sized):
    threshold_a: Annotated[float, number("Binarization threshold", 0, 255, 1)] = 127


class Blurred(Sized):
    threshold_a: Annotated[float, number("Sigma (px)", 0.01, 64, 0.01)] = 9


class Shuffled(Sized):
    seed: Annotated[int, number("Seed", 0, 2**32 - 1, 1)] = 0


class Tiled(Data):
    threshold_a: Annotated[float, number("Down sampling rate", 1, 8, 0.01)] = 1


class ColourFixed(Data):
    """Of the control, not of the picture: how far colours may vary."""

    threshold_a: Annotated[float, number("Variation", 3, 32, 1)] = 8


class ColourFixedSharp(ColourFixed):
    threshold_b: Annotated[float, number("Sharpness", 0, 2, 0.01)] = 1


class Recoloured(Data):
    threshold_a: Annotated[float, number("Gamma correction", 0.1, 2, 0.001)] = 1


class Referenced(Data):
    """Of the control, not of the picture."""

    threshold_a: Annotated[float, number("Style fidelity", 0, 1, 0.01, "Counts in the balanced mode.")] = 0.5


class Normals(Sized):
    threshold_a: Annotated[float, number("Background threshold", 0, 1, 0.01, "What is farther away is flat.")] = 0.4


class Pose(Sized):
    threshold_a: Annotated[float, number("Least confidence", 0, 1, 0.01)] = 0.3
