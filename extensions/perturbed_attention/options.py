"""What perturbed-attention guidance can be told, and how the infotext says it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, model_validator
from typing_extensions import Self

from webui.extending.api import Data

Share = Annotated[float, Field(ge=0, le=1, json_schema_extra={"step": 0.01, "rare": True})]


class PerturbedAttention(Data):
    """The first two are the arguments of Forge's built-in extension."""

    enabled: Annotated[
        bool,
        Field(
            title="Enable",
            description="Moves away from what the model makes when its attention sees no structure. One more network "
            "call in each step; works without a negative prompt too.",
        ),
    ] = False
    scale: Annotated[
        float, Field(title="Scale", description="How far; 0 changes nothing.", ge=0, le=100,
                     json_schema_extra={"step": 0.1})
    ] = 3.0  # fmt: skip
    adaptive_scale: Annotated[
        float,
        Field(
            title="Adaptive scale",
            description="By how much the scale falls with each of the thousand levels of noise that are left behind.",
            ge=0,
            le=1,
            json_schema_extra={"step": 0.001, "rare": True},
        ),
    ] = 0.0
    layers: Annotated[
        str,
        Field(
            title="Layers",
            description="Which self-attention: parts of names such as mid, down_blocks.2 or blocks.13, with commas "
            "between. Empty: the middle of the network.",
            max_length=1000,
            json_schema_extra={"rare": True},
        ),
    ] = ""
    start: Annotated[Share, Field(title="Start", description="From this share of the steps on.")] = 0.0
    end: Annotated[Share, Field(title="End", description="Up to this share of the steps.")] = 1.0

    @model_validator(mode="after")
    def _check_range(self) -> Self:
        if self.start > self.end:
            raise ValueError("start lies behind end")
        return self

    @property
    def acts(self) -> bool:
        """Whether anything is changed at all."""
        return self.enabled and self.scale > 0 and self.start < self.end

    @property
    def layer_names(self) -> tuple[str, ...]:
        """The names of layers, or parts of them."""
        return tuple(name.strip() for name in self.layers.split(",") if name.strip())


ENABLED = "PerturbedAttentionGuidance_enabled"
_KEYS: Mapping[str, str] = {
    "scale": "PerturbedAttentionGuidance_scale",
    "adaptive_scale": "PerturbedAttentionGuidance_adaptive_scale",
    "layers": "PerturbedAttentionGuidance_layers",
    "start": "PerturbedAttentionGuidance_start",
    "end": "PerturbedAttentionGuidance_end",
}
KEYS = (ENABLED, *_KEYS.values())


def write(options: PerturbedAttention) -> dict[str, str]:
    """Return what the infotext says, under Forge's keys; what is as usual is left out, but for the scale."""
    usual = PerturbedAttention()
    said = {ENABLED: "True"}
    for name, key in _KEYS.items():
        value = getattr(options, name)
        if name == "scale" or value != getattr(usual, name):
            said[key] = value if isinstance(value, str) else f"{value:g}"
    return said


def read(parameters: Mapping[str, str]) -> dict[str, Any] | None:
    """Return the options that an infotext's `parameters` say, None where they say nothing of it."""
    if ENABLED not in parameters:
        return None
    return {"enabled": True} | {name: parameters[key] for name, key in _KEYS.items() if key in parameters}
