"""The engine with what extensions do in it. Runs in the worker; importing this module imports no torch."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from webui.extending.api import ExtensionApi
from webui.extending.loader import load_places
from webui.extending.offers import AnyPreprocessor
from webui.extending.places import Place
from webui.jobs.estimate import engine_options

if TYPE_CHECKING:
    from PIL.Image import Image

    from webui.config import Config
    from webui.engine.engine import Engine, Preprocess
    from webui.engine.run import Modifier
    from webui.jobs.child import EngineFactory
    from webui.weights.memory_plan.facts import EngineOptions


def engine_factory(config: Config, places: Sequence[Place] = ()) -> EngineFactory:
    """Return what builds the real engine inside the worker, with the extensions at `places`. It carries only what the
    engine may know."""
    return functools.partial(_build_engine, engine_options(config), tuple(places))


def _build_engine(options: EngineOptions, places: Sequence[Place]) -> Engine:
    from webui.engine.engine import Engine

    apis = load_places(places).apis
    preprocessors = {each.name: _preprocess_with(each) for api in apis for each in api.preprocessors}
    return Engine(options, [modifier_of(api) for api in apis], preprocessors)


def _preprocess_with(preprocessor: AnyPreprocessor) -> Preprocess:
    def preprocess(picture: Image, options: Mapping[str, Any]) -> Image:
        return preprocessor.run(picture, preprocessor.options.model_validate(options))

    return preprocess


def modifier_of(api: ExtensionApi) -> Modifier:
    """Return what one extension does in the engine."""
    from webui.engine.run import Modifier

    return Modifier(
        api.name,
        api.patches,
        api.denoise_wraps,
        api.guidance_wraps,
        api.image_changes,
        {each.name: each.sample for each in api.samplers},
        {each.name: each.sigmas for each in api.schedules},
        {each.name: each.enlarge for each in api.upscalers},
    )
