from __future__ import annotations

import pytest
import torch
from diffusers.schedulers.scheduling_euler_discrete import rescale_zero_terminal_snr
from torch import Tensor

from webui.engine.denoise import NoiseLevels, make_denoiser
from webui.weights.checkpoint import NoiseSchedule

LEVELS = NoiseLevels(NoiseSchedule())


@pytest.mark.parametrize("timestep", [0, 0.25, 1, 499.5, 998.75, 999])
def test_timestep_and_sigma_are_inverse(timestep: float) -> None:
    assert LEVELS.timestep(LEVELS.sigma(timestep)) == pytest.approx(timestep, abs=1e-6)


def test_levels_outside_the_trained_range_take_the_ends() -> None:
    assert LEVELS.timestep(1e-6) == 0
    assert LEVELS.timestep(1e6) == 999


@pytest.mark.parametrize("schedule", ["scaled_linear", "linear"])
def test_levels_are_those_of_the_betas(schedule: str) -> None:
    levels = NoiseLevels(NoiseSchedule(train_steps=10, beta_start=0.01, beta_end=0.3, beta_schedule=schedule))
    first = 0.01
    assert levels.lowest == pytest.approx((first / (1 - first)) ** 0.5)
    middle = (
        torch.linspace(0.1, 0.3**0.5, 10)[1] ** 2 if schedule == "scaled_linear" else torch.linspace(0.01, 0.3, 10)[1]
    )
    kept = (1 - first) * (1 - float(middle))
    assert levels.sigma(1) == pytest.approx(((1 - kept) / kept) ** 0.5, rel=1e-6)


def test_levels_that_end_in_noise_are_those_of_diffusers() -> None:
    levels = NoiseLevels(NoiseSchedule(zero_terminal=True))
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    kept = torch.cumprod(1 - rescale_zero_terminal_snr(betas), 0)
    for timestep in (0, 1, 500, 990, 998):
        expected = float(((1 - kept[timestep]) / kept[timestep]) ** 0.5)
        assert levels.sigma(timestep) == pytest.approx(expected, rel=1e-6)
    assert levels.lowest == pytest.approx(LEVELS.lowest)
    assert levels.highest == pytest.approx(4518.76, rel=1e-4)
    assert LEVELS.highest == pytest.approx(14.61, rel=1e-3)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("sigma", [0.03, 1.0, 14.6])
def test_a_perfect_network_gives_back_the_clean_latents(prediction: str, sigma: float) -> None:
    torch.manual_seed(0)
    clean, noise = torch.randn(2, 2, 4, 8, 8, dtype=torch.float64).unbind()
    kept = 1 / (sigma**2 + 1)

    def predict(latents: Tensor, timestep: Tensor, context: Tensor) -> Tensor:
        torch.testing.assert_close(latents, kept**0.5 * clean + (1 - kept) ** 0.5 * noise)
        if prediction == "epsilon":
            return noise
        return kept**0.5 * noise - (1 - kept) ** 0.5 * clean

    levels = NoiseLevels(NoiseSchedule(prediction=prediction))
    denoise = make_denoiser(predict, levels, [sigma, 0.0], torch.device("cpu"))
    torch.testing.assert_close(denoise(clean + sigma * noise, sigma, torch.zeros(())), clean)


def test_the_network_is_told_the_fractional_timestep() -> None:
    asked: list[float] = []

    def predict(latents: Tensor, timestep: Tensor, context: Tensor) -> Tensor:
        asked.append(float(timestep))
        return latents

    denoise = make_denoiser(predict, LEVELS, [2.0, 0.0], torch.device("cpu"))
    for sigma in (2.0, 1.0):  # the second was not announced
        denoise(torch.zeros(1, 4, 2, 2), sigma, torch.zeros(()))
    assert asked == [pytest.approx(LEVELS.timestep(2.0), rel=1e-6), pytest.approx(LEVELS.timestep(1.0), rel=1e-6)]
