"""What Qwen-Image alone has, against diffusers: its noise levels and the numbers of its VAE."""

from __future__ import annotations

from pathlib import Path

import diffusers
import numpy as np
import pytest
import torch

from tests.engine_parts import PlanMaker, difference, plans_of
from tests.tiny_qwen_image import SCHEDULER, make_folder
from webui.domain.models import Family
from webui.engine import vae
from webui.engine.families import qwen_image
from webui.engine.models import Models
from webui.engine.schedules import find_sigmas
from webui.weights.memory import Resident

# diffusers' schedulers turn tensors into numpy arrays in a way that numpy 2 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("models") / "qwen-image")


@pytest.fixture(scope="module")
def model(models: Models, make_plan: PlanMaker, folder: Path) -> Resident:
    return models.get(plans_of(make_plan, Family.QWEN_IMAGE, path=folder)().model).resident


@pytest.mark.parametrize("steps", [1, 5, 50])
def test_the_same_noise_levels_as_diffusers(model: Resident, steps: int) -> None:
    """Stretched so that the last step begins at 0.02."""
    levels = qwen_image.noise_levels(model, (1024, 1024)).planned(steps)
    ours = find_sigmas("Euler", "Simple", steps, levels, family=Family.QWEN_IMAGE)
    if steps == 1:  # where diffusers divides by zero
        assert ours == [1.0, 0.0]
        return
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler.from_config(dict(SCHEDULER))
    scheduler.set_timesteps(sigmas=np.linspace(1.0, 1 / steps, steps), mu=0.5 + 0.4 * (4096 - 256) / (8192 - 256))
    assert ours == pytest.approx(scheduler.sigmas.tolist(), abs=1e-6)
    places = [levels.position(sigma) for sigma in ours[:-1]]
    assert [levels.sigma(place) for place in places] == pytest.approx(ours[:-1], abs=1e-6)
    assert 0 < levels.lowest < ours[-2]


def test_pictures_come_back_from_latents(folder: Path, model: Resident) -> None:
    """Shifted and scaled by the numbers of the VAE, which knows frames."""
    theirs = diffusers.AutoencoderKLQwenImage.from_pretrained(folder / "vae")
    pixels = torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(1)) * 2 - 1
    with torch.inference_mode():
        own = theirs.encode(pixels[None, :, None]).latent_dist.mean[0, :, 0]
    mean, spread = (torch.tensor(theirs.config[name]).reshape(-1, 1, 1) for name in ("latents_mean", "latents_std"))
    assert difference(vae.encode_pixels(model, pixels), (own - mean) / spread) < 1e-5
