"""SD2's whole road, against diffusers' own pipeline: texts, noise and velocities, in both layouts."""

from __future__ import annotations

from pathlib import Path

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from tests.engine_parts import PlanMaker, difference, latents_of, load_pipeline, plans_of
from tests.tiny_models import SCHEDULER
from tests.tiny_sd2 import WIDTH, make_folder, make_single_file
from webui.domain.models import Family
from webui.domain.plan import RefinerPlan
from webui.domain.start import FromMaskedImage
from webui.engine.condition import Encoding
from webui.engine.control import Control
from webui.engine.engine import Engine, ImageReady
from webui.engine.families import sd1
from webui.engine.models import Models
from webui.engine.schedules import find_sigmas

# diffusers' schedulers turn tensors into numpy arrays in a way that numpy 2 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")
STEPS = 6


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("models") / "sd2")


@pytest.fixture(scope="module")
def plan_sd2(make_plan: PlanMaker, folder: Path) -> PlanMaker:
    """Return a function like `make_plan` for the tiny SD2."""
    return plans_of(make_plan, Family.SD2, path=folder)


def test_texts_are_encoded_as_by_diffusers(folder: Path, models: Models, plan_sd2: PlanMaker) -> None:
    with torch.inference_mode():
        states, _ = load_pipeline(diffusers.StableDiffusionPipeline, folder).encode_prompt(
            "a photo of a cat", "cpu", 1, False
        )
    condition = sd1.encode(models.get(plan_sd2().model).resident, "a photo of a cat", Encoding())
    assert condition.states.shape == (77, WIDTH)
    assert difference(condition.states, states[0]) < 1e-5


@pytest.mark.parametrize("prediction", ["v_prediction", "epsilon"])
def test_the_same_latents_as_diffusers(models: Models, plan_sd2: PlanMaker, tmp_path: Path, prediction: str) -> None:
    folder = make_folder(tmp_path / prediction, prediction=prediction)
    plan = plan_sd2(path=folder, schedule="Karras", guidance=6.0, steps=STEPS, width=96)
    pipeline, resident = load_pipeline(diffusers.StableDiffusionPipeline, folder), models.get(plan.model).resident
    pipeline.scheduler = diffusers.EulerDiscreteScheduler.from_config(
        SCHEDULER | {"prediction_type": prediction, "use_karras_sigmas": True, "timestep_spacing": "linspace",
                     "steps_offset": 0}
    )  # fmt: skip
    pipeline.scheduler.set_timesteps(STEPS)
    sigma = find_sigmas("Euler", "Karras", STEPS, sd1.noise_levels(resident))[0]
    noise = torch.randn((1, 4, 8, 12), generator=torch.Generator().manual_seed(plan.images[0].seed))
    theirs = pipeline(
        plan.images[0].prompt, negative_prompt=plan.images[0].negative_prompt, guidance_scale=6.0,
        num_inference_steps=STEPS, height=64, width=96, latents=noise * sigma / pipeline.scheduler.init_noise_sigma,
        output_type="latent",
    ).images  # fmt: skip
    assert difference(latents_of(plan, models), theirs) < 1e-3


def test_both_layouts_draw_the_same(models: Models, plan_sd2: PlanMaker, tmp_path: Path) -> None:
    """With clip skip, emphasis, joined prompts and one that changes on the way."""
    file = make_single_file(tmp_path / "sd2.safetensors", v_pred=torch.zeros(0))
    options = {"prompt": "a (cat:1.3)! [day:night:2] AND a castle", "clip_skip": 2}
    ours, theirs = (latents_of(plan, models) for plan in (plan_sd2(**options), plan_sd2(path=file, **options)))
    assert difference(ours, theirs) < 1e-4
    assert difference(ours, latents_of(plan_sd2(prompt=options["prompt"]), models)) > 1e-2


def test_a_model_of_the_same_latents_goes_on(
    models: Models, plan_sd2: PlanMaker, make_plan: PlanMaker, tiny_folder: Path
) -> None:
    """SD1's latents are SD2's: each model has its own text encoder and meaning of the network's output."""
    first, second = plan_sd2(steps=STEPS), make_plan(path=tiny_folder, steps=STEPS)
    both = latents_of(first.replace(refiner=RefinerPlan(model=second.model, switch_at=0.5)), models)
    assert difference(both, latents_of(first, models)) > 1e-2
    assert difference(both, latents_of(second, models)) > 1e-2


def test_what_is_not_masked_stays(engine: Engine, plan_sd2: PlanMaker, tmp_path: Path) -> None:
    path = make_folder(tmp_path / "nine", channels=9, prediction="epsilon")
    mask = Image.new("L", (64, 64))
    ImageDraw.Draw(mask).rectangle((16, 16, 32, 32), fill=255)
    picture = Image.fromarray(np.random.default_rng(3).integers(0, 256, (64, 64, 3), np.uint8))
    start = FromMaskedImage(images=("a" * 64,), mask="c" * 64, strength=1.0, mask_blur=0)
    happened = engine.run(plan_sd2(path=path, start=start), Control(), {"a" * 64: picture, "c" * 64: mask})
    [result] = [np.asarray(item.image, np.int16) for item in happened if isinstance(item, ImageReady)]
    outside = np.asarray(mask) == 0
    assert (result[outside] == np.asarray(picture, np.int16)[outside]).all()
    assert np.abs(result - np.asarray(picture, np.int16))[~outside].mean() > 5
