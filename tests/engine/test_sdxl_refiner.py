"""SDXL's refiner against diffusers' own pipeline: alone on a picture, and going on with what a base model began."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image

from tests import tiny_xl
from tests.engine_parts import PlanMaker, difference, latents_of, load_pipeline, plans_of
from tests.tiny_models import SCHEDULER
from tests.tiny_refiner import make_folder, make_single_file
from tests.tiny_xl import POOLED, WIDTHS
from webui.domain.models import Family
from webui.domain.plan import RefinerPlan
from webui.domain.start import FromImage
from webui.engine.condition import Encoding
from webui.engine.families import sdxl_refiner
from webui.engine.models import Models
from webui.engine.schedules import find_sigmas
from webui.images.canvas import Canvas

# diffusers' schedulers turn tensors into numpy arrays in a way that numpy 2 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")
STEPS = 6


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("models") / "refiner")


@pytest.fixture(scope="module")
def plan_refiner(make_plan: PlanMaker, folder: Path) -> PlanMaker:
    """Return a function like `make_plan` for the tiny refiner."""
    return plans_of(make_plan, Family.SDXL_REFINER, path=folder)


@pytest.fixture(scope="module")
def pipeline(folder: Path) -> Any:
    return load_pipeline(diffusers.StableDiffusionXLImg2ImgPipeline, folder)


def euler(**changes: Any) -> Any:
    return diffusers.EulerDiscreteScheduler.from_config(
        SCHEDULER | {"timestep_spacing": "linspace", "steps_offset": 0} | changes
    )


def test_prompts_ask_for_better_pictures_than_negative_prompts(models: Models, plan_refiner: PlanMaker) -> None:
    model = models.get(plan_refiner().model).resident
    wanted, unwanted = (
        sdxl_refiner.encode(model, "a cat", Encoding(), negative=negative) for negative in (False, True)
    )
    assert wanted.states.shape == (77, WIDTHS[1]) and wanted.pooled is not None and wanted.pooled.shape == (POOLED,)
    assert torch.equal(wanted.states, unwanted.states)
    assert (float(wanted.score), float(unwanted.score)) == (6.0, 2.5)  # type: ignore[arg-type]
    empty = sdxl_refiner.encode(model, "", Encoding(), negative=True)
    assert not empty.states.any() and empty.score is not None


@pytest.mark.parametrize("negative", ["", "dull, blurry"])
def test_the_same_latents_as_diffusers(pipeline: Any, models: Models, plan_refiner: PlanMaker, negative: str) -> None:
    """From a picture, which is noised to where the last steps begin."""
    picture = Image.fromarray(np.random.default_rng(3).integers(0, 256, (64, 96, 3), np.uint8))
    plan = plan_refiner(
        start=FromImage(images=("a" * 64,), strength=1.0), steps=STEPS, width=96, guidance=5.0, schedule="Karras",
        negative=negative,
    )  # fmt: skip
    noise = torch.randn((1, 4, 8, 12), generator=torch.Generator().manual_seed(plan.images[0].seed))
    pixels = torch.from_numpy(np.array(picture)).permute(2, 0, 1).unsqueeze(0) / 127.5 - 1
    with torch.inference_mode():
        clean = pipeline.vae.encode(pixels).latent_dist.mean * 0.13025
    pipeline.scheduler = euler(use_karras_sigmas=True)
    pipeline.scheduler.set_timesteps(STEPS)
    levels = sdxl_refiner.noise_levels(models.get(plan.model).resident)
    sigma = find_sigmas("Euler", "Karras", STEPS, levels)[0]
    theirs = pipeline(
        plan.images[0].prompt, negative_prompt=negative or None, image=clean + noise * sigma, denoising_start=1e-4,
        guidance_scale=5.0, num_inference_steps=STEPS, output_type="latent",
    ).images  # fmt: skip
    ours = latents_of(plan, models, [Canvas(picture=picture)])
    assert difference(ours, theirs) < 1e-3


def test_both_layouts_draw_the_same(models: Models, plan_refiner: PlanMaker, tmp_path: Path) -> None:
    file = make_single_file(tmp_path / "refiner.safetensors")
    options = {"prompt": "a (cat:1.3)! [day:night:2] AND a castle"}
    ours, theirs = (latents_of(plan, models) for plan in (plan_refiner(**options), plan_refiner(path=file, **options)))
    assert difference(ours, theirs) < 1e-4


def test_a_base_model_hands_over(
    models: Models, make_plan: PlanMaker, plan_refiner: PlanMaker, pipeline: Any, tmp_path: Path
) -> None:
    """diffusers runs the same as two pipelines: the base up to a noise level, the refiner from there."""
    path = tiny_xl.make_folder(tmp_path / "xl")
    first = make_plan(path=path, steps=STEPS, guidance=5.0)
    first = first.replace(model=first.model.replace(family=Family.SDXL))
    refiner = RefinerPlan(model=plan_refiner().model, switch_at=0.5)
    ours = latents_of(first.replace(refiner=refiner), models)
    base = diffusers.StableDiffusionXLPipeline.from_pretrained(path, dtype=torch.float32, local_files_only=True)
    for each in (base, pipeline):
        each.set_progress_bar_config(disable=True)
        each.scheduler = euler()
    image = first.images[0]
    noise = torch.randn((1, 4, 8, 8), generator=torch.Generator().manual_seed(image.seed))
    base.scheduler.set_timesteps(STEPS)
    prompts = {"negative_prompt": image.negative_prompt, "guidance_scale": 5.0, "num_inference_steps": STEPS}
    half = base(
        image.prompt, latents=noise * base.scheduler.sigmas[0] / base.scheduler.init_noise_sigma, height=64, width=64,
        denoising_end=0.5, output_type="latent", **prompts,
    ).images  # fmt: skip
    theirs = pipeline(image.prompt, image=half, denoising_start=0.5, output_type="latent", **prompts).images
    assert difference(ours, theirs) < 1e-3
    assert difference(latents_of(first, models), theirs) > 1e-2
