"""The included ControlNets through the whole engine: what is drawn has the edges that were shown."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from extensions.controlnet.control import Control as Steering
from extensions.controlnet.facts import NAME, UnitFacts
from tests.extensions.controlnet.control_parts import HINT, steered, unit
from tools.pocket import scenes
from tools.pocket.control import canny, overlap
from webui.domain.models import Family, Kind, ModelInfo
from webui.domain.plan import ImagePlan, ModelRef, Plan, PreviewPlan
from webui.engine.control import Control
from webui.engine.engine import Engine, EngineOptions, ImageReady
from webui.engine.run import Modifier
from webui.weights.recognition.control_files import identify_control

MODELS = Path(__file__).resolve().parents[3] / "models" / "ControlNet"
SCENES = 4
SORTS = {"canny": ("canny", 1), "scribble": ("scribble_edges", 2)}  # preprocessor; pixels by which edges may miss


@pytest.fixture(scope="module")
def steered_engine() -> Engine:
    steering = Steering()
    return Engine(EngineOptions(use_cpu=frozenset({"all"})), [Modifier(NAME, patches=(steering.enter,))])


def draw(engine: Engine, model: ModelInfo, prompt: str, shown: Image.Image, *units: UnitFacts) -> np.ndarray:
    assert model.family is not None and model.sha256 is not None
    plan = Plan(
        model=ModelRef(name=model.name, path=model.path, family=model.family, layout=model.layout, sha256=model.sha256),
        sampler="DPM++ 2M", schedule="Automatic", steps=8, guidance=5.0, width=128, height=128, batch_size=1,
        images=(ImagePlan(index=0, seed=11, prompt=prompt, negative_prompt=""),), preview=PreviewPlan(every=0),
    )  # fmt: skip
    happened = engine.run(steered(plan, *units), Control(), {HINT: shown})
    return np.array(next(item.image for item in happened if isinstance(item, ImageReady)))


@pytest.mark.parametrize("sort", list(SORTS))
def test_edges_are_followed(steered_engine: Engine, pocket: ModelInfo, sort: str) -> None:
    """Of unseen scenes, where the prompt names nothing but the colour; the weight decides how far."""
    path = MODELS / f"pocket-{sort}-sd1.safetensors"
    facts = identify_control(path)
    assert (facts.kind, facts.family) == (Kind.CONTROLNET, Family.SD1)
    preprocessor, reach = SORTS[sort]
    rng = np.random.default_rng(77)
    kept: dict[float, list[float]] = {0.0: [], 1.0: []}
    for _ in range(SCENES):
        asked = scenes.random_scene(rng, pairs=0.0)
        scene = scenes.render(asked, rng)
        guided = unit(path, preprocessor=preprocessor, options={"resolution": 128.0}, family=facts.family)
        for weight, scores in kept.items():
            units = (guided.replace(weight=weight),) if weight else ()
            drawn = draw(steered_engine, pocket, asked.things[0].colour, Image.fromarray(scene), *units)
            scores.append(overlap(canny(scene), drawn, reach))
    assert np.mean(kept[1.0]) > np.mean(kept[0.0]) + 0.2
