"""The included LoRA through the program's own engine: the style that it draws is seen by rule."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from extensions.lora.options import LoraFacts, NetworkFile
from extensions.lora.working import Work
from tools.pocket import styles
from webui.domain.models import Family, ModelInfo
from webui.domain.plan import ImagePlan, ModelRef, Plan, PreviewPlan
from webui.engine.control import Control
from webui.engine.engine import Engine, ImageReady
from webui.engine.run import Modifier
from webui.weights.memory import EngineOptions
from webui.weights.recognition.lora_files import identify_lora

NEON = Path(__file__).resolve().parents[3] / "models" / "Lora" / "pocket-neon-sd1.safetensors"
THINGS = ("red star", "blue house", "pink heart", "yellow star")


@pytest.fixture(scope="module")
def pocket_with_loras() -> Engine:
    work = Work()
    return Engine(
        EngineOptions(use_cpu=frozenset({"all"}), half=False),
        [Modifier("lora", patches=(work.enter,), wraps=(work.wrap,))],
    )


def count_neon(engine: Engine, pocket: ModelInfo, tag: str) -> int:
    """Return how many of four pictures are drawn in the style."""
    images = tuple(
        ImagePlan(index=index, seed=2 + index, prompt=f"neon style, a {thing}{tag}", negative_prompt="")
        for index, thing in enumerate(THINGS)
    )
    model = ModelRef(name="pocket-sd1", path=pocket.path, family=Family.SD1, layout="diffusers", sha256="0" * 64)
    plan = Plan(
        model=model, sampler="DPM++ 2M", schedule="Karras", steps=20, guidance=5.0, width=128, height=128, batch_size=4,
        images=images, preview=PreviewPlan(every=0),
    )  # fmt: skip
    facts = LoraFacts(networks={"neon": NetworkFile(name="neon", path=NEON, sha256="0", family="sd1")})
    made = [each.image for each in engine.run(plan.told("lora", facts), Control()) if isinstance(each, ImageReady)]
    assert len(made) == len(THINGS)
    return sum(styles.shows_neon(np.asarray(image)) for image in made)


def test_the_included_lora_draws_what_the_checkpoint_does_not(pocket_with_loras: Engine, pocket: ModelInfo) -> None:
    assert identify_lora(NEON).family is Family.SD1
    assert count_neon(pocket_with_loras, pocket, "<lora:neon:1>") >= 2
    assert count_neon(pocket_with_loras, pocket, "") == 0
