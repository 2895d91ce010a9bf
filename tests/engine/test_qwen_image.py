"""Qwen-Image's whole road, against diffusers' own pipeline."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch

from tests.engine_parts import difference, latents_of, noise_of, picture_of
from tests.tiny_qwen_image import SCHEDULER, make_folder
from webui.domain.models import Family
from webui.domain.plan import Plan, PreviewPlan
from webui.engine import vae
from webui.engine.condition import Encoding
from webui.engine.control import Control
from webui.engine.engine import Engine, PreviewImage
from webui.engine.families import qwen_image
from webui.engine.families.flux import pack, unpack
from webui.engine.models import Models
from webui.engine.schedules import find_sigmas
from webui.weights.memory import Resident

PlanMaker = Callable[..., Plan]
# diffusers' schedulers turn tensors into numpy arrays in a way that numpy 2 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("models") / "qwen-image")


@pytest.fixture(scope="module")
def plan_qwen(make_plan: PlanMaker, folder: Path) -> PlanMaker:
    """Return a function like `make_plan` for a tiny Qwen-Image."""

    def make(**changes: Any) -> Plan:
        plan = make_plan(**{"path": folder, "guidance": 3.0, **changes})
        return plan.replace(model=plan.model.replace(family=Family.QWEN_IMAGE))

    return make


@pytest.fixture(scope="module")
def model(models: Models, plan_qwen: PlanMaker) -> Resident:
    return models.get(plan_qwen().model).resident


@pytest.fixture(scope="module")
def pipeline(folder: Path) -> Any:
    loaded = diffusers.QwenImagePipeline.from_pretrained(folder, dtype=torch.float32, local_files_only=True)
    loaded.set_progress_bar_config(disable=True)
    return loaded


@pytest.mark.parametrize("text", ["a photo of a cat, at night", "", "dog " * 600])
def test_texts_are_encoded_as_by_diffusers(pipeline: Any, model: Resident, text: str) -> None:
    with torch.no_grad():
        (states,), _ = pipeline.encode_prompt(text, max_sequence_length=512)
    condition = qwen_image.encode(model, text, Encoding())
    assert condition.mask is not None and condition.mask.all()
    assert condition.states.shape == states.shape
    assert difference(condition.states, states) < 1e-4


def test_weights_act_on_the_states(model: Resident) -> None:
    plain, heavy = (qwen_image.encode(model, text, Encoding(emphasis="No norm")) for text in ("a cat", "a (cat:1.5)"))
    changed = (plain.states != heavy.states).any(1)
    assert changed.sum() == 1
    assert torch.allclose(heavy.states[changed], plain.states[changed] * 1.5, atol=1e-5)


@pytest.mark.parametrize("guidance", [1.0, 4.0])
@pytest.mark.parametrize("size", [(64, 64), (128, 96)])
def test_the_same_latents_as_diffusers(
    pipeline: Any, models: Models, plan_qwen: PlanMaker, size: tuple[int, int], guidance: float
) -> None:
    """Norms are kept token by token."""
    plan = plan_qwen(guidance=guidance, width=size[0], height=size[1], steps=5, negative="dull dog")
    theirs = pipeline(
        plan.images[0].prompt, negative_prompt=plan.images[0].negative_prompt, true_cfg_scale=guidance,
        width=size[0], height=size[1], num_inference_steps=5, latents=pack(noise_of(plan)), output_type="latent",
    ).images  # fmt: skip
    assert difference(latents_of(plan, models), unpack(theirs, size[1] // 16, size[0] // 16)) < 1e-3


def test_the_same_picture_as_diffusers(pipeline: Any, engine: Engine, plan_qwen: PlanMaker) -> None:
    """From the seed alone."""
    plan = plan_qwen()
    theirs = pipeline(
        plan.images[0].prompt, negative_prompt=plan.images[0].negative_prompt, true_cfg_scale=3.0, width=64, height=64,
        num_inference_steps=4, generator=torch.Generator().manual_seed(plan.images[0].seed),
    ).images[0]  # fmt: skip
    assert np.abs(picture_of(engine, plan) - np.asarray(theirs, np.int16)).max() <= 1


def test_batches_are_single_images(models: Models, plan_qwen: PlanMaker) -> None:
    """With texts of different length, one of which changes on the way."""
    plan = plan_qwen(count=2)
    texts = "a cat", "a [castle:dog:2], " * 20
    images = [image.replace(prompt=text) for image, text in zip(plan.images, texts, strict=True)]
    together = latents_of(plan.replace(images=tuple(images)), models)
    for image, latents in zip(images, together, strict=True):
        alone = latents_of(plan.replace(images=(image,), batch_size=1), models)
        assert difference(latents, alone[0]) < 1e-4


@pytest.mark.parametrize("steps", [1, 5, 50])
def test_the_same_noise_levels_as_diffusers(model: Resident, steps: int) -> None:
    """Stretched so that the last step begins at 0.02."""
    levels = qwen_image.noise_levels(model, (1024, 1024)).planned(steps)
    ours = find_sigmas("Euler", "Simple", steps, levels, family=Family.QWEN_IMAGE)
    if steps == 1:  # where diffusers divides by zero
        assert ours == [1.0, 0.0]
        return
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler.from_config(dict(SCHEDULER))
    scheduler.set_timesteps(sigmas=np.linspace(1.0, 1 / steps, steps), mu=0.5 + 0.4 * (4096 - 256) / (8192 - 256))
    assert ours == pytest.approx(scheduler.sigmas.tolist(), abs=1e-6)
    places = [levels.position(sigma) for sigma in ours[:-1]]
    assert [levels.sigma(place) for place in places] == pytest.approx(ours[:-1], abs=1e-6)
    assert 0 < levels.lowest < ours[-2]


def test_pictures_come_back_from_latents(pipeline: Any, model: Resident) -> None:
    """Shifted and scaled by the numbers of the VAE, which knows frames."""
    pixels = torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(1)) * 2 - 1
    with torch.inference_mode():
        own = pipeline.vae.encode(pixels[None, :, None]).latent_dist.mean[0, :, 0]
    mean, spread = (
        torch.tensor(pipeline.vae.config[name]).reshape(-1, 1, 1) for name in ("latents_mean", "latents_std")
    )
    assert difference(vae.encode_pixels(model, pixels), (own - mean) / spread) < 1e-5


def test_sides_of_an_odd_number_of_latents(models: Models, plan_qwen: PlanMaker) -> None:
    latents = latents_of(plan_qwen(width=72, height=88), models)
    assert latents.shape == (1, 16, 11, 9) and torch.isfinite(latents).all()


def test_previews(engine: Engine, plan_qwen: PlanMaker) -> None:
    plan = plan_qwen(preview=PreviewPlan(every=1))
    shown = [item.image for item in engine.run(plan, Control()) if isinstance(item, PreviewImage)]
    assert [image.size for image in shown] == [(64, 64)] * 3
