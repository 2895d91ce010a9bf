"""What dynamic thresholding can be told, and how the infotext says it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from webui.extending.api import Data

Mode = Literal[
    "Constant",
    "Linear Down",
    "Cosine Down",
    "Half Cosine Down",
    "Linear Up",
    "Cosine Up",
    "Half Cosine Up",
    "Power Up",
    "Power Down",
    "Linear Repeating",
    "Cosine Repeating",
    "Sawtooth",
]
"""How a scale changes over the steps."""

VALUED: tuple[Mode, ...] = ("Power Up", "Power Down", "Linear Repeating", "Cosine Repeating", "Sawtooth")

Scale = Annotated[float, Field(ge=0, le=100, json_schema_extra={"step": 0.5})]
_SHOWN_IF_VALUED = {"step": 0.5, "rare": True}


class DynamicThresholding(Data):
    """In the order of the arguments of A1111's extension of this name."""

    enabled: Annotated[
        bool,
        Field(title="Enable", description="High guidance without burnt colours: its result is brought to the spread "
              "that a lower guidance would have."),
    ] = False  # fmt: skip
    mimic_scale: Annotated[
        Scale,
        Field(title="Mimic CFG scale", description="The guidance whose spread is kept. Set the CFG scale higher."),
    ] = 7.0
    threshold_percentile: Annotated[
        float,
        Field(
            title="Top percentile of latents to clamp",
            description="Below 100, so many percent of the values decide how far the rest may go.",
            ge=90,
            le=100,
            json_schema_extra={"step": 0.05},
        ),
    ] = 100.0
    mimic_mode: Annotated[
        Mode, Field(title="Mimic scale scheduler", description="How the mimic scale changes over the steps.")
    ] = "Constant"
    mimic_scale_min: Annotated[
        Scale,
        Field(
            title="Minimum value of the mimic scale scheduler",
            description="Where the mimic scale ends or begins.",
            json_schema_extra={"rare": True},
        ),
    ] = 0.0
    cfg_mode: Annotated[
        Mode, Field(title="CFG scale scheduler", description="How the CFG scale changes over the steps.")
    ] = "Constant"
    cfg_scale_min: Annotated[
        Scale,
        Field(
            title="Minimum value of the CFG scale scheduler",
            description="Where the CFG scale ends or begins.",
            json_schema_extra={"rare": True},
        ),
    ] = 0.0
    sched_val: Annotated[
        float,
        Field(
            title="Scheduler value",
            description="The power of Power Up and Power Down; how often the repeating ones repeat.",
            ge=0,
            le=100,
            json_schema_extra=_SHOWN_IF_VALUED,
        ),
    ] = 4.0
    separate_feature_channels: Annotated[
        bool,
        Field(
            title="Separate feature channels",
            description="Each channel of the latents has its own spread.",
            json_schema_extra={"rare": True},
        ),
    ] = True
    scaling_startpoint: Annotated[
        Literal["MEAN", "ZERO"],
        Field(
            title="Scaling startpoint",
            description="Whether values are brought towards their mean or towards zero.",
            json_schema_extra={"rare": True},
        ),
    ] = "MEAN"
    variability_measure: Annotated[
        Literal["AD", "STD"],
        Field(
            title="Variability measure",
            description="What spread is: the largest distance from the mean, or the standard deviation.",
            json_schema_extra={"rare": True},
        ),
    ] = "AD"
    interpolate_phi: Annotated[
        float,
        Field(
            title="Interpolate phi",
            description="How much of it is mixed into the plain result; 1 is all.",
            ge=0,
            le=1,
            json_schema_extra={"step": 0.01, "rare": True},
        ),
    ] = 1.0

    @property
    def acts(self) -> bool:
        """Whether anything is changed at all."""
        return self.enabled and self.interpolate_phi > 0


_KEYS: Mapping[str, str] = {
    "mimic_scale": "Mimic scale",
    "separate_feature_channels": "Separate Feature Channels",
    "scaling_startpoint": "Scaling Startpoint",
    "variability_measure": "Variability Measure",
    "interpolate_phi": "Interpolate Phi",
    "threshold_percentile": "Threshold percentile",
}
_MODE_KEYS: Mapping[str, str] = {
    "mimic_mode": "Mimic mode",
    "mimic_scale_min": "Mimic scale minimum",
    "cfg_mode": "CFG mode",
    "cfg_scale_min": "CFG scale minimum",
    "sched_val": "Scheduler value",
}
ENABLED = "Dynamic thresholding enabled"
KEYS = (ENABLED, *_KEYS.values(), *_MODE_KEYS.values())


def write(options: DynamicThresholding) -> dict[str, str]:
    """Return what the infotext says, under the keys of A1111's extension."""
    said = {ENABLED: "True"} | {key: _word(getattr(options, name)) for name, key in _KEYS.items()}
    if options.mimic_mode != "Constant":
        said |= {"Mimic mode": options.mimic_mode, "Mimic scale minimum": _word(options.mimic_scale_min)}
    if options.cfg_mode != "Constant":
        said |= {"CFG mode": options.cfg_mode, "CFG scale minimum": _word(options.cfg_scale_min)}
    if {options.mimic_mode, options.cfg_mode} & {*VALUED}:
        said["Scheduler value"] = _word(options.sched_val)
    return said


def read(parameters: Mapping[str, str]) -> dict[str, Any] | None:
    """Return the options that an infotext's `parameters` say, None where they say nothing of it."""
    if ENABLED not in parameters:
        return None
    names = {**_KEYS, **_MODE_KEYS}
    return {"enabled": True} | {name: parameters[key] for name, key in names.items() if key in parameters}


def _word(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
