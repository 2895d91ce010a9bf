"""SDXL on continuous noise levels, CosXL and Playground, against diffusers' own pipeline and schedulers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from tests.engine_parts import difference, latents_of, load_pipeline
from tests.tiny_models import taesd_weights
from tests.tiny_xl import make_folder, original_weights
from webui.domain.models import Family
from webui.domain.plan import Plan
from webui.engine import coders, families
from webui.engine.control import Control
from webui.engine.denoise import EdmLevels
from webui.engine.engine import Engine, ImageReady
from webui.engine.models import Models
from webui.engine.schedules import find_sigmas
from webui.engine.vae import encode
from webui.weights.checkpoint import EdmSchedule
from webui.weights.families.playground import DEVIATIONS, MEANS
from webui.weights.loading.load import load_taesd
from webui.weights.recognition.vae_files import find_taesd, identify_taesd

PlanMaker = Callable[..., Plan]
STEPS = 6
COSXL: Mapping[str, Any] = {
    "_class_name": "EDMEulerScheduler", "sigma_min": 0.002, "sigma_max": 120.0, "sigma_data": 1.0,
    "sigma_schedule": "exponential", "prediction_type": "v_prediction",
}  # fmt: skip
PLAYGROUND: Mapping[str, Any] = {
    "_class_name": "EDMDPMSolverMultistepScheduler", "sigma_min": 0.002, "sigma_max": 80.0, "sigma_data": 0.5,
    "prediction_type": "epsilon", "rho": 7.0,
}  # fmt: skip
VAE = {"latents_mean": list(MEANS), "latents_std": list(DEVIATIONS), "scaling_factor": 0.5}
CASES = {"cosxl": (Family.SDXL, COSXL, "Exponential"), "playground": (Family.PLAYGROUND, PLAYGROUND, "Karras")}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    root = tmp_path_factory.mktemp("models")
    return {
        "cosxl": make_folder(root / "cosxl", scheduler=COSXL),
        "playground": make_folder(root / "playground", scheduler=PLAYGROUND, vae_changes=VAE),
    }


@pytest.fixture(scope="module")
def plan_edm(make_plan: PlanMaker, folders: Mapping[str, Path]) -> PlanMaker:
    """Return a function like `make_plan` for the tiny models by name."""

    def make(name: str, *, path: Path | None = None, **changes: Any) -> Plan:
        family, _, schedule = CASES[name]
        plan = make_plan(path=path or folders[name], steps=STEPS, schedule=schedule, **changes)
        return plan.replace(model=plan.model.replace(family=family))

    return make


def load_edm_pipeline(folder: Path) -> Any:
    loaded = load_pipeline(diffusers.StableDiffusionXLPipeline, folder)
    loaded.scheduler = diffusers.EDMEulerScheduler.from_config(loaded.scheduler.config)
    return loaded


def draw_theirs(pipeline: Any, plan: Plan, models: Models, output_type: str) -> Any:
    resident = models.get(plan.model).resident
    levels = families.find(plan.model.family).noise_levels(resident, (plan.width, plan.height))
    sigma = find_sigmas(plan.sampler, plan.schedule, STEPS, levels)[0]
    noise = torch.randn(1, 4, plan.height // 8, plan.width // 8, generator=torch.Generator().manual_seed(7))
    return pipeline(
        plan.images[0].prompt, negative_prompt=plan.images[0].negative_prompt, guidance_scale=plan.guidance,
        num_inference_steps=STEPS, height=plan.height, width=plan.width, output_type=output_type,
        latents=noise * sigma / pipeline.scheduler.init_noise_sigma,
    ).images  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_the_same_latents_as_diffusers(
    models: Models, plan_edm: PlanMaker, folders: Mapping[str, Path], name: str
) -> None:
    plan = plan_edm(name, width=96, guidance=3.0)
    theirs = draw_theirs(load_edm_pipeline(folders[name]), plan, models, "latent")
    assert difference(latents_of(plan, models), theirs) < 1e-3


def test_the_same_picture_as_diffusers(
    engine: Engine, models: Models, plan_edm: PlanMaker, folders: Mapping[str, Path]
) -> None:
    """Decoded with each channel's own mean and spread."""
    plan = plan_edm("playground")
    [theirs] = draw_theirs(load_edm_pipeline(folders["playground"]), plan, models, "np")
    [ours] = [np.asarray(item.image) for item in engine.run(plan, Control()) if isinstance(item, ImageReady)]
    assert np.abs(ours - (theirs * 255)).max() <= 1.1


def test_pictures_become_latents_as_with_diffusers(
    models: Models, plan_edm: PlanMaker, folders: Mapping[str, Path]
) -> None:
    picture = Image.fromarray(np.random.default_rng(3).integers(0, 256, (64, 64, 3), np.uint8))
    pixels = torch.from_numpy(np.array(picture)).permute(2, 0, 1).unsqueeze(0) / 127.5 - 1
    means, deviations = (torch.tensor(numbers).reshape(1, 4, 1, 1) for numbers in (MEANS, DEVIATIONS))
    with torch.inference_mode():
        own = load_edm_pipeline(folders["playground"]).vae.encode(pixels).latent_dist.mean
    ours = encode(models.get(plan_edm("playground").model).resident, picture)
    assert torch.allclose(ours, ((own - means) * 0.5 / deviations)[0], atol=1e-5)


def test_the_taesd_of_sdxl_serves_playground(tmp_path: Path) -> None:
    """Latents of a picture are the same in both, but for how they are scaled."""
    save_file(taesd_weights("decoder"), tmp_path / "taesdxl_decoder.safetensors")
    assert find_taesd([tmp_path], "decoder", Family.PLAYGROUND) == tmp_path / "taesdxl_decoder.safetensors"
    file = identify_taesd(tmp_path / "taesdxl_decoder.safetensors", "decoder")
    of_xl, of_playground = (
        load_taesd(file, torch.float32, families.find_taesd_scaling(family))
        for family in (Family.SDXL, Family.PLAYGROUND)
    )
    own = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1)) * 5
    means, deviations = (torch.tensor(numbers).reshape(1, 4, 1, 1) for numbers in (MEANS, DEVIATIONS))
    latents = (own - means) * 0.5 / deviations
    expected = coders.denormalised(of_xl, own * 0.13025)
    assert torch.allclose(coders.denormalised(of_playground, latents), expected, atol=1e-5)
    assert torch.allclose(coders.normalised(of_playground, expected), latents, atol=1e-5)


@pytest.mark.parametrize("name", CASES)
def test_both_layouts_draw_the_same(models: Models, plan_edm: PlanMaker, tmp_path: Path, name: str) -> None:
    marks = {
        "cosxl": {"edm_vpred.sigma_max": torch.tensor(120.0), "edm_vpred.sigma_min": torch.tensor(0.002)},
        "playground": {"edm_mean": torch.zeros(1, 4, 1, 1), "edm_std": torch.ones(1, 4, 1, 1)},
    }
    save_file(original_weights() | marks[name], tmp_path / f"{name}.safetensors")
    prompt = "a (cat:1.3)! [day:night:2] AND a castle"
    plans = plan_edm(name, prompt=prompt), plan_edm(name, prompt=prompt, path=tmp_path / f"{name}.safetensors")
    ours, theirs = (latents_of(plan, models) for plan in plans)
    assert difference(ours, theirs) < 1e-3


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_levels_are_those_of_the_paper(prediction: str) -> None:
    levels = EdmLevels(EdmSchedule(0.002, 80.0, 0.5, prediction))
    scheduler = diffusers.EDMEulerScheduler(sigma_data=0.5, prediction_type=prediction)
    latents, output = torch.randn(2, 1, 4, 4, 4, generator=torch.Generator().manual_seed(1))
    for sigma in (0.01, 1.0, 60.0):
        exact = torch.tensor(sigma, dtype=torch.float64)
        theirs = scheduler.precondition_outputs(latents, output, exact)
        assert torch.allclose(levels.clean(latents, output, sigma), theirs.float(), atol=1e-5)
        assert torch.allclose(latents * levels.scale(sigma), scheduler.precondition_inputs(latents, exact).float())
        assert levels.timestep(sigma) == pytest.approx(float(scheduler.precondition_noise(exact)))
        assert levels.sigma(levels.position(sigma)) == pytest.approx(sigma)
    assert (levels.lowest, levels.highest) == (pytest.approx(0.002), pytest.approx(80.0))
