"""The second pass: equal to img2img of the enlarged result written out by hand, whatever enlarges it."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from tests.engine_parts import latents_of
from tests.tiny_upscalers import compact_weights, write
from webui.domain.events import ImageFailed, ImageSkipped, Loading, Stepped
from webui.domain.models import Family
from webui.domain.plan import HiresPlan, ModelRef, Plan, PreviewPlan, SamplingPlan
from webui.domain.start import FromImage, FromNoise
from webui.domain.upscaling import LATENT_UPSCALERS, UpscalerRef
from webui.engine import hires
from webui.engine.condition import Encoding, stack
from webui.engine.control import Control
from webui.engine.engine import Engine, EngineOptions, ImageReady, PreviewImage
from webui.engine.families import sd1
from webui.engine.models import Models
from webui.engine.schedules import find_sigmas
from webui.engine.upscale import upscale
from webui.engine.vae import decode, encode

PlanMaker = Callable[..., Plan]
PICTURE = "a" * 64


def second(upscaler: str | UpscalerRef = "Latent", size: tuple[int, int] = (96, 96), **changes: Any) -> HiresPlan:
    if isinstance(upscaler, str):
        upscaler = UpscalerRef(name=upscaler, kind="latent" if upscaler in LATENT_UPSCALERS else "plain")
    plan = HiresPlan(
        width=size[0], height=size[1], enlarged=size, upscaler=upscaler, steps=3, strength=0.5, sampler="Euler",
        schedule="Automatic", guidance=5.0, sampling=SamplingPlan(),
    )  # fmt: skip
    return plan.replace(**changes)


def run(engine: Engine, plan: Plan, control: Control | None = None, **inputs: Image.Image) -> list[Any]:
    return list(engine.run(plan, control or Control(), {name * 64: image for name, image in inputs.items()}))


def images(happened: list[Any]) -> list[Image.Image]:
    return [item.image for item in happened if isinstance(item, ImageReady)]


def pixels(happened: list[Any]) -> list[np.ndarray]:
    return [np.asarray(image, np.int16) for image in images(happened)]


def by_hand(plan: Plan, enlarged: Tensor, models: Models, model: ModelRef | None = None) -> Tensor:
    """Return what Euler makes of `enlarged` [1,C,h,w] with new noise, written out: img2img's last steps."""
    made = plan.hires
    assert made is not None
    image, loaded = plan.images[0], models.get(model or plan.model)
    levels = sd1.noise_levels(loaded.resident)
    sigmas = find_sigmas("Euler", "Automatic", made.schedule_steps, levels)[-made.steps - 1 :]
    context = [
        loaded.prompts.positive(image.prompt, 1, Encoding.of(plan))[0].conditions[0],
        loaded.prompts.negative(image.negative_prompt, 1, Encoding.of(plan)).conditions[0],
    ]
    generator = torch.Generator().manual_seed(image.seed)
    latents = enlarged + torch.randn(enlarged.shape[1:], generator=generator) * sigmas[0]
    with loaded.resident.on_device("unet") as unet, torch.inference_mode():
        predict = sd1.make_predict(loaded.resident, unet)
        for sigma, following in pairwise(sigmas):
            scaled, time = latents / (sigma**2 + 1) ** 0.5, torch.tensor(levels.timestep(sigma))
            noise, without = (predict(scaled, time, stack([each])) for each in context)
            latents = latents + (without + made.guidance * (noise - without)) * (following - sigma)
    return latents


def close(one: Tensor, other: Tensor) -> bool:
    return bool((one - other).abs().max() < 1e-3 * other.std())


# What the second pass begins with


@pytest.mark.parametrize("upscaler", list(LATENT_UPSCALERS))
def test_latents_are_enlarged_and_sampled_again(models: Models, make_plan: PlanMaker, upscaler: str) -> None:
    mode, antialias = LATENT_UPSCALERS[upscaler]
    plan = make_plan(hires=second(upscaler, (96, 128)))
    first = latents_of(plan.replace(hires=None), models)
    enlarged = functional.interpolate(first, (16, 12), mode=mode, antialias=antialias)
    assert close(latents_of(plan, models), by_hand(plan, enlarged, models))


@pytest.mark.parametrize("upscaler", ["Lanczos", "Nearest", "None"])
def test_pictures_are_enlarged_encoded_and_sampled_again(models: Models, make_plan: PlanMaker, upscaler: str) -> None:
    plan = make_plan(hires=second(upscaler))
    resident = models.get(plan.model).resident
    picture = decode(resident, latents_of(plan.replace(hires=None), models)[0])
    way = Image.Resampling.NEAREST if upscaler == "Nearest" else Image.Resampling.LANCZOS
    enlarged = encode(resident, picture.resize((96, 96), way)).unsqueeze(0)
    assert close(latents_of(plan, models), by_hand(plan, enlarged, models))


@pytest.fixture
def doubling(tmp_path: Path) -> UpscalerRef:
    path = write(tmp_path / "x2.safetensors", compact_weights(2))
    return UpscalerRef(name="x2", kind="network", path=path, sha256="2" * 64, tile=32)


def test_a_network_enlarges_pictures(models: Models, make_plan: PlanMaker, doubling: UpscalerRef) -> None:
    """It doubles them, and Lanczos brings them to the size that was asked for."""
    plan = make_plan(hires=second(upscaler=doubling))
    resident = models.get(plan.model).resident
    picture = decode(resident, latents_of(plan.replace(hires=None), models)[0])
    enlarged = encode(resident, upscale(picture, doubling, 96, 96, models.upscalers, Control())).unsqueeze(0)
    assert close(latents_of(plan, models), by_hand(plan, enlarged, models))


@pytest.mark.parametrize("upscaler", ["Latent (nearest)", "Nearest"])
def test_what_is_too_much_is_cut_off_evenly(models: Models, make_plan: PlanMaker, upscaler: str) -> None:
    """From 64×64 to 96×72: enlarged to a square of which 3 rows of latents go, one above and two below (A1111)."""
    plan = make_plan(hires=second(upscaler, (96, 72), enlarged=(96, 96)))
    whole = plan.replace(hires=second(upscaler))
    resident = models.get(plan.model).resident
    first = latents_of(plan.replace(hires=None), models)
    if upscaler == "Nearest":
        picture = decode(resident, first[0]).resize((96, 96), Image.Resampling.NEAREST)
        enlarged = hires.encode_pictures([picture], whole.hires, resident)
    else:
        enlarged = hires.enlarge_latents(first, whole.hires, Family.SD1)
    made = latents_of(plan, models)
    assert made.shape == (1, 4, 9, 12)
    assert close(made, by_hand(plan, enlarged[:, :, 1:10], models))


def test_another_checkpoint_for_the_second_pass(models: Models, make_plan: PlanMaker, other_model: ModelRef) -> None:
    plan = make_plan(hires=second(model=other_model))
    first = latents_of(plan.replace(hires=None), models)
    enlarged = hires.enlarge_latents(first, plan.hires, Family.SD1)
    made = latents_of(plan, models)
    assert close(made, by_hand(plan, enlarged, models, other_model))
    assert not close(made, by_hand(plan, enlarged, models))


def test_the_picture_is_decoded_by_the_second_checkpoint(
    options: EngineOptions, models: Models, make_plan: PlanMaker, other_model: ModelRef
) -> None:
    plan = make_plan(hires=second(model=other_model))
    happened = run(Engine(options), plan)
    wanted = decode(models.get(other_model).resident, latents_of(plan, models)[0])
    assert np.abs(pixels(happened)[0] - np.asarray(wanted, np.int16)).max() <= 1
    assert [item.model for item in happened if isinstance(item, Loading)] == ["tiny", "other"]


def test_its_own_prompt_sampler_and_guidance(models: Models, make_plan: PlanMaker) -> None:
    plan = make_plan(hires=second())
    image = plan.images[0].replace(hires_prompt="a dog", hires_negative_prompt="bright")
    usual = latents_of(plan, models)
    asked = plan.replace(images=(image,))
    enlarged = hires.enlarge_latents(latents_of(plan.replace(hires=None), models), plan.hires, Family.SD1)
    in_its_place = asked.replace(images=(image.replace(prompt="a dog", negative_prompt="bright"),))
    assert close(latents_of(asked, models), by_hand(in_its_place, enlarged, models))
    assert not close(latents_of(asked, models), usual)
    for changes in ({"guidance": 2.0}, {"sampler": "DPM++ 2M"}, {"schedule": "Karras"}, {"strength": 0.9}):
        assert not close(latents_of(plan.replace(hires=second(**changes)), models), usual), changes


def test_edits_count_on_behind_the_first_pass(models: Models, make_plan: PlanMaker) -> None:
    """4 steps and 3 more: an edit after step 6 changes the call behind it, the last of the second pass."""

    def made(prompt: str) -> Tensor:
        return latents_of(make_plan(prompt=prompt, hires=second()), models)

    cat, dog = made("a cat"), made("a dog")
    assert close(made("a [cat:dog:40]"), cat)
    assert close(made("a [cat:dog:2.0]"), cat)
    assert not close(made("a [cat:dog:5]"), cat)
    assert not close(made("a [cat:dog:5]"), dog)
    assert not close(made("a [cat:dog:0.9]"), cat), "a fraction below 1 lies in the first pass"


# A finished picture in the first pass's place


@pytest.mark.parametrize("upscaler", ["Latent", "Lanczos"])
def test_a_finished_picture_goes_through_the_second_pass_alone(
    engine: Engine, models: Models, make_plan: PlanMaker, upscaler: str
) -> None:
    plan = make_plan(hires=second(upscaler))
    picture = images(run(engine, make_plan(seed=3)))[0]
    resident = models.get(plan.model).resident
    if upscaler == "Latent":
        enlarged = functional.interpolate(encode(resident, picture).unsqueeze(0), (12, 12), mode="bilinear")
    else:
        enlarged = encode(resident, picture.resize((96, 96), Image.Resampling.LANCZOS)).unsqueeze(0)
    wanted = decode(resident, by_hand(plan, enlarged, models)[0])
    happened = run(engine, plan.replace(start=FromImage(images=(PICTURE,))), a=picture)
    assert np.abs(pixels(happened)[0] - np.asarray(wanted, np.int16)).max() <= 1
    assert [(item.step, item.steps) for item in happened if isinstance(item, Stepped)] == [(1, 3), (2, 3), (3, 3)]


# What happens meanwhile


def test_steps_and_previews_count_through_both_passes(engine: Engine, make_plan: PlanMaker) -> None:
    plan = make_plan(hires=second(), preview=PreviewPlan(every=2))
    run(engine, plan)  # loaded from here on
    happened = run(engine, plan)
    steps = [(item.step, item.steps) for item in happened if isinstance(item, Stepped)]
    assert steps == [(step, plan.total_steps) for step in range(1, 8)]
    assert [item.image.size for item in happened if isinstance(item, PreviewImage)] == [(64, 64)] * 2 + [(96, 96)]
    assert images(happened)[0].size == plan.size == (96, 96)


@pytest.mark.parametrize("sampler", ["Euler a", "DPM++ SDE", "DPM adaptive", "DDIM", "LCM", "Restart"])
def test_image_k_of_a_batch_is_the_single_image_of_its_seed(engine: Engine, make_plan: PlanMaker, sampler: str) -> None:
    asked = second(size=(80, 72), sampler=sampler, steps=2)
    together = pixels(run(engine, make_plan(count=2, hires=asked)))
    alone = pixels(run(engine, make_plan(seed=8, hires=asked)))
    assert together[1].shape == (72, 80, 3)
    assert np.abs(together[1] - alone[0]).max() <= 1


def stop_at(engine: Engine, plan: Plan, step: int, flag: str) -> list[Any]:
    control, happened = Control(), []
    for item in engine.run(plan, control):
        happened.append(item)
        if isinstance(item, Stepped) and item.step == step and item.batch == 0:
            setattr(control, flag, True)
    return happened


@pytest.mark.parametrize(("step", "size"), [(2, 64), (4, 64), (6, 96), (7, 96)])
def test_interrupted_it_shows_how_far_it_came(engine: Engine, make_plan: PlanMaker, step: int, size: int) -> None:
    plan = make_plan(count=2, batch_size=1, hires=second())
    happened = stop_at(engine, plan, step, "interrupted")
    assert [image.size for image in images(happened)] == [(size, size)]
    assert max(item.step for item in happened if isinstance(item, Stepped)) == step


def test_interrupted_behind_the_first_pass_it_shows_that_ones_picture(engine: Engine, make_plan: PlanMaker) -> None:
    plan = make_plan(hires=second())
    first = pixels(run(engine, plan.replace(hires=None)))[0]
    assert (pixels(stop_at(engine, plan, 4, "interrupted"))[0] == first).all()


@pytest.mark.parametrize("flag", ["interrupted", "skipped"])
@pytest.mark.parametrize("begins_with_picture", [False, True])
def test_stopped_while_a_network_enlarges(
    engine: Engine, make_plan: PlanMaker, doubling: UpscalerRef, flag: str, begins_with_picture: bool
) -> None:
    """The first pass's picture is kept; a finished picture needs no keeping."""
    start = FromImage(images=(PICTURE,)) if begins_with_picture else FromNoise()
    plan = make_plan(count=2, batch_size=1, start=start, hires=second(upscaler=doubling))
    control, happened = Control(), []
    for item in engine.run(plan, control, {PICTURE: Image.new("RGB", (64, 64), "red")}):
        if item == Loading(model="x2") and item not in happened:
            setattr(control, flag, True)
        happened.append(item)
    sizes = {item.index: item.image.size for item in happened if isinstance(item, ImageReady)}
    skipped = [item.index for item in happened if isinstance(item, ImageSkipped)]
    if flag == "skipped":
        assert (sizes, skipped) == ({1: (96, 96)}, [0])
    else:
        assert (sizes, skipped) == ({} if begins_with_picture else {0: (64, 64)}, [])


@pytest.mark.parametrize("step", [2, 4, 6])
def test_skipped_in_either_pass_the_next_batch_comes(engine: Engine, make_plan: PlanMaker, step: int) -> None:
    happened = stop_at(engine, make_plan(count=2, batch_size=1, hires=second()), step, "skipped")
    assert [item.index for item in happened if isinstance(item, ImageSkipped)] == [0]
    assert [item.index for item in happened if isinstance(item, ImageReady)] == [1]


def test_an_image_that_is_broken_does_not_break_the_others(
    engine: Engine, make_plan: PlanMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first pass of image 0 is no numbers: it fails, its neighbour goes through both passes."""
    make_predict = sd1.make_predict

    def breaking(*given: Any) -> Any:
        predict = make_predict(*given)

        def broken(latents: Tensor, *more: Tensor) -> Tensor:
            output = predict(latents, *more)
            if latents.shape[-1] == 8:
                output[::2] = torch.nan  # the rows are negative 0, negative 1, prompt 0, prompt 1
            return output

        return broken

    for upscaler in ("Latent", "Lanczos"):
        plan = make_plan(count=2, hires=second(upscaler))
        alone = pixels(run(engine, make_plan(seed=8, hires=second(upscaler))))[0]
        with monkeypatch.context() as patch:
            patch.setattr(sd1, "make_predict", breaking)
            happened = run(engine, plan)
        assert [item.index for item in happened if isinstance(item, ImageFailed)] == [0]
        assert [item.index for item in happened if isinstance(item, ImageReady)] == [1]
        assert np.abs(pixels(happened)[0] - alone).max() <= 1
