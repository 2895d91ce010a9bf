from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.tiny_models import make_folder, make_single_file
from tools.pocket.scorer import Scorer
from webui.domain.models import Family, ModelInfo
from webui.domain.plan import ImagePlan, ModelRef, Plan, PreviewPlan
from webui.engine.engine import Engine, EngineOptions
from webui.engine.models import Models
from webui.weights.catalog.catalog import Catalog
from webui.weights.catalog.files import CHECKPOINTS
from webui.weights.catalog.index import ModelIndex
from webui.weights.loading.load import load
from webui.weights.memory import Resident, choose_placement
from webui.weights.recognition.identify import identify

ROOT = Path(__file__).resolve().parents[2]
PlanMaker = Callable[..., Plan]


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def tiny_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_single_file(tmp_path_factory.mktemp("models") / "tiny.safetensors")


@pytest.fixture(scope="session")
def options() -> EngineOptions:
    """On the CPU and exact, whatever this machine has."""
    return EngineOptions(use_cpu=frozenset({"all"}), half=False)


@pytest.fixture(scope="session")
def engine(options: EngineOptions) -> Engine:
    return Engine(options)


@pytest.fixture(scope="session")
def tiny(tiny_folder: Path, options: EngineOptions) -> Resident:
    checkpoint = identify(tiny_folder)
    placement = choose_placement(options, checkpoint)
    return Resident(load(checkpoint, placement.dtypes), placement)


@pytest.fixture(scope="module")
def models(options: EngineOptions) -> Models:
    return Models(options)


@pytest.fixture(scope="session")
def other_model(tmp_path_factory: pytest.TempPathFactory) -> ModelRef:
    """A second tiny checkpoint, with other weights."""
    path = make_folder(tmp_path_factory.mktemp("models") / "other", seed=5)
    return ModelRef(name="other", path=path, family=Family.SD1, layout="diffusers", sha256="0" * 64)


@pytest.fixture(scope="session")
def scorer() -> Scorer:
    return Scorer.load()


@pytest.fixture(scope="session")
def pocket(tmp_path_factory: pytest.TempPathFactory) -> ModelInfo:
    index = ModelIndex(tmp_path_factory.mktemp("state") / "models.db")
    catalog = Catalog([ROOT / "models" / "Stable-diffusion"], index, CHECKPOINTS)
    return catalog.hashed(catalog.find("pocket-sd1"))


@pytest.fixture(scope="session")
def pocket_engine() -> Engine:
    """In the precision that this machine computes fastest."""
    return Engine(EngineOptions(use_cpu=frozenset({"all"})))


@pytest.fixture(scope="session")
def make_plan(tiny_folder: Path) -> PlanMaker:
    """Return a function that makes a plan of `count` images of 64×64 in 4 steps; keywords change anything in it."""

    def make(*, path: Path = tiny_folder, count: int = 1, seed: int = 7, prompt: str = "a cat", negative: str = "dull",
             **changes: Any) -> Plan:  # fmt: skip
        images = tuple(
            ImagePlan(index=index, seed=seed + index, prompt=prompt, negative_prompt=negative) for index in range(count)
        )
        layout = "diffusers" if path.is_dir() else "original"
        model = ModelRef(name=path.stem, path=path, family=Family.SD1, layout=layout, sha256=path.name.encode().hex())
        plan = Plan(
            model=model, sampler="Euler", schedule="Automatic", steps=4, guidance=5.0, width=64, height=64,
            batch_size=count, images=images, preview=PreviewPlan(every=0),
        )  # fmt: skip
        return plan.replace(**changes)

    return make
