"""ControlNet: pictures of edges, depths, poses and more guide the image, through networks made for that."""

from __future__ import annotations

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
    from PIL.Image import Image

    from extensions.controlnet.control import Control
    from webui.extending.computing import Combine, ImageRun, Run


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
    steering = _Steering()
    api.patch(steering.enter)
    api.wrap_guidance(steering.wrap_guidance)
    api.change_image(_keep_unmasked)


class _Steering:
    """The hooks in the worker: torch is imported by the first that is called."""

    def __init__(self) -> None:
        self._control: Control | None = None

    def enter(self, run: Run) -> AbstractContextManager[None]:
        return self._find().enter(run)

    def wrap_guidance(self, combine: Combine, run: Run) -> Combine:
        return self._find().wrap_guidance(combine, run)

    def _find(self) -> Control:
        from extensions.controlnet.control import Control

        self._control = self._control or Control()
        return self._control


def _keep_unmasked(picture: Image, run: ImageRun) -> Image:
    from extensions.controlnet.keeping import keep_unmasked

    return keep_unmasked(picture, run)
