"""UNets that are told their guidance (LCM), of SD1 and SDXL, against diffusers' own pipelines."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch

from tests import tiny_models, tiny_xl
from tests.engine_parts import difference, latents_of
from tests.tiny_models import INDEX, SCHEDULER, write_json
from webui.domain.models import Family
from webui.domain.plan import Plan, RefinerPlan
from webui.engine import families
from webui.engine.models import Models
from webui.engine.schedules import find_sigmas

PlanMaker = Callable[..., Plan]
# diffusers' schedulers turn tensors into numpy arrays in a way that numpy 2 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")
WIDTH = {"time_cond_proj_dim": 16}


@pytest.fixture(scope="module")
def sd1(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tiny_models.make_folder(tmp_path_factory.mktemp("models") / "lcm", unet_changes=WIDTH)
    write_json(folder / "model_index.json", INDEX | {"_class_name": "LatentConsistencyModelPipeline"})
    write_json(folder / "scheduler" / "scheduler_config.json", SCHEDULER | {"_class_name": "LCMScheduler"})
    return folder


@pytest.mark.parametrize("guidance", [1.0, 8.5])
def test_the_same_latents_as_diffusers(models: Models, make_plan: PlanMaker, sd1: Path, guidance: float) -> None:
    """With the noise that is added after each step; eight of them fall on levels that were distilled."""
    plan = make_plan(path=sd1, sampler="LCM", steps=8, guidance=1.0, distilled_guidance=guidance, width=96)
    levels = families.find(Family.SD1).noise_levels(models.get(plan.model).resident, (96, 64)).distilled()
    sigmas = find_sigmas("LCM", "Automatic", 8, levels)
    pipeline = diffusers.LatentConsistencyModelPipeline.from_pretrained(sd1, dtype=torch.float32, local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.scheduler = diffusers.LCMScheduler.from_config(pipeline.scheduler.config)
    generator = torch.Generator().manual_seed(plan.images[0].seed)
    noise = torch.randn((1, 4, 8, 12), generator=generator)
    theirs = pipeline(
        plan.images[0].prompt, height=64, width=96, guidance_scale=guidance, generator=generator,
        timesteps=[round(levels.timestep(sigma)) for sigma in sigmas[:-1]],
        latents=noise * sigmas[0] / math.sqrt(sigmas[0] ** 2 + 1), output_type="latent",
    ).images  # fmt: skip
    assert difference(latents_of(plan, models), theirs) < 1e-3


def test_sdxl_tells_it_as_well(models: Models, make_plan: PlanMaker, tmp_path: Path) -> None:
    folder = tiny_xl.make_folder(tmp_path / "xl", unet_changes=WIDTH)
    plan = make_plan(path=folder, steps=6, guidance=1.0, distilled_guidance=6.0)
    plan = plan.replace(model=plan.model.replace(family=Family.SDXL))
    pipeline: Any = diffusers.StableDiffusionXLPipeline.from_pretrained(
        folder, dtype=torch.float32, local_files_only=True
    )
    pipeline.set_progress_bar_config(disable=True)
    pipeline.scheduler = diffusers.EulerDiscreteScheduler.from_config(
        SCHEDULER | {"timestep_spacing": "linspace", "steps_offset": 0}
    )
    pipeline.scheduler.set_timesteps(6)
    noise = torch.randn((1, 4, 8, 8), generator=torch.Generator().manual_seed(plan.images[0].seed))
    theirs = pipeline(
        plan.images[0].prompt, height=64, width=64, guidance_scale=6.0, num_inference_steps=6, output_type="latent",
        latents=noise * pipeline.scheduler.sigmas[0] / pipeline.scheduler.init_noise_sigma,
    ).images  # fmt: skip
    assert difference(latents_of(plan, models), theirs) < 1e-3
    assert difference(latents_of(plan.replace(distilled_guidance=2.0), models), theirs) > 1e-3


def test_as_a_second_model_it_is_told_the_usual(models: Models, make_plan: PlanMaker, sd1: Path) -> None:
    first = make_plan(count=2, steps=6)
    refiner = RefinerPlan(model=make_plan(path=sd1).model, switch_at=0.5)
    told, usual, other = (
        latents_of(first.replace(refiner=refiner, distilled_guidance=guidance), models) for guidance in (8.5, None, 2.0)
    )
    assert torch.equal(told, usual)
    assert difference(other, usual) > 1e-4
