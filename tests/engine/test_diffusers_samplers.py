"""The same latents as diffusers' schedulers, on data whose denoiser is known."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import diffusers
import pytest
import torch
from torch import Tensor

from tests.tiny_models import SCHEDULER
from webui.engine.denoise import NoiseLevels
from webui.engine.noise import NoiseSource
from webui.engine.samplers import SAMPLERS, Setup
from webui.engine.schedules import find_sigmas
from webui.weights.checkpoint import NoiseSchedule

LEVELS = NoiseLevels(NoiseSchedule())
SHAPE = (4, 4, 4)
STEPS = 12
LINSPACE = {**SCHEDULER, "timestep_spacing": "linspace", "steps_offset": 0}
# diffusers' schedulers turn tensors into numpy arrays in a way that numpy 2 deprecates.
pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:__array_wrap__ must accept context:DeprecationWarning"),
]


def cloud() -> Tensor:
    return torch.randn(6, math.prod(SHAPE), generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def denoise(latents: Tensor, sigma: float) -> Tensor:
    """The best denoiser for six points, each blurred by 0.3."""
    flat, points = latents.reshape(len(latents), -1).double(), cloud()
    weights = torch.softmax(-((flat[:, None] - points) ** 2).sum(-1) / (2 * (sigma**2 + 0.09)), -1)
    mean = weights @ points
    return (mean + (flat - mean) * 0.09 / (0.09 + sigma**2)).reshape(latents.shape).to(latents.dtype)


def noises() -> NoiseSource:
    return NoiseSource([5], SHAPE, lambda tensor: tensor)


def ours(name: str, sigmas: list[float], eta: float = 0.0) -> Tensor:
    noise = noises()
    start = SAMPLERS[name].start(noise.begin(), sigmas[0])
    *_, last = SAMPLERS[name].sample(denoise, start, sigmas, noise, Setup(eta=eta, levels=LEVELS))
    return last.latents


def theirs(
    scheduler: Any, start: Tensor, sigmas: list[float], *, is_scaled: bool = True,
    noise: Callable[[int], dict[str, Any]] = lambda step: {},
) -> Tensor:  # fmt: skip
    """Run a scheduler whose latents are `clean + sigma · noise`, or with `is_scaled` the same at unit variance."""
    latents = start
    for step, timestep in enumerate(scheduler.timesteps):
        sigma = sigmas[step]
        whole = latents * math.sqrt(sigma**2 + 1) if is_scaled else latents
        if not is_scaled:
            scheduler.scale_model_input(latents, timestep)  # some refuse to step without
        predicted = (whole - denoise(whole, sigma)) / sigma
        latents = scheduler.step(predicted, timestep, latents, **noise(step)).prev_sample
    return latents


def assert_equal(one: Tensor, other: Tensor, tolerance: float = 1e-5) -> None:
    torch.testing.assert_close(one.double(), other.double(), atol=tolerance, rtol=0)


def generator() -> torch.Generator:
    """As ours after the first noise."""
    source = torch.Generator().manual_seed(5)
    torch.randn(SHAPE, generator=source)
    return source


def first(sigma: float) -> Tensor:
    return noises().begin() * sigma


@pytest.mark.parametrize("schedule", ["Uniform", "Karras"])
@pytest.mark.parametrize(("name", "kind"), [("Euler", "Euler")])
def test_one_call_a_step(name: str, kind: str, schedule: str) -> None:
    scheduler = getattr(diffusers, f"{kind}DiscreteScheduler").from_config(
        LINSPACE, use_karras_sigmas=schedule == "Karras"
    )
    scheduler.set_timesteps(STEPS)
    sigmas = scheduler.sigmas.double().tolist()
    assert_equal(ours(name, sigmas), theirs(scheduler, first(sigmas[0]), sigmas, is_scaled=False), 2e-4)


@pytest.mark.parametrize(("name", "kind"), [("Heun", "Heun"), ("DPM2", "KDPM2"), ("DPM2 a", "KDPM2Ancestral")])
def test_two_calls_a_step(name: str, kind: str) -> None:
    scheduler = getattr(diffusers, f"{kind}DiscreteScheduler").from_config(LINSPACE)
    scheduler.set_timesteps(STEPS)
    sigmas = find_sigmas("Euler", "Uniform", STEPS, LEVELS)
    source = generator()
    noise = (lambda step: {"generator": source}) if kind == "KDPM2Ancestral" else (lambda step: {})
    asked = iter(scheduler.timesteps)
    latents = first(sigmas[0])
    for timestep in asked:
        sigma = 1 / float(scheduler.scale_model_input(torch.ones(1).double(), timestep)) ** 2 - 1
        predicted = (latents - denoise(latents, math.sqrt(sigma))) / math.sqrt(sigma)
        latents = scheduler.step(predicted, timestep, latents, **noise(0)).prev_sample
    assert_equal(ours(name, sigmas, eta=1.0), latents, 2e-3)


def test_euler_ancestral() -> None:
    scheduler = diffusers.EulerAncestralDiscreteScheduler.from_config(LINSPACE)
    scheduler.set_timesteps(STEPS)
    sigmas = scheduler.sigmas.double().tolist()
    source = generator()
    result = theirs(scheduler, first(sigmas[0]), sigmas, is_scaled=False, noise=lambda step: {"generator": source})
    assert_equal(ours("Euler a", sigmas, eta=1.0), result, 2e-4)


@pytest.mark.parametrize(
    ("name", "kind", "options"),
    [
        ("DPM++ 2M", "DPMSolverMultistep", {"lower_order_final": False}),
        ("DPM++ 2M SDE", "DPMSolverMultistep", {"lower_order_final": False, "algorithm_type": "sde-dpmsolver++"}),
        (
            "DPM++ 2M SDE Heun",
            "DPMSolverMultistep",
            {"lower_order_final": False, "algorithm_type": "sde-dpmsolver++", "solver_type": "heun"},
        ),
        ("DEIS", "DEISMultistep", {"solver_order": 3, "lower_order_final": False}),
        ("UniPC", "UniPCMultistep", {"solver_order": 3, "solver_type": "bh1"}),
    ],
)
def test_multistep(name: str, kind: str, options: dict[str, object]) -> None:
    """The Brownian noise of the SDE solvers is handed to diffusers, which would draw independent noise."""
    scheduler = getattr(diffusers, f"{kind}Scheduler").from_config({**LINSPACE, "final_sigmas_type": "sigma_min"},
                                                                   **options)  # fmt: skip
    scheduler.set_timesteps(STEPS)
    sigmas = scheduler.sigmas.double().tolist()
    if sigmas[-1] >= sigmas[-2]:  # it repeats the lowest level, a step of length 0
        sigmas = sigmas[:-1]
        scheduler.timesteps = scheduler.timesteps[:-1]
    scale = math.sqrt(sigmas[0] ** 2 + 1)
    path = noises().follow(sigmas)

    def noise(step: int) -> dict[str, Any]:
        return {"variance_noise": path.between(sigmas[step], sigmas[step + 1])} if "SDE" in name else {}

    result = theirs(scheduler, first(sigmas[0]) / scale, sigmas, noise=noise) * math.sqrt(sigmas[-1] ** 2 + 1)
    mine = SAMPLERS[name]
    *_, last = mine.sample(denoise, first(sigmas[0]), sigmas, noises(), Setup(eta=1.0))
    unscaled = math.sqrt(sigmas[-1] ** 2 + 1) if mine.starts_at_unit_variance else 1
    assert_equal(last.latents * unscaled, result, 2e-4)


LEADING = {**SCHEDULER, "timestep_spacing": "leading", "steps_offset": 1, "clip_sample": False}


def leading(scheduler: Any) -> list[float]:
    scheduler.set_timesteps(10)
    return [*map(LEVELS.sigma, scheduler.timesteps.tolist()), LEVELS.sigma(0)]


@pytest.mark.parametrize("eta", [0.0, 0.7])
def test_ddim(eta: float) -> None:
    scheduler = diffusers.DDIMScheduler.from_config(LEADING)
    sigmas = leading(scheduler)
    source = generator()

    def noise(step: int) -> dict[str, Any]:
        return {"eta": eta, "variance_noise": torch.randn((1, *SHAPE), generator=source) if eta else None}

    assert_equal(ours("DDIM", sigmas, eta), theirs(scheduler, noises().begin(), sigmas, noise=noise), 2e-4)


def test_ddpm() -> None:
    """diffusers adds no noise in its last step, and calls a level below the lowest clean."""
    scheduler = diffusers.DDPMScheduler.from_config({**LEADING, "steps_offset": 0, "variance_type": "fixed_small"})
    scheduler.set_timesteps(10)
    sigmas = [*map(LEVELS.sigma, scheduler.timesteps.tolist()), 0.0]
    source = generator()
    result = theirs(scheduler, noises().begin(), sigmas, noise=lambda step: {"generator": source})
    assert_equal(ours("DDPM", sigmas, eta=1.0), result, 5e-3)


@pytest.mark.parametrize("eta", [0.0, 0.3, 1.0])
def test_tcd(eta: float) -> None:
    scheduler = diffusers.TCDScheduler.from_config(SCHEDULER)
    scheduler.set_timesteps(4)
    levels = [*map(LEVELS.sigma, scheduler.timesteps.tolist())]
    assert find_sigmas("TCD", "Automatic", 4, LEVELS) == pytest.approx([*levels, 0])
    source = generator()
    start = noises().begin() * levels[0] / math.sqrt(levels[0] ** 2 + 1)
    kept = theirs(scheduler, start, levels, noise=lambda step: {"eta": eta, "generator": source})
    end = LEVELS.sigma(0)  # where diffusers ends, at unit variance
    assert_equal(ours("TCD", [*levels, end], eta) / math.sqrt(end**2 + 1), kept, 5e-3)


def test_plms_goes_where_latent_diffusions_goes() -> None:
    """diffusers' PNDM takes the first step twice, as latent diffusion does, in a way that equals Heun's step."""
    scheduler = diffusers.PNDMScheduler.from_config({**LEADING, "skip_prk_steps": True})
    scheduler.set_timesteps(10)
    asked = scheduler.timesteps.tolist()
    assert asked[1] == asked[2]
    sigmas = [*map(LEVELS.sigma, asked)]
    mine = [sigmas[0], *sigmas[2:], LEVELS.sigma(0)]
    result = theirs(scheduler, noises().begin(), sigmas)
    assert_equal(ours("PLMS", mine), result, 2e-4)
