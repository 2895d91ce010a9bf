"""The embedding that is shipped says what it was taught: a colour that the pocket model has no word for."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from extensions.textual_inversion.extension import NAME, tell
from extensions.textual_inversion.teaching import teach
from tests.engine_parts import pictures_of
from tests.extensions.parts import make_tools
from tools.pocket.inversion import is_turquoise
from tools.pocket.scenes import OBJECTS
from tools.pocket.scorer import JUDGED, Scorer
from webui.domain.models import Kind, ModelInfo
from webui.domain.plan import ImagePlan, ModelRef, Plan, PreviewPlan
from webui.engine.engine import Engine, EngineOptions
from webui.engine.run import Modifier
from webui.extending.api import NoOptions

FILE = Path(__file__).resolve().parents[3] / "models" / "embeddings" / "pocket-turquoise.safetensors"
THINGS = ("cat", "house", "fish", "car")


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine(EngineOptions(use_cpu=frozenset({"all"})), [Modifier(NAME, patches=(teach,))])


def plan_of(pocket: ModelInfo, word: str) -> Plan:
    images = tuple(
        ImagePlan(index=index, seed=index, prompt=f"a {word} {thing}, white background", negative_prompt="")
        for index, thing in enumerate(THINGS)
    )
    assert pocket.family is not None and pocket.sha256 is not None
    model = ModelRef(
        name=pocket.name, path=pocket.path, family=pocket.family, layout=pocket.layout, sha256=pocket.sha256
    )
    return Plan(
        model=model, sampler="DPM++ 2M", schedule="Karras", steps=14, guidance=5.0, width=128, height=128,
        batch_size=len(images), images=images, preview=PreviewPlan(every=0),
    )  # fmt: skip


def test_things_get_the_colour_of_the_word(engine: Engine, pocket: ModelInfo, scorer: Scorer) -> None:
    found = ModelInfo(name=FILE.stem, path=FILE, kind=Kind.EMBEDDING, sha256="1" * 64)
    tools = dataclasses.replace(make_tools(), models=lambda kind: (found,), find=lambda kind, name: found)
    plan = tell(plan_of(pocket, "Pocket-Turquoise"), NoOptions(), tools)
    taught = np.stack(pictures_of(engine, plan)).astype(np.uint8)
    plain = np.stack(pictures_of(engine, plan_of(pocket, "turquoise"))).astype(np.uint8)
    shares = [sum(map(is_turquoise, pictures)) for pictures in (taught, plain)]
    assert shares[0] >= 2 and shares[1] == 0
    seen = scorer.codes(taught)[:, JUDGED.index("object")]
    assert sum(seen == [OBJECTS.index(thing) + 1 for thing in THINGS]) >= 3
