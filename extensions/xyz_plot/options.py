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


def _axis(name: str) -> Any:
    return Field(title=f"{name} type", json_schema_extra={"choices": list(USABLE)})


def _values(name: str) -> Any:
    suggestions: Any = {axis.label: axis.choices for axis in AXES if axis.choices and not axis.missing}
    return Field(
        title=f"{name} values",
        max_length=50_000,
        description='For example 10, 20 or 1-5 or 1-10 (+2) or 0-1 [5] or "one, with a comma", another.',
        json_schema_extra={"suggestions_for": f"{name.lower()}_type", "suggestions": suggestions},
    )


def _choices(name: str) -> Any:
    return Field(title=f"{name} values", max_length=1000, json_schema_extra={"hidden": True})


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
    draw_legend: Annotated[bool, Field(title="Draw legend")] = True
    include_lone_images: Annotated[bool, Field(title="Include sub images")] = False
    include_sub_grids: Annotated[bool, Field(title="Include sub grids")] = False
    no_fixed_seeds: Annotated[bool, Field(title="Keep -1 for seeds")] = False
    vary_seeds_x: Annotated[bool, Field(title="Vary seeds for X")] = False
    vary_seeds_y: Annotated[bool, Field(title="Vary seeds for Y")] = False
    vary_seeds_z: Annotated[bool, Field(title="Vary seeds for Z")] = False
    margin_size: Annotated[int, Field(title="Grid margins (px)", ge=0, le=500, json_schema_extra={"step": 2})] = 0
    csv_mode: Annotated[
        bool, Field(title="Use text inputs instead of dropdowns", json_schema_extra={"hidden": True})
    ] = False

    def axis(self, name: str) -> tuple[int | str, str, tuple[str, ...]]:
        """Return what axis `name` (X, Y or Z) is, and its values as typed and as chosen."""
        return {
            "X": (self.x_type, self.x_values, self.x_values_dropdown),
            "Y": (self.y_type, self.y_values, self.y_values_dropdown),
            "Z": (self.z_type, self.z_values, self.z_values_dropdown),
        }[name]
