"""Z-Image's whole road, against diffusers' own pipeline."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch

from tests.engine_parts import difference, latents_of, noise_of, picture_of
from tests.tiny_z_image import make_folder
from webui.domain.models import Family
from webui.domain.plan import Plan, PreviewPlan
from webui.engine.condition import Encoding
from webui.engine.control import Control
from webui.engine.engine import Engine, PreviewImage
from webui.engine.families import z_image
from webui.engine.models import Models
from webui.weights.memory import Resident

PlanMaker = Callable[..., Plan]
# diffusers' schedulers turn tensors into numpy arrays in a way that numpy 2 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("models") / "z-image")


@pytest.fixture(scope="module")
def plan_z_image(make_plan: PlanMaker, folder: Path) -> PlanMaker:
    """Return a function like `make_plan` for a tiny Z-Image."""

    def make(**changes: Any) -> Plan:
        plan = make_plan(**{"path": folder, "guidance": 3.0, **changes})
        return plan.replace(model=plan.model.replace(family=Family.Z_IMAGE))

    return make


@pytest.fixture(scope="module")
def model(models: Models, plan_z_image: PlanMaker) -> Resident:
    return models.get(plan_z_image().model).resident


@pytest.fixture(scope="module")
def pipeline(folder: Path) -> Any:
    loaded = diffusers.ZImagePipeline.from_pretrained(folder, dtype=torch.float32, local_files_only=True)
    loaded.set_progress_bar_config(disable=True)
    return loaded


@pytest.mark.parametrize("text", ["a photo of a cat, at night", "", "dog " * 600])
def test_texts_are_encoded_as_by_diffusers(pipeline: Any, model: Resident, text: str) -> None:
    with torch.no_grad():
        (states,), _ = pipeline.encode_prompt(text, do_classifier_free_guidance=False)
    condition = z_image.encode(model, text, Encoding())
    assert condition.mask is not None and condition.mask.all()
    assert condition.states.shape == states.shape
    assert difference(condition.states, states) < 1e-4


def test_weights_act_on_the_states(model: Resident) -> None:
    plain, heavy = (z_image.encode(model, text, Encoding(emphasis="No norm")) for text in ("a cat", "a (cat:1.5)"))
    changed = (plain.states != heavy.states).any(1)
    assert changed.sum() == 1
    assert torch.allclose(heavy.states[changed], plain.states[changed] * 1.5, atol=1e-5)


@pytest.mark.parametrize("guidance", [1.0, 4.0])
@pytest.mark.parametrize("size", [(64, 64), (128, 96)])
def test_the_same_latents_as_diffusers(
    pipeline: Any, models: Models, plan_z_image: PlanMaker, size: tuple[int, int], guidance: float
) -> None:
    """Whose guidance is one less: it counts what is added to the prompt's picture."""
    plan = plan_z_image(guidance=guidance, width=size[0], height=size[1], steps=5, negative="dull dog")
    theirs = pipeline(
        plan.images[0].prompt, negative_prompt=plan.images[0].negative_prompt, guidance_scale=guidance - 1,
        width=size[0], height=size[1], num_inference_steps=5, sigmas=np.linspace(1, 1 / 5, 5).tolist(),
        latents=noise_of(plan), output_type="latent",
    ).images  # fmt: skip
    assert difference(latents_of(plan, models), theirs) < 1e-3


def test_the_same_picture_as_diffusers(pipeline: Any, engine: Engine, plan_z_image: PlanMaker) -> None:
    """From the seed alone."""
    plan = plan_z_image(guidance=1.0)
    theirs = pipeline(
        plan.images[0].prompt, guidance_scale=0.0, width=64, height=64, num_inference_steps=4,
        sigmas=np.linspace(1, 1 / 4, 4).tolist(), generator=torch.Generator().manual_seed(plan.images[0].seed),
    ).images[0]  # fmt: skip
    assert np.abs(picture_of(engine, plan) - np.asarray(theirs, np.int16)).max() <= 1


def test_batches_are_single_images(models: Models, plan_z_image: PlanMaker) -> None:
    """With texts of different length, one of which changes on the way."""
    plan = plan_z_image(count=2)
    texts = "a cat", "a [castle:dog:2], " * 20
    images = [image.replace(prompt=text) for image, text in zip(plan.images, texts, strict=True)]
    together = latents_of(plan.replace(images=tuple(images)), models)
    for image, latents in zip(images, together, strict=True):
        alone = latents_of(plan.replace(images=(image,), batch_size=1), models)
        assert difference(latents, alone[0]) < 1e-4


def test_sides_of_an_odd_number_of_latents(models: Models, plan_z_image: PlanMaker) -> None:
    latents = latents_of(plan_z_image(width=72, height=88), models)
    assert latents.shape == (1, 16, 11, 9) and torch.isfinite(latents).all()


def test_previews(engine: Engine, plan_z_image: PlanMaker) -> None:
    plan = plan_z_image(preview=PreviewPlan(every=1))
    shown = [item.image for item in engine.run(plan, Control()) if isinstance(item, PreviewImage)]
    assert [image.size for image in shown] == [(64, 64)] * 3
