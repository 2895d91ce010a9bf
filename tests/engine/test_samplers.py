"""Samplers against an ordinary differential equation whose solution is known in closed form."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from webui.domain import sampling
from webui.engine.denoise import NoiseLevels
from webui.engine.noise import NoiseSource
from webui.engine.samplers import SAMPLERS, Setup, Step
from webui.engine.samplers import find as find_sampler
from webui.engine.samplers.euler import restart_segments
from webui.engine.schedules import find_sigmas
from webui.errors import NotFound
from webui.weights.checkpoint import NoiseSchedule

SPREAD = 0.7
FROM, TO = 10.0, 0.05
NAMES = sorted(SAMPLERS)
DIVIDE_THEMSELVES = ("DPM fast", "DPM adaptive")  # they end at the last level above 0
STILL = Setup(eta=0.0)


def gaussian(latents: Tensor, sigma: float) -> Tensor:
    """The best denoiser for data that is normal with the standard deviation SPREAD."""
    return latents * (SPREAD**2 / (SPREAD**2 + sigma**2))


def exact(latents: Tensor, start: float, end: float) -> Tensor:
    """Where the probability flow takes such latents: their spread falls with the noise."""
    return latents * math.sqrt((SPREAD**2 + end**2) / (SPREAD**2 + start**2))


def geometric(steps: int, end: float = TO) -> list[float]:
    return [FROM * (end / FROM) ** (index / steps) for index in range(steps + 1)]


def source(size: int = 4) -> NoiseSource:
    return NoiseSource([0], (1, size, size), lambda tensor: tensor.double())


def setup(name: str) -> Setup:
    """What a plan says when nothing is set."""
    return Setup(eta=sampling.find_sampler(name).default_eta or 0.0)


def run(name: str, sigmas: list[float], latents: Tensor, options: Setup | None = None) -> list[Step]:
    return list(SAMPLERS[name].sample(gaussian, latents, sigmas, source(), options or setup(name)))


def error(name: str, steps: int) -> float:
    torch.manual_seed(0)
    start = torch.randn(1, 1, 4, 4, dtype=torch.float64) * FROM
    scale = 1 / math.sqrt(TO**2 + 1) if SAMPLERS[name].starts_at_unit_variance else 1.0
    result = run(name, geometric(steps), start, STILL)[-1].latents / scale
    return float((result - exact(start, FROM, TO)).abs().max())


ORDERS = {
    "Euler": 1, "Euler a": 1, "DDIM": 1, "DDIM CFG++": 1, "TCD": 1, "Heun": 2, "Restart": 2, "DPM2": 2, "DPM2 a": 2,
    "DPM++ 2S a": 2, "DPM++ SDE": 2, "DPM++ 2M": 2, "DPM++ 2M SDE": 2, "DPM++ 2M SDE Heun": 2, "DPM fast": 2,
    # From here on: the first steps are of lower order and leave an error of order 2. See the next test.
    "DPM++ 3M SDE": 2, "LMS": 2, "PLMS": 2, "IPNDM": 2, "DEIS": 2, "UniPC": 2,
}  # fmt: skip
NO_ORDER = ("LCM", "DDPM", "ER-SDE", "DPM adaptive")  # always with noise, or with steps of their own


@pytest.mark.parametrize("name", NAMES)
def test_order_of_convergence(name: str) -> None:
    if name in NO_ORDER:
        assert name not in ORDERS
        return
    measured = math.log2(error(name, 360) / error(name, 720))
    assert abs(measured - ORDERS[name]) < 0.3


Curve = Callable[[float], float]


def moved(name: str, slope: Curve, sigmas: list[float], since: int) -> float:
    """Return how far a sampler goes from step `since` to the last but three, where the slope depends on sigma alone."""

    def denoise(latents: Tensor, sigma: float) -> Tensor:
        return latents - sigma * slope(sigma)

    steps = list(SAMPLERS[name].sample(denoise, torch.zeros(1, 1, 4, 4).double(), sigmas, source(), STILL))
    return float((steps[-4].latents - steps[since].latents).mean())


def integral(slope: Curve, start: float, end: float) -> float:
    points = [start + (end - start) * index / 2000 for index in range(2001)]
    return sum((b - a) * (slope(a) + 4 * slope((a + b) / 2) + slope(b)) / 6 for a, b in pairwise(points))


@pytest.mark.parametrize(
    ("name", "degree", "variable", "grid"),
    [
        ("LMS", 3, lambda sigma: sigma, "geometric"),
        ("DEIS", 2, math.log, "geometric"),
        ("IPNDM", 3, lambda sigma: sigma, "even"),
        ("PLMS", 3, lambda sigma: sigma, "even"),
    ],
)
def test_slopes_that_are_polynomials_are_integrated_exactly(name: str, degree: int, variable: Curve, grid: str) -> None:
    """Once enough slopes are known, a method of order k is exact for degree k - 1, and not for degree k."""
    sigmas = geometric(12, 1.0) if grid == "geometric" else [10 - 0.7 * index for index in range(13)]

    def miss(power: int) -> float:
        def slope(sigma: float) -> float:
            return (variable(sigma) - 1) ** power

        whole = integral(slope, sigmas[5], sigmas[-4])
        return abs(moved(name, slope, sigmas, 4) - whole) / (abs(whole) + 1)

    assert miss(degree) < 1e-9
    assert miss(degree + 1) > 1e-6


@pytest.mark.parametrize(("name", "degree"), [("DPM++ 2M SDE Heun", 1), ("DPM++ 3M SDE", 1), ("UniPC", 2)])
def test_predictions_that_are_polynomials_are_integrated_exactly(name: str, degree: int) -> None:
    """The same for methods in log sigma: the clean latents are a polynomial of it."""
    sigmas = geometric(12, 1.0)

    def miss(power: int) -> float:
        def clean(sigma: float) -> float:
            return (math.log(sigma) - 1) ** power

        def denoise(latents: Tensor, sigma: float) -> Tensor:
            return torch.full_like(latents, clean(sigma))

        steps = list(SAMPLERS[name].sample(denoise, torch.zeros(1, 1, 4, 4).double(), sigmas, source(), STILL))
        start, end = sigmas[5], sigmas[-4]
        # x / sigma falls by the integral of clean / sigma² over sigma.
        whole = end * (float(steps[4].latents.mean()) / start - integral(lambda at: clean(at) / at**2, start, end))
        return abs(float(steps[-4].latents.mean()) - whole)

    assert miss(degree) < 1e-9
    assert miss(degree + 2) > 1e-6


@pytest.mark.parametrize("name", [info.name for info in sampling.SAMPLERS if info.stochastic])
def test_noise_keeps_the_right_spread(name: str) -> None:
    """Down to sigma 0, whatever noise came in between, the samples must be distributed like the data."""
    noise = source(100)
    start = noise.begin() * math.sqrt(SPREAD**2 + FROM**2)
    end = [] if name in DIVIDE_THEMSELVES else [0.0]
    consistency = name in ("LCM", "TCD")  # they take long leaps, for which a network must be trained; see the next test
    sigmas = [*geometric(200, 0.002), *end]
    *_, last = SAMPLERS[name].sample(gaussian, start, sigmas, noise, setup(name))
    spread = float(last.latents.std())
    if consistency:
        assert spread < SPREAD
    else:
        assert abs(spread / SPREAD - 1) < 0.04


def test_consistency_sampling_forgets_what_was() -> None:
    """With the flow's own end as the prediction, LCM and TCD draw from the data at any number of steps."""

    def consistent(latents: Tensor, sigma: float) -> Tensor:
        return exact(latents, sigma, 0)

    for name in ("LCM", "TCD"):
        noise = source(100)
        start = noise.begin() * math.sqrt(SPREAD**2 + FROM**2)
        *_, last = SAMPLERS[name].sample(consistent, start, [FROM, 3.0, 1.0, 0.0], noise, Setup(eta=1.0))
        assert abs(float(last.latents.std()) / SPREAD - 1) < 0.03


@pytest.mark.parametrize("name", ["Euler", "Heun", "DPM2"])
def test_churn_keeps_the_right_spread_and_its_limits(name: str) -> None:
    noise = source(100)
    start = noise.begin() * math.sqrt(SPREAD**2 + FROM**2)
    churn = Setup(eta=0, churn=10, tmin=0.05, tmax=5)
    *_, last = SAMPLERS[name].sample(gaussian, start, [*geometric(400, 0.002), 0.0], noise, churn)
    assert abs(float(last.latents.std()) / SPREAD - 1) < 0.04
    latents = torch.ones(1, 1, 4, 4).double()
    plain = run(name, geometric(5), latents, STILL)[-1].latents
    assert torch.equal(run(name, geometric(5), latents, Setup(eta=0, churn=9, tmin=20))[-1].latents, plain)
    assert not torch.allclose(run(name, geometric(5), latents, Setup(eta=0, churn=9))[-1].latents, plain)


@pytest.mark.parametrize("name", [info.name for info in sampling.SAMPLERS if info.stochastic])
def test_noise_factor_0_leaves_the_noise_out(name: str) -> None:
    latents = torch.zeros(1, 1, 4, 4).double()  # where nothing but noise moves anything
    sigmas = [*geometric(24, 0.03), 0.0]
    assert float(run(name, sigmas, latents, Setup(eta=1.0, noise=0.0))[-1].latents.abs().max()) == 0
    assert float(run(name, sigmas, latents, Setup(eta=1.0))[-1].latents.abs().max()) > 1e-3


@pytest.mark.parametrize("name", [info.name for info in sampling.SAMPLERS if info.default_eta is not None])
def test_eta_changes_the_result(name: str) -> None:
    latents = torch.ones(1, 1, 4, 4).double() * FROM
    results = [run(name, geometric(6), latents, Setup(eta=eta))[-1].latents for eta in (0.0, 0.5, 1.0)]
    assert not torch.allclose(results[0], results[1])
    assert not torch.allclose(results[1], results[2])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("steps", [1, 2, 3, 40])
def test_ends_on_the_prediction_at_sigma_0(name: str, steps: int) -> None:
    sigmas = [*geometric(steps)[:-1], 0.0]
    done = run(name, sigmas, torch.ones(1, 1, 4, 4, dtype=torch.float64) * FROM)
    if name != "DPM adaptive":
        assert done[-1].index == steps - 1
    assert bool(done[-1].latents.isfinite().all())
    if name not in (*DIVIDE_THEMSELVES, "PLMS", "LMS"):
        assert [step.index for step in done] == list(range(steps))
        torch.testing.assert_close(done[-1].latents, done[-1].denoised)


@pytest.mark.parametrize("name", NAMES)
def test_closing_stops_the_network_calls(name: str) -> None:
    calls = 0

    def counting(latents: Tensor, sigma: float) -> Tensor:
        nonlocal calls
        calls += 1
        return gaussian(latents, sigma)

    noise = NoiseSource([0], (1, 4, 4), lambda tensor: tensor)
    running = SAMPLERS[name].sample(counting, torch.ones(1, 1, 4, 4), [4.0, 3.0, 2.0, 1.0, 0.0], noise, setup(name))
    next(running)
    running.close()
    several = {"PLMS": 2, "DPM fast": 3, "DPM adaptive": 3}
    assert calls == several.get(name, sampling.find_sampler(name).calls_per_step)


@pytest.mark.parametrize("info", sampling.SAMPLERS, ids=lambda info: info.name)
def test_costs_and_draws_what_the_list_promises(info: sampling.SamplerInfo) -> None:
    calls = draws = paths = 0

    class Counting(NoiseSource):
        def draw(self) -> Tensor:
            nonlocal draws
            draws += 1
            return super().draw()

        def follow(self, sigmas):  # type: ignore[no-untyped-def]
            nonlocal paths
            paths += 1
            return super().follow(sigmas)

    def counting(latents: Tensor, sigma: float) -> Tensor:
        nonlocal calls
        calls += 1
        return gaussian(latents, sigma)

    noise = Counting([0], (1, 4, 4), lambda tensor: tensor)
    sigmas = geometric(21)
    list(SAMPLERS[info.name].sample(counting, torch.ones(1, 1, 4, 4), [*sigmas, 0.0], noise, setup(info.name)))
    ends = (
        1 if info.calls_per_step == 2 else -1 if info.name == "PLMS" else 0
    )  # the last step is Euler's; the first is Heun's
    if info.name != "DPM adaptive":
        assert calls == 22 * info.calls_per_step - ends
    assert (draws + paths > 0) == info.stochastic
    assert (paths > 0) == info.brownian


def test_every_listed_sampler_exists_and_no_other() -> None:
    assert set(SAMPLERS) == {info.name for info in sampling.SAMPLERS}
    with pytest.raises(NotFound):
        find_sampler("Lagrange")


@pytest.mark.parametrize(("steps", "expected"), [(19, 0), (20, 1), (35, 1), (36, 2), (50, 2)])
def test_restart_repeats_a_stretch(steps: int, expected: int) -> None:
    levels = NoiseLevels(NoiseSchedule())
    segments = restart_segments(find_sigmas("Restart", "Automatic", steps, levels))
    assert len(segments) == steps
    rises = [(low, high) for (_, low), (high, _) in pairwise(segments) if high > low]
    assert len(rises) == expected
    assert all(abs(low - 0.1) < 0.06 and abs(high - 2) < 0.8 for low, high in rises)


def test_guided_picture_and_unguided_noise_are_told_apart() -> None:
    latents = torch.ones(1, 1, 2, 2).double() * 3
    unguided = [torch.zeros_like(latents)]
    options = Setup(eta=0.0, unguided=unguided)
    step = next(SAMPLERS["DDIM CFG++"].sample(gaussian, latents, [2.0, 1.0, 0.0], source(), options))
    torch.testing.assert_close(step.latents, gaussian(latents, 2.0) + latents / 2)


def test_iterating_does_not_leak_inference_mode() -> None:
    running = SAMPLERS["Euler"].sample(gaussian, torch.ones(1, 1, 4, 4), [4.0, 3.0, 2.0], source(), STILL)
    next(running)
    assert not torch.is_inference_mode_enabled()
    running.close()
