"""Flux's whole road, against diffusers' own pipeline: texts, noise levels, pictures, and what all families share."""

from __future__ import annotations

import json
import shutil
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
    check_memory_mode,
    difference,
    latents_of,
    load_pipeline,
    noise_of,
    photo,
    picture_of,
    pictures_of,
    plans_of,
    preview_sizes,
    with_second_pass,
)
from tests.tiny_flux import SCHEDULERS, WIDTHS, make_folder
from tests.tiny_models import write_json
from webui.domain.models import Family
from webui.domain.plan import Plan, PreviewPlan
from webui.domain.sampling import SCHEDULES
from webui.domain.start import FromImage
from webui.domain.upscaling import UpscalerRef
from webui.engine import vae
from webui.engine.condition import Condition, Encoding
from webui.engine.engine import Engine
from webui.engine.families import flux
from webui.engine.models import Models
from webui.engine.schedules import find_sigmas
from webui.weights.memory import Resident

# diffusers' schedulers turn tensors into numpy arrays in a way that numpy 2 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")
LENGTHS = {"dev": 512, "schnell": 256}
KINDS = tuple(LENGTHS)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    home = tmp_path_factory.mktemp("models")
    return {kind: make_folder(home / kind, kind) for kind in KINDS}


@pytest.fixture(scope="module")
def plan_flux(make_plan: PlanMaker, folders: dict[str, Path]) -> PlanMaker:
    """Return a function like `make_plan` for a tiny Flux."""

    def make(*, kind: str = "dev", **changes: Any) -> Plan:
        usual = {"guidance": 1.0, "distilled_guidance": 3.5 if kind == "dev" else None}
        return plans_of(make_plan, Family.FLUX, path=folders[kind], **usual)(**changes)

    return make


@pytest.fixture(scope="module")
def model(models: Models, plan_flux: PlanMaker) -> Resident:
    return models.get(plan_flux().model).resident


@pytest.fixture(scope="module")
def pipelines(folders: dict[str, Path]) -> dict[str, Any]:
    return {kind: load_pipeline(diffusers.FluxPipeline, folder) for kind, folder in folders.items()}


# Texts


def encode(model: Resident, text: str, **encoding: Any) -> Condition:
    return flux.encode(model, text, Encoding(**{"distilled_guidance": 3.5, **encoding}))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("text", ["a photo of a cat, at night", "", "dog " * 600])
def test_texts_are_encoded_as_by_diffusers(
    pipelines: dict[str, Any], models: Models, plan_flux: PlanMaker, kind: str, text: str
) -> None:
    with torch.no_grad():
        states, pooled, _ = pipelines[kind].encode_prompt(text, None, max_sequence_length=LENGTHS[kind])
    condition = encode(models.get(plan_flux(kind=kind).model).resident, text)
    assert condition.pooled is not None
    assert condition.states.shape == (LENGTHS[kind], WIDTHS[1]) and condition.pooled.shape == (WIDTHS[0],)
    assert difference(condition.states, states[0]) < 1e-4
    assert difference(condition.pooled, pooled[0]) < 1e-4
    assert (condition.guidance is None) == (kind == "schnell")


@pytest.mark.parametrize("text", ["a cat, at night", "dog " * 60])
def test_a_model_may_read_less_of_a_text(
    pipelines: dict[str, Any], models: Models, plan_flux: PlanMaker, folders: dict[str, Path], tmp_path: Path, text: str
) -> None:
    folder = Path(shutil.copytree(folders["dev"], tmp_path / "short"))
    settings = folder / "tokenizer_2" / "tokenizer_config.json"
    write_json(settings, json.loads(settings.read_text("utf-8")) | {"model_max_length": 40})
    with torch.no_grad():
        states, _, _ = pipelines["dev"].encode_prompt(text, None, max_sequence_length=40)
    condition = encode(models.get(plan_flux().model.replace(path=folder)).resident, text)
    assert condition.states.shape == (40, WIDTHS[1])
    assert difference(condition.states, states[0]) < 1e-4


def test_weights_act_on_the_states_of_t5_alone(model: Resident) -> None:
    """Of "a", "cat" and the end, the second is heavier; the pooled text has no weights."""
    plain, heavy = encode(model, "a cat"), encode(model, "a (cat:1.5)", emphasis="No norm")
    factors = torch.ones(512, 1)
    factors[1] = 1.5
    assert torch.allclose(heavy.states, plain.states * factors, atol=1e-5)
    assert torch.equal(encode(model, "a (cat:1.5)", emphasis="Ignore").states, plain.states)
    assert heavy.pooled is not None and plain.pooled is not None
    assert torch.equal(heavy.pooled, plain.pooled)


# Noise levels


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(64, 64), (1024, 1024), (1920, 1080), (72, 64)])
@pytest.mark.parametrize("steps", [1, 4, 20, 23])
@pytest.mark.parametrize("schedule", ["Automatic", "Simple"])
def test_the_same_noise_levels_as_diffusers(
    models: Models, plan_flux: PlanMaker, kind: str, size: tuple[int, int], steps: int, schedule: str
) -> None:
    levels = flux.noise_levels(models.get(plan_flux(kind=kind).model).resident, size)
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler.from_config(dict(SCHEDULERS[kind]))
    tokens = -(-size[0] // 16) * -(-size[1] // 16)
    mu = diffusers.pipelines.flux.pipeline_flux.calculate_shift(tokens)
    scheduler.set_timesteps(sigmas=np.linspace(1.0, 1 / steps, steps), mu=mu)
    ours = find_sigmas("DPM++ 2M", schedule, steps, levels, family=Family.FLUX)
    assert ours == pytest.approx(scheduler.sigmas.tolist(), abs=1e-6)
    assert [levels.timestep(sigma) for sigma in ours[:-1]] == pytest.approx(scheduler.timesteps.tolist(), abs=1e-3)


@pytest.mark.parametrize("schedule", [info.label for info in SCHEDULES if info.fits_flow])
def test_schedules_stay_between_the_levels_of_flow(model: Resident, schedule: str) -> None:
    levels = flux.noise_levels(model, (1024, 1024))
    sigmas = find_sigmas("Euler", schedule, 10, levels, family=Family.FLUX)
    assert sigmas == sorted(sigmas, reverse=True) and len(set(sigmas)) == len(sigmas)
    assert 0.9 < sigmas[0] <= 1 and sigmas[-1] < 0.01


def test_positions_are_the_inverse_of_levels(model: Resident) -> None:
    levels = flux.noise_levels(model, (512, 512))
    for place in (0, 1, 499.5, 998, 999):
        assert levels.position(levels.sigma(place)) == pytest.approx(place)
    assert levels.position(1e-9) == 0
    assert (levels.lowest, levels.highest) == (levels.sigma(0), levels.sigma(999)) and levels.highest == 1


# The network call


def test_packing_is_diffusers() -> None:
    latents = torch.randn(2, 16, 6, 8)
    packed = diffusers.FluxPipeline._pack_latents(latents, 2, 16, 6, 8)
    assert torch.equal(flux.pack(latents), packed)
    assert torch.equal(flux.unpack(packed, 3, 4), latents)


def test_guidance_matters(models: Models, plan_flux: PlanMaker) -> None:
    strong, weak = (latents_of(plan_flux(distilled_guidance=scale), models) for scale in (3.5, 1.0))
    assert difference(strong, weak) > 1e-3


# Whole pictures


@pytest.mark.parametrize("guidance", [1.0, 3.0])
@pytest.mark.parametrize("size", [(64, 64), (128, 96)])
@pytest.mark.parametrize("kind", KINDS)
def test_the_same_latents_as_diffusers(
    pipelines: dict[str, Any], models: Models, plan_flux: PlanMaker, kind: str, size: tuple[int, int], guidance: float
) -> None:
    """With guidance 3 true classifier-free guidance, with the negative prompt; at 1 without."""
    plan = plan_flux(kind=kind, guidance=guidance, width=size[0], height=size[1], steps=5, negative="dull dog")
    theirs = pipelines[kind](
        plan.images[0].prompt, negative_prompt=plan.images[0].negative_prompt, true_cfg_scale=guidance,
        guidance_scale=3.5, width=size[0], height=size[1], num_inference_steps=5, latents=flux.pack(noise_of(plan)),
        output_type="latent", max_sequence_length=LENGTHS[kind],
    ).images  # fmt: skip
    assert difference(latents_of(plan, models), flux.unpack(theirs, size[1] // 16, size[0] // 16)) < 1e-3


def test_the_same_picture_as_diffusers(
    pipelines: dict[str, Any], engine: Engine, models: Models, plan_flux: PlanMaker
) -> None:
    """Decoded with the scale and the shift of the model."""
    plan = plan_flux()
    latents = latents_of(plan, models)
    with torch.inference_mode():
        theirs = pipelines["dev"].vae.decode(latents / 0.3611 + 0.1159, return_dict=False)[0]
    expected = ((theirs[0] / 2 + 0.5).clamp(0, 1) * 255).permute(1, 2, 0).numpy()
    assert np.abs(picture_of(engine, plan) - expected).max() <= 1


def test_a_picture_is_mixed_with_noise_as_by_diffusers(
    pipelines: dict[str, Any], engine: Engine, models: Models, plan_flux: PlanMaker, model: Resident
) -> None:
    """Three of five steps: at strength 0.5, int(0.5 · 5) + 1 of them are run (A1111's rule)."""
    plan = plan_flux(steps=5, start=FromImage(images=(PICTURE,), strength=0.5))
    pipeline = pipelines["dev"]
    pixels = torch.from_numpy(np.array(photo())).permute(2, 0, 1).float() / 127.5 - 1
    with torch.inference_mode():
        clean = (pipeline.vae.encode(pixels.unsqueeze(0)).latent_dist.mean - 0.1159) * 0.3611
    sigma = find_sigmas("Euler", "Simple", 5, flux.noise_levels(model, (64, 64)), family=Family.FLUX)[2]
    start = (1 - sigma) * clean + sigma * noise_of(plan)
    theirs = pipeline(
        plan.images[0].prompt, guidance_scale=3.5, width=64, height=64, num_inference_steps=3,
        sigmas=np.linspace(1, 1 / 5, 5)[2:], latents=flux.pack(start), output_type="latent",
    ).images  # fmt: skip
    expected = np.asarray(vae.decode(model, flux.unpack(theirs, 4, 4)[0]), np.int16)
    assert np.abs(picture_of(engine, plan, a=photo()) - expected).max() <= 1


@pytest.mark.parametrize("sampler", ["Euler", "Euler a", "DPM++ 2M", "Heun"])
def test_batches_are_single_images(models: Models, plan_flux: PlanMaker, sampler: str) -> None:
    """With prompts of different length, and one that changes on the way."""
    plan = plan_flux(count=3, sampler=sampler, guidance=2.0)
    if sampler == "Euler a":
        plan = plan.replace(sampling=plan.sampling.replace(eta=1.0))
    prompts = "a cat", "bird " * 80, "a [castle:dog:2]"
    check_batch(plan, prompts, models)


def test_joined_prompts(models: Models, plan_flux: PlanMaker) -> None:
    joined = latents_of(plan_flux(prompt="a cat AND a castle at night :0.5"), models)
    assert difference(joined, latents_of(plan_flux(prompt="a cat"), models)) > 1e-2


def test_sides_of_an_odd_number_of_latents(models: Models, plan_flux: PlanMaker) -> None:
    latents = latents_of(plan_flux(width=72, height=88), models)
    assert latents.shape == (1, 16, 11, 9) and torch.isfinite(latents).all()


@pytest.mark.parametrize("mode", ["medvram", "lowvram"])
def test_every_memory_mode_draws_the_same(
    models: Models, plan_flux: PlanMaker, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_memory_mode(plan_flux(), models, mode, monkeypatch)


def test_inpainting_keeps_what_is_not_masked(engine: Engine, models: Models, plan_flux: PlanMaker) -> None:
    check_inpainting(engine, plan_flux(start=MASKED))


@pytest.mark.parametrize(
    "upscaler", [UpscalerRef(name="Latent", kind="latent"), UpscalerRef(name="Lanczos", kind="plain")]
)
def test_a_second_pass(engine: Engine, plan_flux: PlanMaker, upscaler: UpscalerRef) -> None:
    plan = with_second_pass(plan_flux(), upscaler)
    assert picture_of(engine, plan).shape == (96, 96, 3)


@pytest.mark.parametrize("method", ["Approx", "Full"])
def test_previews(engine: Engine, plan_flux: PlanMaker, method: str) -> None:
    plan = plan_flux(preview=PreviewPlan(every=1, method=method))
    assert preview_sizes(engine, plan) == [(64, 64)] * 3


def test_the_transformer_is_named_in_the_facts(engine: Engine, plan_flux: PlanMaker) -> None:
    pictures_of(engine, plan_flux())
    facts = engine.facts()
    assert facts["dtype"] == "float32"
    assert set(facts["dtypes"]) == {"transformer", "vae", "text_encoder", "text_encoder_2"}  # type: ignore[call-overload]
