from __future__ import annotations

from itertools import pairwise

import diffusers
import numpy as np
import pytest

from tests.tiny_models import SCHEDULER
from webui.domain import sampling
from webui.engine.denoise import NoiseLevels
from webui.engine.schedules import find_sigmas
from webui.errors import NotFound
from webui.weights.identify import NoiseSchedule

LEVELS = NoiseLevels(NoiseSchedule())
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")


def test_range_of_stable_diffusion() -> None:
    assert LEVELS.lowest == pytest.approx(0.029168, abs=1e-6)
    assert LEVELS.highest == pytest.approx(14.614642, abs=1e-5)


@pytest.mark.parametrize("steps", [2, 7, 20, 150])
@pytest.mark.parametrize("label", ["Uniform", "Karras"])
def test_equals_diffusers(label: str, steps: int) -> None:
    scheduler = diffusers.EulerDiscreteScheduler.from_config(
        dict(SCHEDULER), use_karras_sigmas=label == "Karras", timestep_spacing="linspace", steps_offset=0
    )
    scheduler.set_timesteps(steps)
    np.testing.assert_allclose(find_sigmas("Euler", label, steps, LEVELS), scheduler.sigmas.numpy(), rtol=1e-3)


@pytest.mark.parametrize("label", ["Uniform", "Karras"])
def test_one_step_starts_at_the_top(label: str) -> None:
    assert find_sigmas("Euler", label, 1, LEVELS) == [pytest.approx(LEVELS.highest), 0]


@pytest.mark.parametrize("steps", [1, 7, 20, 30, 150])
def test_ddim_equals_diffusers(steps: int) -> None:
    scheduler = diffusers.DDIMScheduler.from_config(dict(SCHEDULER), timestep_spacing="leading")
    scheduler.set_timesteps(steps)
    kept = scheduler.alphas_cumprod[[*scheduler.timesteps.tolist(), 0]].numpy()
    np.testing.assert_allclose(find_sigmas("DDIM", "Automatic", steps, LEVELS), (1 / kept - 1) ** 0.5, rtol=1e-4)


@pytest.mark.parametrize("label", ["Uniform", "Karras", "Automatic"])
@pytest.mark.parametrize("sampler", [info.name for info in sampling.SAMPLERS])
@pytest.mark.parametrize("steps", [1, 3, 150])
def test_falls_from_steps_plus_one_levels(sampler: str, label: str, steps: int) -> None:
    sigmas = find_sigmas(sampler, label, steps, LEVELS)
    assert len(sigmas) == steps + 1
    assert all(high > low for high, low in pairwise(sigmas))


def test_automatic_is_the_samplers_own() -> None:
    assert find_sigmas("DPM++ 2M", "Automatic", 9, LEVELS) == find_sigmas("DPM++ 2M", "Karras", 9, LEVELS)
    assert find_sigmas("Euler", "Automatic", 9, LEVELS) == find_sigmas("Euler", "Uniform", 9, LEVELS)
    assert find_sigmas("DDIM", "Automatic", 9, LEVELS)[-1] == pytest.approx(LEVELS.lowest)


def test_every_listed_schedule_exists() -> None:
    for info in sampling.SCHEDULES:
        assert find_sigmas("Euler", info.label, 5, LEVELS)
    with pytest.raises(NotFound):
        find_sigmas("Euler", "Lunar", 5, LEVELS)
