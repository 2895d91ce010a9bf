"""ControlNet: pictures of edges, depths, poses and more guide the image, through networks made for that."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from extensions.controlnet.arguments import read_arguments
from extensions.controlnet.infotext import INFOTEXT
from extensions.controlnet.options import ControlOptions
from extensions.controlnet.planning import plan_control
from extensions.controlnet.preprocessors.catalog import PREPROCESSORS
from extensions.controlnet.routes import ROUTES
from webui.extending.api import ExtensionApi, Panel

if TYPE_CHECKING:
    from extensions.controlnet.control import Control
    from webui.extending.computing import Run


def register(api: ExtensionApi) -> None:
    api.add_options(
        Panel(
            title="ControlNet",
            options=ControlOptions,
            aliases=("controlnet",),
            description="Guides the image by pictures of edges, depths, poses and more.",
            read_arguments=read_arguments,
        )
    )
    for preprocessor in PREPROCESSORS:
        api.add_preprocessor(preprocessor)
    for route in ROUTES:
        api.add_route(route)
    api.add_infotext(INFOTEXT)
    api.change_plan(plan_control)
    api.patch(_enter_in_worker())


def _enter_in_worker() -> Callable[[Run], AbstractContextManager[None]]:
    """Return the hook, which imports torch and remembers networks and pictures from its first use on."""
    controls: list[Control] = []

    def enter(run: Run) -> AbstractContextManager[None]:
        from extensions.controlnet.control import Control

        if not controls:
            controls.append(Control())
        return controls[0].enter(run)

    return enter
