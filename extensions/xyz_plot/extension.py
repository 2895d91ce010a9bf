"""X/Y/Z plot: one image for each combination of values, on one sheet with titles."""

from __future__ import annotations

from extensions.xyz_plot.options import XyzOptions
from extensions.xyz_plot.plot import plot
from webui.extending.api import ExtensionApi, Script


def register(api: ExtensionApi) -> None:
    api.add_script(
        Script(
            name="X/Y/Z plot",
            aliases=("xyz", "xyz_grid", "xyz_grid.py"),
            options=XyzOptions,
            expand=plot,
            description="Makes one image for each combination of values and puts them on one sheet with titles.",
        )
    )
