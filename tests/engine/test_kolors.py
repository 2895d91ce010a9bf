"""Kolors' whole road, against diffusers' own pipeline: texts, files, pictures."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from tests.engine_parts import PlanMaker, check_batch, difference, latents_of, plans_of
from tests.tiny_kolors import SCHEDULER, WIDTH, make_chat_glm, make_folder, make_networks
from tests.tiny_models import write_json
from webui.domain.models import Family
from webui.domain.plan import PreviewPlan
from webui.domain.start import FromMaskedImage
from webui.engine.condition import Condition, Encoding
from webui.engine.control import Control
from webui.engine.engine import Engine, ImageReady, PreviewImage
from webui.engine.families import kolors
from webui.engine.models import Models
from webui.engine.schedules import find_sigmas
from webui.errors import BadFile
from webui.weights.checkpoint import NoiseSchedule
from webui.weights.loading.networks import build
from webui.weights.memory import Resident
from webui.weights.recognition.identify import identify

# diffusers' schedulers turn tensors into numpy arrays in a way that numpy 2 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")
STEPS = 5


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("models") / "kolors")


@pytest.fixture(scope="module")
def networks() -> dict[str, Any]:
    return make_networks()


@pytest.fixture(scope="module")
def plan_kolors(make_plan: PlanMaker, folder: Path) -> PlanMaker:
    """Return a function like `make_plan` for a tiny Kolors."""
    return plans_of(make_plan, Family.KOLORS, path=folder, steps=STEPS, schedule="Uniform", negative="dull dog")


@pytest.fixture(scope="module")
def model(models: Models, plan_kolors: PlanMaker) -> Resident:
    return models.get(plan_kolors().model).resident


def encode(model: Resident, text: str, **encoding: Any) -> Condition:
    return kolors.encode(model, text, Encoding(**encoding))


def encode_theirs(networks: dict[str, Any], model: Resident, text: str) -> tuple[Tensor, Tensor]:
    """Return states and pooled state as the pipeline makes them; its tokenizer needs a library that is not here."""
    tokenizer = model.piece_tokenizers["text_encoder"]
    row = [tokenizer.size + 1, tokenizer.size + 3, *tokenizer.encode(text)][:256]
    missing = 256 - len(row)
    with torch.no_grad():
        seen = networks["text_encoder"](
            input_ids=torch.tensor([[0] * missing + row]),
            attention_mask=torch.tensor([[0] * missing + [1] * len(row)]),
            position_ids=torch.tensor([[0] * missing + list(range(len(row)))]),
            output_hidden_states=True,
            return_dict=True,
        ).hidden_states
    return seen[-2].permute(1, 0, 2), seen[-1][-1]


def load_pipeline_class() -> Any:
    """Return the pipeline without what diffusers wants besides: its tokenizer's library."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        from diffusers.pipelines.kolors.pipeline_kolors import KolorsPipeline
    return KolorsPipeline


def test_files(folder: Path) -> None:
    checkpoint = identify(folder)
    assert (checkpoint.family, checkpoint.denoiser, checkpoint.zero_negative) == (Family.KOLORS, "unet", False)
    assert checkpoint.noise == NoiseSchedule(1100, 0.00085, 0.014, "scaled_linear", "epsilon")


@pytest.mark.parametrize(
    ("part", "changes", "words"),
    [
        ("unet", {"encoder_hid_dim": 33}, "do not fit together"),
        ("unet", {"addition_time_embed_dim": "8"}, "not that of a usable network"),
        ("unet", {"encoder_hid_dim_type": None}, "not told about text and sizes"),
        ("vae", {"latent_channels": 16}, "do not have 4 channels"),
    ],
)
def test_broken_folders(folder: Path, tmp_path: Path, part: str, changes: dict[str, Any], words: str) -> None:
    broken = Path(shutil.copytree(folder, tmp_path / "model"))
    config = identify(folder).configs[part]
    write_json(broken / part / "config.json", {**config, **changes})
    with pytest.raises(BadFile, match=words):
        identify(broken)


def test_no_tokenizer(folder: Path, tmp_path: Path) -> None:
    broken = Path(shutil.copytree(folder, tmp_path / "model"))
    (broken / "tokenizer" / "tokenizer.model").unlink()
    with pytest.raises(BadFile, match="it has no tokenizer"):
        identify(broken)


@pytest.mark.parametrize("text", ["a cat, at night", "", "dog castle " * 200])
def test_texts_are_encoded_as_by_diffusers(networks: dict[str, Any], model: Resident, text: str) -> None:
    states, pooled = encode_theirs(networks, model, text)
    condition = encode(model, text)
    assert condition.pooled is not None and condition.states.shape == (256, WIDTH)
    assert difference(condition.states, states[0]) < 1e-4
    assert difference(condition.pooled, pooled[0]) < 1e-4


def test_weights_act_on_the_states_alone(model: Resident) -> None:
    """Of the last two tokens, "a" and "cat", the second is heavier; the pooled text has no weights."""
    plain, heavy = encode(model, "a cat"), encode(model, "a (cat:1.5)", emphasis="No norm")
    factors = torch.ones(256, 1)
    factors[-1] = 1.5
    assert torch.allclose(heavy.states, plain.states * factors, atol=1e-5)
    assert heavy.pooled is not None and plain.pooled is not None and torch.equal(heavy.pooled, plain.pooled)


@pytest.mark.parametrize("guidance", [1.0, 5.0])
@pytest.mark.parametrize("size", [(64, 64), (128, 96)])
def test_the_same_latents_as_diffusers(
    networks: dict[str, Any], models: Models, model: Resident, plan_kolors: PlanMaker, size: tuple[int, int],
    guidance: float,
) -> None:  # fmt: skip
    plan = plan_kolors(guidance=guidance, width=size[0], height=size[1])
    scheduler = diffusers.EulerDiscreteScheduler.from_config(
        dict(SCHEDULER), timestep_spacing="linspace", steps_offset=0
    )
    scheduler.set_timesteps(STEPS)
    pipeline = load_pipeline_class()(
        vae=networks["vae"], text_encoder=networks["text_encoder"], tokenizer=None, unet=networks["unet"],
        scheduler=scheduler,
    )  # fmt: skip
    pipeline.set_progress_bar_config(disable=True)
    image = plan.images[0]
    (states, pooled), (without, without_pooled) = (
        encode_theirs(networks, model, text) for text in (image.prompt, image.negative_prompt)
    )
    noise = torch.randn((1, 4, size[1] // 8, size[0] // 8), generator=torch.Generator().manual_seed(image.seed))
    sigma = find_sigmas("Euler", "Uniform", STEPS, kolors.noise_levels(model, size))[0]
    theirs = pipeline(
        prompt_embeds=states, pooled_prompt_embeds=pooled, negative_prompt_embeds=without,
        negative_pooled_prompt_embeds=without_pooled, guidance_scale=guidance, width=size[0], height=size[1],
        num_inference_steps=STEPS, latents=noise * sigma / scheduler.init_noise_sigma, output_type="latent",
    ).images  # fmt: skip
    assert difference(latents_of(plan, models), theirs) < 1e-3


def test_batches_are_single_images(models: Models, plan_kolors: PlanMaker) -> None:
    plan = plan_kolors(count=3, sampler="DPM++ 2M", guidance=2.0)
    prompts = "dog " * 80, "a [castle:dog:2]", "a cat AND a castle :0.5"
    together = check_batch(plan, prompts, models, 1e-3)
    assert difference(together[1], together[0]) > 1e-3


def test_inpainting_and_previews(engine: Engine, plan_kolors: PlanMaker) -> None:
    picture, mask = Image.new("RGB", (64, 64), "navy"), Image.new("L", (64, 64), 0)
    ImageDraw.Draw(mask).rectangle((32, 0, 63, 63), 255)
    start = FromMaskedImage(images=("a" * 64,), mask="c" * 64, strength=1.0, mask_blur=0)
    plan = plan_kolors(start=start, preview=PreviewPlan(every=2))
    happened = list(engine.run(plan, Control(), {"a" * 64: picture, "c" * 64: mask}))
    (painted,) = [np.asarray(item.image, np.int16) for item in happened if isinstance(item, ImageReady)]
    assert (painted[:, :32] == np.asarray(picture, np.int16)[:, :32]).all()
    assert np.abs(painted[:, 32:] - np.asarray(picture, np.int16)[:, 32:]).mean() > 10
    assert sum(isinstance(item, PreviewImage) for item in happened) == 2


def test_the_text_encoder_takes_no_memory_before_it_is_filled(folder: Path) -> None:
    network = build(identify(folder).parts["text_encoder"])
    assert all(weight.is_meta for weight in network.parameters())
    assert network.state_dict().keys() == make_chat_glm().state_dict().keys()
