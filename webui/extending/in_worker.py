"""The engine with what extensions do in it. Runs in the worker; importing this module imports no torch."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from webui.extending.api import ExtensionApi
from webui.extending.places import Place
from webui.extending.worker_marks import NAME, load_in_worker
from webui.jobs.estimate import engine_options

if TYPE_CHECKING:
    from webui.config import Config
    from webui.engine.engine import Engine
    from webui.engine.run import Modifier
    from webui.jobs.child import EngineFactory
    from webui.weights.memory_plan.facts import EngineOptions


def engine_factory(config: Config, places: Sequence[Place] = ()) -> EngineFactory:
    """Return what builds the real engine inside the worker, with the extensions at `places`. It carries only what the
    engine may know."""
    marks = config.state_dir / "extensions" / NAME
    return functools.partial(_build_engine, engine_options(config), tuple(places), marks)


def _build_engine(options: EngineOptions, places: Sequence[Place], marks: Path) -> Engine:
    from webui.engine.engine import Engine

    apis = load_in_worker(places, marks)
    preprocessors = [each for api in apis for each in api.preprocessors]
    return Engine(options, [modifier_of(api) for api in apis], preprocessors)


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
