"""Chroma's whole road, against diffusers' own pipeline."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch

from tests.engine_parts import difference, latents_of, noise_of, picture_of
from tests.tiny_chroma import make_folder
from webui.domain.models import Family
from webui.domain.plan import Plan, PreviewPlan
from webui.engine.condition import Encoding
from webui.engine.control import Control
from webui.engine.engine import Engine, PreviewImage
from webui.engine.families import chroma
from webui.engine.models import Models
from webui.weights.memory import Resident

PlanMaker = Callable[..., Plan]
# diffusers' schedulers turn tensors into numpy arrays in a way that numpy 2 deprecates.
pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:`FluxPosEmbed` is deprecated:FutureWarning"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("models") / "chroma")


@pytest.fixture(scope="module")
def plan_chroma(make_plan: PlanMaker, folder: Path) -> PlanMaker:
    """Return a function like `make_plan` for a tiny Chroma."""

    def make(**changes: Any) -> Plan:
        plan = make_plan(**{"path": folder, "guidance": 3.0, **changes})
        return plan.replace(model=plan.model.replace(family=Family.CHROMA))

    return make


@pytest.fixture(scope="module")
def model(models: Models, plan_chroma: PlanMaker) -> Resident:
    return models.get(plan_chroma().model).resident


@pytest.fixture(scope="module")
def pipeline(folder: Path) -> Any:
    loaded = diffusers.ChromaPipeline.from_pretrained(folder, dtype=torch.float32, local_files_only=True)
    loaded.set_progress_bar_config(disable=True)
    return loaded


@pytest.mark.parametrize("text", ["a photo of a cat, at night", "", "dog " * 600])
def test_texts_are_encoded_as_by_diffusers(pipeline: Any, model: Resident, text: str) -> None:
    with torch.no_grad():
        states, _, mask, *_ = pipeline.encode_prompt(text, do_classifier_free_guidance=False)
    condition = chroma.encode(model, text, Encoding())
    assert condition.mask is not None
    assert torch.equal(condition.mask, mask[0].bool())
    assert difference(condition.states, states[0]) < 1e-4


def test_weights_act_on_the_states(model: Resident) -> None:
    """Of "a", "cat" and the end, the second is heavier."""
    plain, heavy = (chroma.encode(model, text, Encoding(emphasis="No norm")) for text in ("a cat", "a (cat:1.5)"))
    factors = torch.ones(512, 1)
    factors[1] = 1.5
    assert torch.allclose(heavy.states, plain.states * factors, atol=1e-5)


@pytest.mark.parametrize("guidance", [1.0, 4.0])
@pytest.mark.parametrize("size", [(64, 64), (128, 96)])
def test_the_same_latents_as_diffusers(
    pipeline: Any, models: Models, plan_chroma: PlanMaker, size: tuple[int, int], guidance: float
) -> None:
    plan = plan_chroma(guidance=guidance, width=size[0], height=size[1], steps=5, negative="dull dog")
    theirs = pipeline(
        plan.images[0].prompt, negative_prompt=plan.images[0].negative_prompt, guidance_scale=guidance, width=size[0],
        height=size[1], num_inference_steps=5, latents=chroma.pack(noise_of(plan)), output_type="latent",
    ).images  # fmt: skip
    rows, columns = size[1] // 16, size[0] // 16
    assert difference(latents_of(plan, models), chroma.unpack(theirs, rows, columns)) < 1e-3


def test_the_same_picture_as_diffusers(pipeline: Any, engine: Engine, plan_chroma: PlanMaker) -> None:
    """From the seed alone."""
    plan = plan_chroma()
    theirs = pipeline(
        plan.images[0].prompt, negative_prompt=plan.images[0].negative_prompt, guidance_scale=3.0, width=64, height=64,
        num_inference_steps=4, generator=torch.Generator().manual_seed(plan.images[0].seed),
    ).images[0]  # fmt: skip
    assert np.abs(picture_of(engine, plan) - np.asarray(theirs, np.int16)).max() <= 1


def test_batches_are_single_images(models: Models, plan_chroma: PlanMaker) -> None:
    plan = plan_chroma(count=2)
    images = [image.replace(prompt=text) for image, text in zip(plan.images, ("a cat", "dog " * 90), strict=True)]
    together = latents_of(plan.replace(images=tuple(images)), models)
    for image, latents in zip(images, together, strict=True):
        alone = latents_of(plan.replace(images=(image,), batch_size=1), models)
        assert difference(latents, alone[0]) < 1e-4


def test_sides_of_an_odd_number_of_latents(models: Models, plan_chroma: PlanMaker) -> None:
    latents = latents_of(plan_chroma(width=72, height=88), models)
    assert latents.shape == (1, 16, 11, 9) and torch.isfinite(latents).all()


def test_previews(engine: Engine, plan_chroma: PlanMaker) -> None:
    plan = plan_chroma(preview=PreviewPlan(every=1))
    shown = [item.image for item in engine.run(plan, Control()) if isinstance(item, PreviewImage)]
    assert [image.size for image in shown] == [(64, 64)] * 3
