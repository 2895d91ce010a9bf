"""SDXL's whole road, against diffusers' own pipeline: texts, sizes, pictures, and what all families share."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from torch import Tensor, nn

from tests.engine_parts import (
    PlanMaker,
    check_batch,
    check_memory_mode,
    difference,
    latents_of,
    load_pipeline,
    picture_of,
    plans_of,
)
from tests.tiny_models import SCHEDULER
from tests.tiny_xl import POOLED, WIDTHS, make_folder, make_single_file
from webui.domain.models import Family
from webui.domain.plan import HiresPlan, Plan
from webui.domain.start import FromImage, FromMaskedImage
from webui.domain.upscaling import UpscalerRef
from webui.engine.condition import Condition, Encoding
from webui.engine.engine import Engine
from webui.engine.families import sdxl
from webui.engine.models import Models
from webui.engine.schedules import find_sigmas
from webui.weights.memory import Resident

# diffusers' schedulers turn tensors into numpy arrays in a way that numpy 2 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")
STEPS = 6
PICTURE, MASK = "a" * 64, "c" * 64


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("models") / "xl")


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_single_file(tmp_path_factory.mktemp("models") / "xl.safetensors")


@pytest.fixture(scope="module")
def plan_xl(make_plan: PlanMaker, folder: Path) -> PlanMaker:
    """Return a function like `make_plan` for the tiny SDXL."""
    return plans_of(make_plan, Family.SDXL, path=folder)


@pytest.fixture(scope="module")
def model(models: Models, plan_xl: PlanMaker) -> Resident:
    return models.get(plan_xl().model).resident


@pytest.fixture(scope="module")
def pipeline(folder: Path) -> Any:
    return load_pipeline(diffusers.StableDiffusionXLPipeline, folder)


# Texts


def encode(model: Resident, text: str, negative: bool = False, **encoding: Any) -> Condition:
    return sdxl.encode(model, text, Encoding(**encoding), negative=negative)


def test_texts_are_encoded_as_by_diffusers(pipeline: Any, model: Resident) -> None:
    with torch.inference_mode():
        states, _, pooled, _ = pipeline.encode_prompt("a photo of a cat, at night", device="cpu")
    condition = encode(model, "a photo of a cat, at night")
    assert condition.pooled is not None
    assert condition.states.shape == (77, sum(WIDTHS)) and condition.pooled.shape == (POOLED,)
    assert difference(condition.states, states[0]) < 1e-5
    assert difference(condition.pooled, pooled[0]) < 1e-5


def test_padding_is_what_each_tokenizer_says(model: Resident) -> None:
    """Behind the end token the second encoder sees token 0; padding of the first kind gives other states."""
    tokens = model.tokenizers["text_encoder_2"].encode("a cat")
    start, end = 49406, 49407
    rows = [[start, *tokens, end, *[padding] * (75 - len(tokens))] for padding in (0, end)]
    with model.on_device("text_encoder_2") as encoder, torch.inference_mode():
        right, wrong = encoder(torch.tensor(rows), output_hidden_states=True).hidden_states[-2]
    states = encode(model, "a cat").states[:, WIDTHS[0] :]
    assert torch.allclose(states, right, atol=1e-5)
    assert not torch.allclose(states, wrong, atol=1e-2)


def test_long_prompts_are_chunks_and_the_first_one_is_pooled(model: Resident) -> None:
    both, alone = encode(model, "cat " * 75 + "bird " * 20), encode(model, "cat " * 75)
    assert both.states.shape == (154, sum(WIDTHS))
    assert both.pooled is not None and alone.pooled is not None
    assert torch.allclose(both.states[:77], alone.states, atol=1e-5)
    assert torch.allclose(both.pooled, alone.pooled, atol=1e-5)
    assert torch.allclose(both.states[77:], encode(model, "bird " * 20).states, atol=1e-5)


def test_weights_act_on_each_encoders_states_alone(model: Resident) -> None:
    """Each half keeps its own mean ("Original"), and the pooled text has no weights."""
    plain, heavy = encode(model, "a cat"), encode(model, "a (cat:1.5)")
    raw = encode(model, "a (cat:1.5)", emphasis="No norm").states
    factors = torch.ones(77, 1)
    factors[2] = 1.5
    assert torch.allclose(raw, plain.states * factors, atol=1e-5)
    for part in (slice(0, WIDTHS[0]), slice(WIDTHS[0], None)):
        expected = raw[:, part] * (plain.states[:, part].mean() / raw[:, part].mean())
        assert torch.allclose(heavy.states[:, part], expected, rtol=1e-3, atol=1e-4)
    assert heavy.pooled is not None and plain.pooled is not None
    assert torch.equal(heavy.pooled, plain.pooled)


def test_no_negative_prompt_is_nothing_where_the_model_says_so(
    model: Resident, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty = encode(model, "", negative=True)
    assert empty.pooled is not None
    assert not empty.states.any() and not empty.pooled.any()
    assert encode(model, "").states.any(), "an empty prompt is a prompt"
    assert encode(model, "dull", negative=True).states.any()
    monkeypatch.setattr(model, "checkpoint", dataclasses.replace(model.checkpoint, zero_negative=False))
    assert torch.equal(encode(model, "", negative=True).states, encode(model, "").states)


def test_clip_skip_does_not_apply(model: Resident) -> None:
    assert torch.equal(encode(model, "a cat", clip_skip=2).states, encode(model, "a cat").states)


# The network call


def test_the_network_is_told_the_size_of_what_it_draws(model: Resident) -> None:
    told: list[dict[str, Tensor]] = []

    class Fake(nn.Module):
        def forward(self, latents: Tensor, timestep: Tensor, added_cond_kwargs: dict[str, Tensor], **_: object) -> Any:
            told.append(added_cond_kwargs)
            return (latents,)

    predict = sdxl.make_predict(model, Fake())
    condition = Condition(torch.zeros(2, 77, sum(WIDTHS)), torch.ones(2, POOLED))
    for height, width in ((8, 16), (16, 16), (8, 16)):
        predict(torch.zeros(2, 4, height, width), torch.tensor(1.0), condition)
    assert [each["time_ids"].tolist() for each in told] == [
        [[64, 128, 0, 0, 64, 128]] * 2,
        [[128, 128, 0, 0, 128, 128]] * 2,
        [[64, 128, 0, 0, 64, 128]] * 2,
    ]
    assert all(each["text_embeds"] is condition.pooled for each in told)


def test_sizes_and_pooled_text_matter(model: Resident) -> None:
    latents = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    condition = encode(model, "a cat")
    assert condition.pooled is not None
    states, pooled = condition.states.unsqueeze(0), condition.pooled.unsqueeze(0)
    with model.on_device("unet") as unet, torch.inference_mode():
        predict = sdxl.make_predict(model, unet)
        usual = predict(latents, torch.tensor(500.0), Condition(states, pooled))
        other = predict(latents, torch.tensor(500.0), Condition(states, torch.zeros_like(pooled)))
    assert difference(other, usual) > 1e-3


# Whole pictures


def run_theirs(pipeline: Any, plan: Plan, scheduler: Any, start: Tensor) -> Tensor:
    """Run the pipeline so that its latents begin at exactly `start`, whatever its scheduler multiplies noise by."""
    pipeline.scheduler = scheduler
    scheduler.set_timesteps(plan.steps)
    image = plan.images[0]
    return pipeline(
        image.prompt,
        negative_prompt=image.negative_prompt or None,
        guidance_scale=plan.guidance,
        num_inference_steps=plan.steps,
        height=plan.height,
        width=plan.width,
        latents=start / scheduler.init_noise_sigma,
        output_type="latent",
    ).images


@pytest.mark.parametrize("negative", ["", "dull, blurry"])
@pytest.mark.parametrize(
    ("sampler", "schedule", "guidance", "size"),
    [
        ("Euler", "Uniform", 7.5, (64, 64)),
        ("Euler", "Karras", 5.0, (96, 64)),
        ("Heun", "Karras", 7.5, (64, 64)),
        ("Euler", "Karras", 1.0, (64, 96)),
    ],
)
def test_the_same_latents_as_diffusers(
    pipeline: Any, models: Models, plan_xl: PlanMaker, sampler: str, schedule: str, guidance: float,
    size: tuple[int, int], negative: str,
) -> None:  # fmt: skip
    width, height = size
    plan = plan_xl(
        sampler=sampler, schedule=schedule, guidance=guidance, steps=STEPS, width=width, height=height,
        negative=negative,
    )  # fmt: skip
    kind = {"Euler": diffusers.EulerDiscreteScheduler, "Heun": diffusers.HeunDiscreteScheduler}[sampler]
    scheduler = kind.from_config(
        dict(SCHEDULER), use_karras_sigmas=schedule == "Karras", timestep_spacing="linspace", steps_offset=0
    )
    levels = sdxl.noise_levels(models.get(plan.model).resident)
    sigma = find_sigmas(sampler, schedule, STEPS, levels)[0]
    generator = torch.Generator().manual_seed(plan.images[0].seed)
    noise = torch.randn((1, 4, height // 8, width // 8), generator=generator)
    assert difference(latents_of(plan, models), run_theirs(pipeline, plan, scheduler, noise * sigma)) < 1e-4


def test_the_same_picture_as_diffusers(pipeline: Any, engine: Engine, models: Models, plan_xl: PlanMaker) -> None:
    """Decoded with SDXL's own factor on latents."""
    plan = plan_xl(steps=STEPS)
    latents = latents_of(plan, models)
    with torch.inference_mode():
        theirs = pipeline.vae.decode(latents / 0.13025, return_dict=False)[0]
    expected = ((theirs[0] / 2 + 0.5).clamp(0, 1) * 255).permute(1, 2, 0).numpy()
    assert np.abs(picture_of(engine, plan) - expected).max() <= 1


def test_both_layouts_draw_the_same(models: Models, plan_xl: PlanMaker, file: Path) -> None:
    plans = plan_xl(prompt="a (cat:1.2)!"), plan_xl(path=file, prompt="a (cat:1.2)!")
    ours, theirs = (latents_of(plan, models) for plan in plans)
    assert difference(ours, theirs) < 1e-4


def test_batches_are_single_images(models: Models, plan_xl: PlanMaker) -> None:
    """With prompts of different length, and one that changes on the way."""
    plan = plan_xl(count=3)
    prompts = "a cat", "bird " * 80, "a [castle:house:2]"
    check_batch(plan, prompts, models)


def test_joined_prompts(models: Models, plan_xl: PlanMaker) -> None:
    joined = latents_of(plan_xl(prompt="a cat AND a castle at night :0.5"), models)
    assert difference(joined, latents_of(plan_xl(prompt="a cat"), models)) > 1e-2


@pytest.mark.parametrize("mode", ["medvram", "lowvram"])
def test_every_memory_mode_draws_the_same(
    models: Models, plan_xl: PlanMaker, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_memory_mode(plan_xl(), models, mode, monkeypatch)


# What all families share


def photo() -> Image.Image:
    coarse = np.random.default_rng(3).integers(0, 256, (8, 8, 3), np.uint8)
    return Image.fromarray(coarse).resize((64, 64), Image.Resampling.BICUBIC)


def test_a_picture_is_the_start(engine: Engine, plan_xl: PlanMaker) -> None:
    def distance(strength: float) -> float:
        plan = plan_xl(start=FromImage(images=(PICTURE,), strength=strength), steps=8)
        return float(np.abs(picture_of(engine, plan, a=photo()) - base).mean())

    base = picture_of(engine, plan_xl(start=FromImage(images=(PICTURE,), strength=0.01), steps=8), a=photo())
    assert distance(0.2) < distance(0.9)


@pytest.mark.parametrize("channels", [4, 9])
def test_what_is_not_masked_stays(engine: Engine, plan_xl: PlanMaker, tmp_path: Path, channels: int) -> None:
    path = make_folder(tmp_path / f"xl{channels}", channels=channels)
    mask = Image.new("L", (64, 64))
    ImageDraw.Draw(mask).rectangle((16, 16, 32, 32), fill=255)
    plan = plan_xl(path=path, start=FromMaskedImage(images=(PICTURE,), mask=MASK, strength=1.0, mask_blur=0))
    picture = picture_of(engine, plan, a=photo(), c=mask)
    before = np.asarray(photo(), np.int16)
    outside = np.asarray(mask) == 0
    assert (picture[outside] == before[outside]).all()
    assert np.abs(picture[~outside] - before[~outside]).mean() > 5


@pytest.mark.parametrize(
    "upscaler", [UpscalerRef(name="Latent", kind="latent"), UpscalerRef(name="Lanczos", kind="plain")]
)
def test_a_second_pass(engine: Engine, plan_xl: PlanMaker, upscaler: UpscalerRef) -> None:
    plan = plan_xl()
    hires = HiresPlan(
        width=128, height=96, enlarged=(128, 96), steps=2, strength=0.6, upscaler=upscaler, sampler=plan.sampler,
        schedule=plan.schedule, guidance=plan.guidance, sampling=plan.sampling,
    )  # fmt: skip
    picture = picture_of(engine, plan.replace(hires=hires))
    assert picture.shape == (96, 128, 3)
    other = picture_of(engine, plan.replace(hires=hires, images=(plan.images[0].replace(hires_prompt="a castle"),)))
    assert np.abs(picture - other).max() > 0
