"""What the plot can be told, in the order of A1111's arguments."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from extensions.xyz_plot.axes import AXES, USABLE
from extensions.xyz_plot.values import split_list
from webui.extending.api import Data


def _read_choices(value: Any) -> Any:
    """Programs send the values of a list as a list, as a comma-separated text, or as an empty text."""
    return tuple(split_list(value)) if isinstance(value, str) else value


def _shown(label: str, **extra: Any) -> dict[str, Any]:
    return {"label": label, **extra}


def _axis(name: str) -> Any:
    return Field(json_schema_extra=_shown(f"{name} type", choices=list(USABLE)))


def _values(name: str) -> Any:
    suggestions = {axis.label: axis.choices for axis in AXES if axis.choices and not axis.missing}
    return Field(
        max_length=50_000,
        description='For example 10, 20 or 1-5 or 1-10 (+2) or 0-1 [5] or "one, with a comma", another.',
        json_schema_extra=_shown(f"{name} values", suggestions_for=f"{name.lower()}_type", suggestions=suggestions),
    )


def _choices(name: str) -> Any:
    return Field(max_length=1000, json_schema_extra=_shown(f"{name} values", hidden=True))


Choices = Annotated[tuple[str, ...], BeforeValidator(_read_choices)]


class XyzOptions(Data):
    """An axis is named by its label or by A1111's number.

    `…_values_dropdown` is used instead of `…_values` where the axis has choices, unless it is empty or `csv_mode` is
    on.
    """

    x_type: Annotated[int | str, _axis("X")] = "Seed"
    x_values: Annotated[str, _values("X")] = ""
    x_values_dropdown: Annotated[Choices, _choices("X")] = ()
    y_type: Annotated[int | str, _axis("Y")] = "Nothing"
    y_values: Annotated[str, _values("Y")] = ""
    y_values_dropdown: Annotated[Choices, _choices("Y")] = ()
    z_type: Annotated[int | str, _axis("Z")] = "Nothing"
    z_values: Annotated[str, _values("Z")] = ""
    z_values_dropdown: Annotated[Choices, _choices("Z")] = ()
    draw_legend: Annotated[bool, Field(json_schema_extra=_shown("Draw legend"))] = True
    include_lone_images: Annotated[bool, Field(json_schema_extra=_shown("Include sub images"))] = False
    include_sub_grids: Annotated[bool, Field(json_schema_extra=_shown("Include sub grids"))] = False
    no_fixed_seeds: Annotated[bool, Field(json_schema_extra=_shown("Keep -1 for seeds"))] = False
    vary_seeds_x: Annotated[bool, Field(json_schema_extra=_shown("Vary seeds for X"))] = False
    vary_seeds_y: Annotated[bool, Field(json_schema_extra=_shown("Vary seeds for Y"))] = False
    vary_seeds_z: Annotated[bool, Field(json_schema_extra=_shown("Vary seeds for Z"))] = False
    margin_size: Annotated[int, Field(ge=0, le=500, json_schema_extra=_shown("Grid margins (px)", step=2))] = 0
    csv_mode: Annotated[bool, Field(json_schema_extra=_shown("Use text inputs instead of dropdowns", hidden=True))] = (
        False
    )

    def axis(self, name: str) -> tuple[int | str, str, tuple[str, ...]]:
        """Return what axis `name` (X, Y or Z) is, and its values as typed and as chosen."""
        return {
            "X": (self.x_type, self.x_values, self.x_values_dropdown),
            "Y": (self.y_type, self.y_values, self.y_values_dropdown),
            "Z": (self.z_type, self.z_values, self.z_values_dropdown),
        }[name]
