"""The same latents as diffusers' own pipeline, for the same weights, prompt, noise and scheduler."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from torch import Tensor

from tests.engine_parts import difference, latents_of
from tests.tiny_models import SCHEDULER
from webui.domain.plan import Plan
from webui.engine import samplers, sampling
from webui.engine.condition import Encoding
from webui.engine.conditioning import Prompts
from webui.engine.denoise import NoiseLevels, make_denoiser
from webui.engine.families import sd1
from webui.engine.guidance import guide
from webui.engine.models import Models
from webui.engine.noise import NoiseSource
from webui.engine.schedules import find_sigmas
from webui.weights.memory import Resident

PlanMaker = Callable[..., Plan]
# diffusers' schedulers turn tensors into numpy arrays in a way that numpy 2 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")
STEPS = 6


@pytest.fixture(scope="module")
def pipeline(tiny_folder: Path) -> Any:
    loaded = diffusers.StableDiffusionPipeline.from_pretrained(tiny_folder, dtype=torch.float32, local_files_only=True)
    loaded.set_progress_bar_config(disable=True)
    return loaded


def run_theirs(pipeline: Any, plan: Plan, scheduler: Any, start: Tensor) -> Tensor:
    """Run the pipeline so that its latents begin at exactly `start`, whatever its scheduler multiplies noise by."""
    pipeline.scheduler = scheduler
    scheduler.set_timesteps(plan.steps)
    image = plan.images[0]
    return pipeline(
        image.prompt,
        negative_prompt=image.negative_prompt,
        guidance_scale=plan.guidance,
        num_inference_steps=plan.steps,
        height=plan.height,
        width=plan.width,
        latents=start / scheduler.init_noise_sigma,
        output_type="latent",
    ).images


def first_noise(plan: Plan) -> Tensor:
    return torch.randn((1, 4, 8, 8), generator=torch.Generator().manual_seed(plan.images[0].seed))


@pytest.mark.parametrize("guidance", [1.0, 7.5])
@pytest.mark.parametrize("schedule", ["Uniform", "Karras"])
@pytest.mark.parametrize("name", ["Euler", "Heun"])
def test_sigma_samplers(
    pipeline: Any, models: Models, make_plan: PlanMaker, name: str, schedule: str, guidance: float
) -> None:
    plan = make_plan(sampler=name, schedule=schedule, guidance=guidance, steps=STEPS)
    kind = {"Euler": diffusers.EulerDiscreteScheduler, "Heun": diffusers.HeunDiscreteScheduler}[name]
    scheduler = kind.from_config(
        dict(SCHEDULER), use_karras_sigmas=schedule == "Karras", timestep_spacing="linspace", steps_offset=0
    )
    sigma = find_sigmas(name, schedule, STEPS, sd1.noise_levels(models.get(plan.model).resident))[0]
    theirs = run_theirs(pipeline, plan, scheduler, first_noise(plan) * sigma)
    assert difference(latents_of(plan, models), theirs) < 1e-4


def test_ddim(pipeline: Any, models: Models, make_plan: PlanMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    """diffusers takes one step more than latent diffusion's DDIM: from timestep 1 to 0."""
    plan = make_plan(sampler="DDIM", guidance=7.5, steps=STEPS)
    scheduler = diffusers.DDIMScheduler.from_config(dict(SCHEDULER), timestep_spacing="leading")
    assert scheduler.config.steps_offset == 1
    theirs = run_theirs(pipeline, plan, scheduler, first_noise(plan))
    levels = sd1.noise_levels(models.get(plan.model).resident)
    sigmas = [*find_sigmas("DDIM", "Automatic", STEPS, levels)[-STEPS:], levels.sigma(0)]
    monkeypatch.setattr(sampling, "find_sigmas", lambda *_: sigmas)
    assert difference(latents_of(plan, models), theirs) < 1e-4


class RoundedLevels(NoiseLevels):
    """diffusers' DPM-Solver asks the network at whole timesteps only; ours, like k-diffusion, asks in between."""

    def timestep(self, sigma: float) -> float:
        return float(round(super().timestep(sigma)))


@pytest.mark.parametrize("karras", [False, True])
def test_dpmpp_2m(pipeline: Any, tiny: Resident, make_plan: PlanMaker, karras: bool) -> None:
    plan = make_plan(sampler="DPM++ 2M", guidance=7.5, steps=STEPS)
    scheduler = diffusers.DPMSolverMultistepScheduler.from_config(
        dict(SCHEDULER), use_karras_sigmas=karras, timestep_spacing="linspace", steps_offset=0,
        final_sigmas_type="zero", euler_at_final=True,
    )  # fmt: skip
    scheduler.set_timesteps(STEPS)
    sigmas = scheduler.sigmas.double().tolist()
    levels = RoundedLevels(tiny.checkpoint.noise)
    image = plan.images[0]
    noise = NoiseSource([image.seed], (4, 8, 8), tiny.place)
    start = first_noise(plan) * sigmas[0]
    with tiny.on_device("unet") as unet:
        denoise = make_denoiser(sd1.make_predict(tiny, unet), levels, sigmas, tiny.placement.device)
        prompts = Prompts(tiny)
        positive = prompts.positive(image.prompt, STEPS, Encoding())
        guided = guide(denoise, [positive], [prompts.negative(image.negative_prompt, STEPS, Encoding())], 7.5)
        *_, last = samplers.SAMPLERS["DPM++ 2M"].sample(guided, start, sigmas, noise, samplers.Setup())
    # Its latents are scaled to unit variance, ours are clean + sigma · noise.
    theirs = run_theirs(pipeline, plan, scheduler, start / (sigmas[0] ** 2 + 1) ** 0.5)
    assert difference(last.latents, theirs) < 1e-4


def test_negative_prompt_and_prompt_matter(models: Models, make_plan: PlanMaker) -> None:
    plan = make_plan()
    reference = latents_of(plan, models)
    assert difference(latents_of(make_plan(prompt="a castle at night"), models), reference) > 1e-2
    assert difference(latents_of(make_plan(negative="a castle at night"), models), reference) > 1e-2
