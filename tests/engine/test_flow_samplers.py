"""Samplers on flow matching, where the answer is known: clean latents are normally distributed."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from webui.domain.sampling import SAMPLERS
from webui.engine import samplers
from webui.engine.denoise import FlowLevels
from webui.engine.noise import NoiseSource
from webui.engine.samplers import Setup
from webui.weights.checkpoint import FlowSchedule

MEAN, SPREAD = 2.0, 0.5
LEVELS = FlowLevels(FlowSchedule(shift=3.0), tokens=256)
DETERMINISTIC = [info.name for info in SAMPLERS if info.solves_flow and not info.stochastic]


def denoise(latents: Tensor, sigma: float) -> Tensor:
    """Return what clean latents are to be expected: the posterior's mean."""
    kept = 1 - sigma
    share = kept * SPREAD**2 / (kept**2 * SPREAD**2 + sigma**2)
    return MEAN + share * (latents - kept * MEAN)


def solve(name: str, steps: int, start: Tensor, eta: float = 0.0, end: float = 0.0) -> Tensor:
    """Return what pure noise `start` becomes on the way down to the share `end` of the levels."""
    sigmas = [LEVELS.sigma(999 - index * 1000 * (1 - end) / steps) for index in range(steps + 1)]
    noise = NoiseSource([1], tuple(start.shape[1:]), lambda tensor: tensor)
    *_, last = samplers.find(name).sample(denoise, start, sigmas, noise, Setup(eta=eta, levels=LEVELS))
    return last.latents


def error(name: str, steps: int, end: float = 0.0) -> float:
    start = torch.randn(1, 1, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    sigma = LEVELS.sigma(999 - 1000 * (1 - end))
    exact = (1 - sigma) * MEAN + start * math.hypot((1 - sigma) * SPREAD, sigma)
    return float((solve(name, steps, start, end=end) - exact).abs().max())


@pytest.mark.parametrize("name", DETERMINISTIC)
def test_they_lead_to_the_solution(name: str) -> None:
    assert error(name, 160) < 0.03
    assert error(name, 160) < error(name, 40) < error(name, 10)


def test_their_order() -> None:
    """Twice the steps: half the error of Euler's method, a quarter or less of the others'. (The last step to level 0 is
    one of first order for those that think in logarithms of sigma.)"""
    ratios = {name: error(name, 40, end=0.1) / error(name, 80, end=0.1) for name in DETERMINISTIC}
    assert ratios.pop("Euler") == pytest.approx(2, abs=0.1)
    assert min(ratios.values()) > 3.5


@pytest.mark.parametrize("eta", [0.5, 1.0])
def test_fresh_noise_keeps_the_distribution(eta: float) -> None:
    start = torch.randn(1, 1, 200, 200, generator=torch.Generator().manual_seed(5))
    found = solve("Euler a", 200, start, eta)
    assert float(found.mean()) == pytest.approx(MEAN, abs=0.02)
    assert float(found.std()) == pytest.approx(SPREAD, abs=0.02)
    assert float(torch.corrcoef(torch.stack([found.flatten(), start.flatten()]))[0, 1]) < 0.9


def test_rising_noise_has_the_variance_of_its_level() -> None:
    clean = torch.full((1, 1, 200, 200), 3.0)
    first, second = (torch.randn(clean.shape, generator=torch.Generator().manual_seed(seed)) for seed in (1, 2))
    raised = LEVELS.raised(LEVELS.noised(clean, first, 0.3), 0.3, 0.7, second)
    assert float(raised.mean()) == pytest.approx(0.9, abs=0.02)
    assert float(raised.std()) == pytest.approx(0.7, abs=0.01)
