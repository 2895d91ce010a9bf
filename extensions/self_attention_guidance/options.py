"""What self-attention guidance can be told, and how the infotext says it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from webui.extending.api import Data


class SelfAttentionGuidance(Data):
    """In the order of the arguments of Forge's built-in extension."""

    enabled: Annotated[
        bool,
        Field(
            title="Enable",
            description="Moves away from a picture that is blurred where the model looks most. One more network call "
            "in each step. SD1, SD2, SDXL.",
        ),
    ] = False
    scale: Annotated[
        float,
        Field(title="Scale", description="How far; 0 changes nothing.", ge=-2, le=5, json_schema_extra={"step": 0.01}),
    ] = 0.5
    blur_sigma: Annotated[
        float,
        Field(title="Blur sigma", description="Of the blur, in latents.", ge=0.01, le=10,
              json_schema_extra={"step": 0.01}),
    ] = 2.0  # fmt: skip
    threshold: Annotated[
        float,
        Field(
            title="Blur mask threshold",
            description="Places that get more attention than this are blurred; on average they get 1.",
            ge=0,
            le=4,
            json_schema_extra={"step": 0.01},
        ),
    ] = 1.0

    @property
    def acts(self) -> bool:
        """Whether anything is changed at all."""
        return self.enabled and self.scale != 0


ENABLED = "sag_enabled"
_KEYS: Mapping[str, str] = {"scale": "sag_scale", "blur_sigma": "sag_blur_sigma", "threshold": "sag_threshold"}
KEYS = (ENABLED, *_KEYS.values())


def write(options: SelfAttentionGuidance) -> dict[str, str]:
    """Return what the infotext says, under Forge's keys."""
    return {ENABLED: "True"} | {key: f"{getattr(options, name):g}" for name, key in _KEYS.items()}


def read(parameters: Mapping[str, str]) -> dict[str, Any] | None:
    """Return the options that an infotext's `parameters` say, None where they say nothing of it."""
    if ENABLED not in parameters:
        return None
    return {"enabled": True} | {name: parameters[key] for name, key in _KEYS.items() if key in parameters}
