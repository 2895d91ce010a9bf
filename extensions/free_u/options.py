"""What FreeU can be told, and how the infotext says it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator
from typing_extensions import Self

from webui.extending.api import Data

Backbone = Annotated[float, Field(ge=0, le=2, json_schema_extra={"step": 0.01})]
Skip = Annotated[float, Field(ge=0, le=4, json_schema_extra={"step": 0.01})]
Share = Annotated[float, Field(ge=0, le=1, json_schema_extra={"step": 0.01, "rare": True})]


class FreeU(Data):
    """The first five are the arguments of Forge's built-in extension, the next three those that its later forms add."""

    enabled: Annotated[
        bool,
        Field(
            title="Enable",
            description="Gives what the UNet's middle found more weight than what it is reminded of. Costs next to "
            "nothing. SD1, SD2, SDXL.",
        ),
    ] = False
    b1: Annotated[Backbone, Field(title="B1", description="What comes from below, deepest level.")] = 1.01
    b2: Annotated[Backbone, Field(title="B2", description="What comes from below, the level above.")] = 1.02
    s1: Annotated[Skip, Field(title="S1", description="Coarse shapes in what is remembered, deepest level.")] = 0.99
    s2: Annotated[Skip, Field(title="S2", description="Coarse shapes in what is remembered, the level above.")] = 0.95
    start: Annotated[Share, Field(title="Start", description="From this share of the steps on.")] = 0.0
    end: Annotated[Share, Field(title="End", description="Up to this share of the steps.")] = 1.0
    version: Annotated[
        Literal["2", "1"],
        Field(
            title="Version",
            description="2 strengthens where the picture has structure, 1 everywhere alike.",
            json_schema_extra={"rare": True},
        ),
    ] = "2"

    @model_validator(mode="after")
    def _check_range(self) -> Self:
        if self.start > self.end:
            raise ValueError("start lies behind end")
        if self.version == "1" and 0 in (self.b1, self.b2, self.s1, self.s2):
            raise ValueError("version 1 knows no factor of 0")
        return self

    @property
    def acts(self) -> bool:
        """Whether anything is changed at all."""
        return self.enabled and (self.b1, self.b2, self.s1, self.s2) != (1, 1, 1, 1) and self.start < self.end


ENABLED = "freeu_enabled"
_KEYS: Mapping[str, str] = {
    "b1": "freeu_b1",
    "b2": "freeu_b2",
    "s1": "freeu_s1",
    "s2": "freeu_s2",
    "start": "freeu_start",
    "end": "freeu_end",
    "version": "freeu_version",
}
_RARE = ("start", "end", "version")
KEYS = (ENABLED, *_KEYS.values())


def write(options: FreeU) -> dict[str, str]:
    """Return what the infotext says, under Forge's keys; what is as usual is left out, but for the factors."""
    usual = FreeU()
    said = {name: getattr(options, name) for name in _KEYS if name not in _RARE}
    said |= {name: getattr(options, name) for name in _RARE if getattr(options, name) != getattr(usual, name)}
    return {ENABLED: "True"} | {_KEYS[name]: v if isinstance(v, str) else f"{v:g}" for name, v in said.items()}


def read(parameters: Mapping[str, str]) -> dict[str, Any] | None:
    """Return the options that an infotext's `parameters` say, None where they say nothing of it."""
    if ENABLED not in parameters:
        return None
    return {"enabled": True} | {name: parameters[key] for name, key in _KEYS.items() if key in parameters}
