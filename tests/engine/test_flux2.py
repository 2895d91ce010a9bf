"""What Flux.2 alone has, against diffusers' own pipelines: dev, shifts by steps, neighbours in its VAE."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.functional import pixel_unshuffle
from transformers import Mistral3ForConditionalGeneration, Qwen2Tokenizer

from tests.engine_parts import PlanMaker, difference, latents_of, load_pipeline, noise_of, plans_of
from tests.tiny_flux2 import SCHEDULER, make_folder
from webui.domain.models import Family
from webui.domain.plan import Plan
from webui.engine import coders, vae
from webui.engine.condition import Encoding
from webui.engine.families import flux2
from webui.engine.models import Models
from webui.engine.schedules import find_sigmas
from webui.engine.vae_tiles import compute_in_tiles
from webui.weights.memory import Resident

# diffusers' schedulers turn tensors into numpy arrays in a way that numpy 2 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    home = tmp_path_factory.mktemp("models")
    return {kind: make_folder(home / kind, kind) for kind in ("klein", "dev")}


@pytest.fixture(scope="module")
def plan_flux2(make_plan: PlanMaker, folders: dict[str, Path]) -> PlanMaker:
    """Return a function like `make_plan` for a tiny Flux.2."""
    usual = {"klein": {"guidance": 3.0}, "dev": {"guidance": 1.0, "distilled_guidance": 4.0}}

    def make(kind: str = "klein", **changes: Any) -> Plan:
        return plans_of(make_plan, Family.FLUX2, path=folders[kind], negative="", **usual[kind])(**changes)

    return make


@pytest.fixture(scope="module")
def model(models: Models, plan_flux2: PlanMaker) -> Resident:
    return models.get(plan_flux2().model).resident


@pytest.fixture(scope="module")
def dev(folders: dict[str, Path]) -> Any:
    """Its processor needs torchvision for the eyes; of texts, its tokenizer makes the same."""
    tokenizer = Qwen2Tokenizer.from_pretrained(folders["dev"] / "tokenizer", padding_side="left")
    read = {"dtype": torch.float32, "local_files_only": True}
    text = Mistral3ForConditionalGeneration.from_pretrained(folders["dev"] / "text_encoder", **read)
    transformer = diffusers.Flux2Transformer2DModel.from_pretrained(folders["dev"] / "transformer")
    vae = diffusers.AutoencoderKLFlux2.from_pretrained(folders["dev"] / "vae")
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler.from_pretrained(folders["dev"] / "scheduler")
    loaded = diffusers.Flux2Pipeline(scheduler, vae, text, tokenizer, transformer)
    loaded.set_progress_bar_config(disable=True)
    return loaded


@pytest.mark.parametrize("text", ["a photo of a cat, at night", "", "dog " * 600])
def test_texts_are_encoded_for_dev_as_by_diffusers(dev: Any, models: Models, plan_flux2: PlanMaker, text: str) -> None:
    with torch.no_grad():
        states, _ = dev.encode_prompt(text)
    condition = flux2.encode(models.get(plan_flux2("dev").model).resident, text, Encoding(distilled_guidance=4.0))
    assert condition.states.shape == states[0].shape
    assert difference(condition.states, states[0]) < 1e-4
    assert condition.guidance is not None and condition.guidance == 4


def test_dev_draws_the_same_latents_as_diffusers(dev: Any, models: Models, plan_flux2: PlanMaker) -> None:
    plan = plan_flux2("dev", steps=5, distilled_guidance=2.5, width=128, height=96)
    theirs = dev(
        prompt=plan.images[0].prompt, guidance_scale=2.5, width=128, height=96, num_inference_steps=5,
        latents=pixel_unshuffle(noise_of(plan), 2), output_type="latent",
    ).images  # fmt: skip
    assert difference(flux2.pack(latents_of(plan, models)), theirs) < 1e-3


@pytest.fixture(scope="module")
def pipeline(folders: dict[str, Path]) -> Any:
    return load_pipeline(diffusers.Flux2KleinPipeline, folders["klein"])


@pytest.mark.parametrize("size", [(64, 64), (1024, 1024), (2048, 1024)])
@pytest.mark.parametrize("steps", [1, 4, 50])
def test_the_same_noise_levels_as_diffusers(model: Resident, size: tuple[int, int], steps: int) -> None:
    """Shifted by the number of tokens and of steps."""
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler.from_config(dict(SCHEDULER))
    tokens = size[0] * size[1] // 256
    shift = diffusers.pipelines.flux2.pipeline_flux2_klein.compute_empirical_mu(tokens, steps)
    scheduler.set_timesteps(sigmas=np.linspace(1.0, 1 / steps, steps), mu=shift)
    levels = flux2.noise_levels(model, size).planned(steps)
    ours = find_sigmas("Euler", "Simple", steps, levels, family=Family.FLUX2)
    assert ours == pytest.approx(scheduler.sigmas.tolist(), abs=1e-6)


def test_latents_of_pictures_are_those_of_diffusers(pipeline: Any, model: Resident) -> None:
    pixels = torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(1)) * 2 - 1
    with torch.inference_mode():
        theirs = pipeline._encode_vae_image(pixels.unsqueeze(0), None)
    ours = vae.encode_pixels(model, pixels).unsqueeze(0)
    assert difference(pixel_unshuffle(ours, 2), theirs) < 1e-5


def test_latents_of_an_odd_number_come_back(models: Models, model: Resident, plan_flux2: PlanMaker) -> None:
    latents = latents_of(plan_flux2(width=72, height=88), models)
    assert latents.shape == (1, 32, 11, 9) and torch.isfinite(latents).all()
    own = coders.denormalised(model.network("vae"), latents)
    assert difference(coders.normalised(model.network("vae"), own), latents) < 1e-5
    assert isinstance(vae.decode(model, latents[0]), Image.Image)


def test_latents_of_an_odd_number_are_the_same_in_tiles(model: Resident) -> None:
    """Neighbours in pairs are treated as in one piece."""
    latents = torch.randn(32, 9, 41, generator=torch.Generator().manual_seed(2))
    network = model.network("vae")

    def denormalise(tile: torch.Tensor) -> torch.Tensor:
        return coders.denormalised(network, tile.unsqueeze(0))[0]

    assert torch.allclose(compute_in_tiles(denormalise, latents, 16), denormalise(latents), atol=1e-5)
