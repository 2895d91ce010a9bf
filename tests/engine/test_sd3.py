"""SD3's whole road, against diffusers' own pipeline: texts, noise levels, pictures, from folders and single files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch

from tests.engine_parts import (
    MASKED,
    PICTURE,
    PlanMaker,
    check_batch,
    check_inpainting,
    difference,
    latents_of,
    load_pipeline,
    noise_of,
    photo,
    picture_of,
    plans_of,
    preview_sizes,
    with_second_pass,
)
from tests.tiny_sd3 import SCHEDULER, STATES, make_folder, make_single_file
from webui.domain.models import Family
from webui.domain.plan import Plan, PreviewPlan
from webui.domain.start import FromImage
from webui.domain.upscaling import UpscalerRef
from webui.engine import vae
from webui.engine.condition import Condition, Encoding
from webui.engine.engine import Engine
from webui.engine.families import sd3
from webui.engine.models import Models
from webui.engine.schedules import find_sigmas
from webui.weights.memory import Resident

# diffusers' schedulers turn tensors into numpy arrays in a way that numpy 2 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")
KINDS = ("3", "3.5", "3.5 without T5")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    home = tmp_path_factory.mktemp("models")
    return {kind: make_folder(home / kind, kind.split()[0], t5="without" not in kind) for kind in KINDS}


@pytest.fixture(scope="module")
def plan_sd3(make_plan: PlanMaker, folders: dict[str, Path]) -> PlanMaker:
    """Return a function like `make_plan` for a tiny SD3."""

    def make(*, kind: str = "3.5", **changes: Any) -> Plan:
        return plans_of(make_plan, Family.SD3, path=folders[kind], guidance=3.0)(**changes)

    return make


@pytest.fixture(scope="module")
def model(models: Models, plan_sd3: PlanMaker) -> Resident:
    return models.get(plan_sd3().model).resident


@pytest.fixture(scope="module")
def pipelines(folders: dict[str, Path]) -> dict[str, Any]:
    without = {"text_encoder_3": None, "tokenizer_3": None}
    return {
        kind: load_pipeline(diffusers.StableDiffusion3Pipeline, folder, **(without if "without" in kind else {}))
        for kind, folder in folders.items()
    }


def encode(model: Resident, text: str, **encoding: Any) -> Condition:
    return sd3.encode(model, text, Encoding(**encoding))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("text", ["a photo of a cat, at night", "", "dog " * 300])
def test_texts_are_encoded_as_by_diffusers(
    pipelines: dict[str, Any], models: Models, plan_sd3: PlanMaker, kind: str, text: str
) -> None:
    with torch.no_grad():
        states, _, pooled, _ = pipelines[kind].encode_prompt(text, None, None, do_classifier_free_guidance=False)
    condition = encode(models.get(plan_sd3(kind=kind).model).resident, text)
    assert condition.pooled is not None
    assert condition.states.shape == (77 + 256, STATES)
    assert difference(condition.states, states[0]) < 1e-4
    assert difference(condition.pooled, pooled[0]) < 1e-4


def test_weights_act_on_the_states_of_all_encoders(model: Resident) -> None:
    """Of the second word of "a cat": behind CLIP's start token, and at T5's second place."""
    plain, heavy = encode(model, "a cat"), encode(model, "a (cat:1.5)", emphasis="No norm")
    factors = torch.ones(77 + 256, 1)
    factors[2] = factors[77 + 1] = 1.5
    assert torch.allclose(heavy.states, plain.states * factors, atol=1e-5)
    assert heavy.pooled is not None and plain.pooled is not None
    assert torch.equal(heavy.pooled, plain.pooled)


@pytest.mark.parametrize("steps", [1, 4, 20])
def test_the_same_noise_levels_as_diffusers(model: Resident, steps: int) -> None:
    """Which are asked for the sigmas of Simple: its own end is shifted twice."""
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler.from_config(dict(SCHEDULER))
    scheduler.set_timesteps(sigmas=np.linspace(1.0, 1 / steps, steps))
    ours = find_sigmas("Euler", "Automatic", steps, sd3.noise_levels(model, (512, 512)), family=Family.SD3)
    assert ours == pytest.approx(scheduler.sigmas.tolist(), abs=1e-6)


@pytest.mark.parametrize("guidance", [1.0, 4.0])
@pytest.mark.parametrize("size", [(64, 64), (128, 96)])
@pytest.mark.parametrize("kind", KINDS)
def test_the_same_latents_as_diffusers(
    pipelines: dict[str, Any], models: Models, plan_sd3: PlanMaker, kind: str, size: tuple[int, int], guidance: float
) -> None:
    plan = plan_sd3(kind=kind, guidance=guidance, width=size[0], height=size[1], steps=5, negative="dull dog")
    theirs = pipelines[kind](
        plan.images[0].prompt, negative_prompt=plan.images[0].negative_prompt, guidance_scale=guidance, width=size[0],
        height=size[1], num_inference_steps=5, sigmas=np.linspace(1, 1 / 5, 5), latents=noise_of(plan),
        output_type="latent",
    ).images  # fmt: skip
    assert difference(latents_of(plan, models), theirs) < 1e-3


@pytest.mark.parametrize("kind", ["3", "3.5"])
def test_single_files_draw_the_same(models: Models, plan_sd3: PlanMaker, tmp_path: Path, kind: str) -> None:
    """T5 apart, whose tokenizer no such file holds."""
    folder = make_folder(tmp_path / "folder", kind, t5=False)
    file = make_single_file(tmp_path / "sd3.safetensors", kind, t5=False)
    assert difference(latents_of(plan_sd3(path=file), models), latents_of(plan_sd3(path=folder), models)) < 1e-4


def test_a_picture_is_mixed_with_noise_as_by_diffusers(
    pipelines: dict[str, Any], engine: Engine, plan_sd3: PlanMaker, model: Resident
) -> None:
    """Three of five steps: at strength 0.5, int(0.5 · 5) + 1 of them are run (A1111's rule)."""
    plan = plan_sd3(steps=5, start=FromImage(images=(PICTURE,), strength=0.5))
    pipeline = pipelines["3.5"]
    pixels = torch.from_numpy(np.array(photo())).permute(2, 0, 1).float() / 127.5 - 1
    with torch.inference_mode():
        clean = (pipeline.vae.encode(pixels.unsqueeze(0)).latent_dist.mean - 0.0609) * 1.5305
    sigma = find_sigmas("Euler", "Simple", 5, sd3.noise_levels(model, (64, 64)), family=Family.SD3)[2]
    theirs = pipeline(
        plan.images[0].prompt, negative_prompt=plan.images[0].negative_prompt, guidance_scale=3.0, width=64, height=64,
        num_inference_steps=3, sigmas=np.linspace(1, 1 / 5, 5)[2:],
        latents=(1 - sigma) * clean + sigma * noise_of(plan), output_type="latent",
    ).images  # fmt: skip
    expected = np.asarray(vae.decode(model, theirs[0]), np.int16)
    assert np.abs(picture_of(engine, plan, a=photo()) - expected).max() <= 1


@pytest.mark.parametrize("sampler", ["Euler", "DPM++ 2M"])
def test_batches_are_single_images(models: Models, plan_sd3: PlanMaker, sampler: str) -> None:
    plan = plan_sd3(count=2, sampler=sampler)
    prompts = ("a cat", "a long photo of a dog [at a castle:in the night:0.5], at night " * 8)
    check_batch(plan, prompts, models)


def test_sides_of_an_odd_number_of_latents(models: Models, plan_sd3: PlanMaker) -> None:
    latents = latents_of(plan_sd3(width=72, height=88), models)
    assert latents.shape == (1, 16, 11, 9) and torch.isfinite(latents).all()


def test_inpainting_keeps_what_is_not_masked(engine: Engine, plan_sd3: PlanMaker) -> None:
    check_inpainting(engine, plan_sd3(start=MASKED))


def test_a_second_pass(engine: Engine, plan_sd3: PlanMaker) -> None:
    plan = with_second_pass(plan_sd3(), UpscalerRef(name="Latent", kind="latent"))
    assert picture_of(engine, plan).shape == (96, 96, 3)


@pytest.mark.parametrize("method", ["Approx", "Full"])
def test_previews(engine: Engine, plan_sd3: PlanMaker, method: str) -> None:
    plan = plan_sd3(preview=PreviewPlan(every=1, method=method))
    assert preview_sizes(engine, plan) == [(64, 64)] * 3
