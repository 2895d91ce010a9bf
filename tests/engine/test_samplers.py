"""Samplers against an ordinary differential equation whose solution is known in closed form."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from webui.domain import sampling
from webui.engine.noise import NoiseSource
from webui.engine.samplers import SAMPLERS, Step
from webui.engine.samplers import find as find_sampler
from webui.errors import NotFound

SPREAD = 0.7
FROM, TO = 10.0, 0.05


def gaussian(latents: Tensor, sigma: float) -> Tensor:
    """The best denoiser for data that is normal with the standard deviation SPREAD."""
    return latents * (SPREAD**2 / (SPREAD**2 + sigma**2))


def exact(latents: Tensor, start: float, end: float) -> Tensor:
    """Where the probability flow takes such latents: their spread falls with the noise."""
    return latents * math.sqrt((SPREAD**2 + end**2) / (SPREAD**2 + start**2))


def geometric(steps: int, end: float = TO) -> list[float]:
    return [FROM * (end / FROM) ** (index / steps) for index in range(steps + 1)]


def still() -> NoiseSource:
    return NoiseSource([0], (1, 4, 4), lambda tensor: tensor.double())


def run(name: str, sigmas: list[float], latents: Tensor) -> list[Step]:
    return list(SAMPLERS[name].sample(gaussian, latents, sigmas, still()))


def error(name: str, steps: int) -> float:
    torch.manual_seed(0)
    start = torch.randn(1, 1, 4, 4, dtype=torch.float64) * FROM
    scale = 1 / math.sqrt(TO**2 + 1) if name == "DDIM" else 1.0
    result = run(name, geometric(steps), start)[-1].latents / scale
    return float((result - exact(start, FROM, TO)).abs().max())


@pytest.mark.parametrize(("name", "order"), [("Euler", 1), ("DDIM", 1), ("Heun", 2), ("DPM++ 2M", 2)])
def test_order_of_convergence(name: str, order: int) -> None:
    measured = math.log2(error(name, 80) / error(name, 160))
    assert abs(measured - order) < 0.15


def test_ancestral_noise_keeps_the_right_spread() -> None:
    """Down to sigma 0, whatever noise came in between, the samples must be distributed like the data."""
    noise = NoiseSource([3], (1, 100, 100), lambda tensor: tensor.double())
    start = noise.draw() * math.sqrt(SPREAD**2 + FROM**2)
    sigmas = [*geometric(200, 0.002), 0.0]
    *_, last = SAMPLERS["Euler a"].sample(gaussian, start, sigmas, noise)
    assert abs(float(last.latents.std()) / SPREAD - 1) < 0.03


@pytest.mark.parametrize("name", sorted(SAMPLERS))
def test_ends_on_the_prediction_at_sigma_0(name: str) -> None:
    steps = run(name, [FROM, 2.0, 0.5, 0.0], torch.ones(1, 1, 4, 4, dtype=torch.float64) * FROM)
    assert [step.index for step in steps] == [0, 1, 2]
    torch.testing.assert_close(steps[-1].latents, steps[-1].denoised)


@pytest.mark.parametrize("name", sorted(SAMPLERS))
def test_closing_stops_the_network_calls(name: str) -> None:
    calls = 0

    def counting(latents: Tensor, sigma: float) -> Tensor:
        nonlocal calls
        calls += 1
        return gaussian(latents, sigma)

    running = SAMPLERS[name].sample(counting, torch.ones(1, 1, 4, 4), [4.0, 3.0, 2.0, 1.0, 0.0], still())
    next(running)
    running.close()
    assert calls == sampling.find_sampler(name).calls_per_step


@pytest.mark.parametrize("info", sampling.SAMPLERS, ids=lambda info: info.name)
def test_costs_and_draws_what_the_list_promises(info: sampling.SamplerInfo) -> None:
    calls = draws = 0

    class Counting(NoiseSource):
        def draw(self) -> Tensor:
            nonlocal draws
            draws += 1
            return super().draw()

    def counting(latents: Tensor, sigma: float) -> Tensor:
        nonlocal calls
        calls += 1
        return gaussian(latents, sigma)

    noise = Counting([0], (1, 4, 4), lambda tensor: tensor)
    list(SAMPLERS[info.name].sample(counting, torch.ones(1, 1, 4, 4), [4.0, 3.0, 2.0, 1.0], noise))
    assert calls == 3 * info.calls_per_step
    assert (draws > 0) == info.stochastic


def test_every_listed_sampler_exists_and_no_other() -> None:
    assert set(SAMPLERS) == {info.name for info in sampling.SAMPLERS}
    with pytest.raises(NotFound):
        find_sampler("Lagrange")


def test_iterating_does_not_leak_inference_mode() -> None:
    running = SAMPLERS["Euler"].sample(gaussian, torch.ones(1, 1, 4, 4), [4.0, 3.0, 2.0], still())
    next(running)
    assert not torch.is_inference_mode_enabled()
    running.close()
