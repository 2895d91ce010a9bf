"""What IP-Adapters can be told: up to four pictures that are said like words."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator
from typing_extensions import Self

from webui.extending.api import Data, Reference

MAX_PICTURES = 4
HiresOption = Literal["both", "low", "high"]
Combination = Literal["concat", "average", "add"]

Share = Annotated[float, Field(ge=0, le=1, json_schema_extra={"step": 0.01, "span": 4})]


class ImagePrompt(Data):
    """One picture, and the adapter that tells the model of it."""

    enabled: Annotated[bool, Field(title="Enable", json_schema_extra={"span": 12})] = False
    image: Annotated[
        Reference | None,
        Field(
            title="Picture", description="Its middle square is seen.", json_schema_extra={"picture": True, "span": 6}
        ),
    ] = None
    region: Annotated[
        Reference | None,
        Field(
            title="Region mask",
            description="The picture counts only where this is white.",
            json_schema_extra={"picture": True, "rare": True, "span": 6},
        ),
    ] = None
    model: Annotated[
        str | None, Field(title="Model", max_length=500, json_schema_extra={"names": "ip_adapter", "span": 6})
    ] = None
    weight: Annotated[float, Field(title="Weight", ge=0, le=2, json_schema_extra={"step": 0.05, "span": 4})] = 1.0
    start: Annotated[Share, Field(title="Start", description="From this share of the steps on.")] = 0.0
    end: Annotated[Share, Field(title="End", description="Up to this share of the steps.")] = 1.0

    hires: Annotated[
        HiresOption,
        Field(
            title="Hires. fix pass",
            json_schema_extra={
                "labels": {"both": "Both", "low": "Low res only", "high": "High res only"},
                "rare": True,
                "span": 6,
            },
        ),
    ] = "both"

    @model_validator(mode="after")
    def _check_range(self) -> Self:
        if self.start > self.end:
            raise ValueError(f"start ({self.start:g}) lies behind end ({self.end:g})")
        return self

    @property
    def acts(self) -> bool:
        """Whether anything is changed at all."""
        return self.enabled and self.weight > 0 and self.start < self.end


class IpAdapterOptions(Data):
    """The pictures; how those act together that share adapter, weight, steps and region; and what to stay away from."""

    pictures: Annotated[
        tuple[ImagePrompt, ...], Field(title="Pictures", max_length=MAX_PICTURES, json_schema_extra={"item": "Picture"})
    ] = ()
    combination: Annotated[
        Combination,
        Field(
            title="Several pictures",
            description="With the same model, weight, range and region: seen together, as their mean, or each alone.",
            json_schema_extra={
                "labels": {"concat": "Together", "average": "Their mean", "add": "Each alone"},
                "rare": True,
            },
        ),
    ] = "concat"
    negative: Annotated[
        Reference | None,
        Field(
            title="Negative picture",
            description="What the image stays away from, as from a negative prompt.",
            json_schema_extra={"picture": True, "rare": True},
        ),
    ] = None

    @property
    def active(self) -> tuple[tuple[int, ImagePrompt], ...]:
        """The pictures that change anything, each with its number."""
        return tuple((number, each) for number, each in enumerate(self.pictures) if each.acts)
