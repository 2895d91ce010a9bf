from __future__ import annotations

import math
from itertools import pairwise

import diffusers
import numpy as np
import pytest

from tests.tiny_models import SCHEDULER
from webui.domain import sampling
from webui.domain.plan import SamplingPlan
from webui.engine.beta import beta_probability, beta_quantile
from webui.engine.denoise import NoiseLevels
from webui.engine.schedules import SCHEDULES, find_sigmas
from webui.errors import NotFound
from webui.weights.checkpoint import NoiseSchedule

LEVELS = NoiseLevels(NoiseSchedule())
LABELS = [info.label for info in sampling.SCHEDULES]
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")


def sigmas(label: str, steps: int, **options: float) -> list[float]:
    return find_sigmas("Euler", label, steps, LEVELS, SamplingPlan.model_validate(options))


def test_range_of_stable_diffusion() -> None:
    assert LEVELS.lowest == pytest.approx(0.029168, abs=1e-6)
    assert LEVELS.highest == pytest.approx(14.614642, abs=1e-5)


@pytest.mark.parametrize("steps", [2, 5, 20, 125])  # others do not divide 1000, and are rounded in other ways
@pytest.mark.parametrize(
    ("label", "option"),
    [
        ("Uniform", {}),
        ("Normal", {}),
        ("Karras", {"use_karras_sigmas": True}),
        ("Exponential", {"use_exponential_sigmas": True}),
        ("Polyexponential", {"use_exponential_sigmas": True}),
        ("Simple", {"timestep_spacing": "trailing"}),
        ("Turbo", {"timestep_spacing": "trailing"}),
    ],
)
def test_equals_diffusers(label: str, option: dict[str, object], steps: int) -> None:
    config = {**SCHEDULER, "timestep_spacing": "linspace", "steps_offset": 0, **option}
    scheduler = diffusers.EulerDiscreteScheduler.from_config(config)
    scheduler.set_timesteps(steps)
    np.testing.assert_allclose(sigmas(label, steps), scheduler.sigmas.numpy(), rtol=1e-3)


# From SciPy 1.17: scipy.stats.beta.ppf(1 - numpy.linspace(0, 1, 6), a, b)
BETA_QUANTILES = {
    (0.6, 0.6): (1.0, 0.8770782495416671, 0.6372990092467856, 0.36270099075321405, 0.12292175045833284, 0.0),
    (2.0, 5.0): (1.0, 0.42244752484627207, 0.3094444275453144, 0.2225835336154238, 0.1398806882699578, 0.0),
}


@pytest.mark.parametrize("shape", list(BETA_QUANTILES))
def test_beta_is_scipys_distribution(shape: tuple[float, float]) -> None:
    shares = [beta_quantile(1 - index / 5, *shape) for index in range(6)]
    np.testing.assert_allclose(shares, BETA_QUANTILES[shape], atol=1e-12)
    expected = [LEVELS.lowest + share * (LEVELS.highest - LEVELS.lowest) for share in shares]
    options = {"beta_alpha": shape[0], "beta_beta": shape[1]}
    np.testing.assert_allclose(sigmas("Beta", 6, **options), [*expected, 0], rtol=1e-9)


def test_beta_distributions_that_are_known_in_closed_form() -> None:
    for x in (0.001, 0.2, 0.5, 0.77, 0.9999):
        assert beta_probability(x, 1, 1) == pytest.approx(x, abs=1e-13)
        assert beta_probability(x, 0.5, 0.5) == pytest.approx(2 / math.pi * math.asin(math.sqrt(x)), abs=1e-13)
        assert beta_probability(x, 3, 1) == pytest.approx(x**3, abs=1e-13)


def test_closed_forms() -> None:
    low, high = LEVELS.lowest, LEVELS.highest
    middle = sigmas("KL Optimal", 2)
    assert middle == pytest.approx([high, math.tan((math.atan(low) + math.atan(high)) / 2), low])
    assert sigmas("SGM Uniform", 3) == pytest.approx([high, LEVELS.sigma(666), LEVELS.sigma(333), 0])
    assert sigmas("DDIM", 4) == pytest.approx([*map(LEVELS.sigma, (751, 501, 251, 1)), 0])
    assert sigmas("Simple", 4) == pytest.approx([*map(LEVELS.sigma, (999, 749, 499, 249)), 0])
    assert sigmas("Polyexponential", 3, rho=2)[1] == pytest.approx(low ** (3 / 4) * high ** (1 / 4))
    assert sigmas("Karras", 3, rho=1)[1] == pytest.approx((low + high) / 2)
    own = find_sigmas("UniPC", "Automatic", 4, LEVELS)
    assert own == pytest.approx([LEVELS.sigma(999 * (4 - index) / 4) for index in range(5)])
    assert find_sigmas("TCD", "Automatic", 4, LEVELS) == pytest.approx([*map(LEVELS.sigma, (999, 759, 499, 259)), 0])
    lcm = find_sigmas("LCM", "Automatic", 3, LEVELS.distilled())
    assert lcm == pytest.approx(
        [LEVELS.sigma(999), math.sqrt(LEVELS.sigma(499) * LEVELS.sigma(519)), LEVELS.sigma(19), 0]
    )


def test_align_your_steps() -> None:
    published = [14.615, 6.475, 3.861, 2.697, 1.886, 1.396, 0.963, 0.652, 0.399, 0.152, 0.029]
    assert sigmas("Align Your Steps", 11) == pytest.approx([*published, 0])
    twice = sigmas("Align Your Steps", 21)
    assert twice[:-1:2] == pytest.approx(published)
    assert twice[1] == pytest.approx(math.sqrt(published[0] * published[1]))


@pytest.mark.parametrize("label", LABELS)
def test_one_step_starts_at_the_top(label: str) -> None:
    first, last = sigmas(label, 1)
    end = pytest.approx(LEVELS.lowest) if label == "KL Optimal" else 0
    top = LEVELS.sigma(1) if label == "DDIM" else LEVELS.highest
    assert (first, last) == (pytest.approx(top, abs=1e-3), end)


@pytest.mark.parametrize("steps", [2, 7, 20, 30, 150])
def test_ddim_equals_diffusers_but_for_the_last_step(steps: int) -> None:
    scheduler = diffusers.DDIMScheduler.from_config(dict(SCHEDULER), timestep_spacing="leading")
    scheduler.set_timesteps(steps)
    kept = scheduler.alphas_cumprod[scheduler.timesteps.tolist()].numpy()
    ours = find_sigmas("DDIM", "Automatic", steps, LEVELS)
    extra = len(range(0, 1000, 1000 // steps)) - steps  # one at the top, where the steps do not divide 1000
    np.testing.assert_allclose(ours[extra:], (1 / kept - 1) ** 0.5, rtol=1e-4)


OTHER_LENGTHS = ("DDIM", "DDIM CFG++", "PLMS", "UniPC", "DDPM")


@pytest.mark.parametrize("label", LABELS)
@pytest.mark.parametrize("sampler", [info.name for info in sampling.SAMPLERS])
@pytest.mark.parametrize("steps", [1, 3, 150])
def test_falls_from_steps_plus_one_levels(sampler: str, label: str, steps: int) -> None:
    levels = find_sigmas(sampler, label, steps, LEVELS)
    if label != "DDIM" and not (label == "Automatic" and sampler in (*OTHER_LENGTHS, "TCD")):
        assert len(levels) == steps + 1
    assert len(levels) >= min(3, steps) and levels[0] > 0
    assert all(high > low >= 0 for high, low in pairwise(levels))


def test_automatic_is_the_samplers_own() -> None:
    def automatic(name: str) -> list[float]:
        return find_sigmas(name, "Automatic", 9, LEVELS)

    assert automatic("DPM++ 2M") == find_sigmas("DPM++ 2M", "Karras", 9, LEVELS)
    assert automatic("DPM++ 2M SDE") == find_sigmas("Euler", "Exponential", 9, LEVELS)
    assert automatic("Euler") == find_sigmas("Euler", "Uniform", 9, LEVELS)
    assert automatic("DDIM")[-1] == pytest.approx(LEVELS.sigma(1))
    assert automatic("UniPC")[-1] == pytest.approx(LEVELS.lowest)


@pytest.mark.parametrize("name", ["DPM2", "DPM2 a", "DPM++ 3M SDE"])
def test_some_discard_the_penultimate_level(name: str) -> None:
    full = find_sigmas("Euler", "Karras", 10, LEVELS)
    assert find_sigmas(name, "Karras", 9, LEVELS) == [*full[:-2], 0]
    discard = SamplingPlan(discard_penultimate=True)
    assert find_sigmas("Euler", "Karras", 9, LEVELS, discard) == [*full[:-2], 0]
    assert find_sigmas(name, "Karras", 9, LEVELS, discard) == [*full[:-2], 0]


@pytest.mark.parametrize("label", ["Karras", "Exponential", "Polyexponential", "SGM Uniform", "Normal", "Beta"])
def test_the_range_can_be_set(label: str) -> None:
    between = sigmas(label, 8, sigma_min=0.1, sigma_max=9)
    assert between[0] == pytest.approx(9)
    if label != "SGM Uniform":
        assert between[-2] == pytest.approx(0.1)
    else:
        assert between[-2] > 0.1


def test_every_listed_schedule_exists() -> None:
    assert set(SCHEDULES) == set(LABELS) - {"Automatic"}
    with pytest.raises(NotFound):
        find_sigmas("Euler", "Lunar", 5, LEVELS)
