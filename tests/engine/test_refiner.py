"""The refiner: the second checkpoint takes over where A1111 lets it, with the latents and the prompts as they stand."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.engine_parts import latents_of
from webui.domain.events import Loading, Stepped
from webui.domain.plan import HiresPlan, ModelRef, Plan, RefinerPlan, SamplingPlan
from webui.domain.upscaling import UpscalerRef
from webui.engine import samplers
from webui.engine.condition import Encoding, stack
from webui.engine.control import Control
from webui.engine.engine import Engine, EngineOptions, ImageReady
from webui.engine.families import sd1
from webui.engine.generate import Batch, draw
from webui.engine.models import Models
from webui.engine.noise import NoiseSource
from webui.engine.samplers import Setup
from webui.engine.sampling import is_reached
from webui.engine.schedules import find_sigmas
from webui.engine.vae import decode
from webui.weights.memory import ModelCache, Placement, cache

PlanMaker = Callable[..., Plan]


def refine(model: ModelRef, switch_at: float) -> RefinerPlan:
    return RefinerPlan(model=model, switch_at=switch_at)


def by_hand(plan: Plan, models: Models, refiner: ModelRef, switch_at: float) -> tuple[Tensor, list[str]]:
    """Return the latents, and which model each network call went to: A1111's rule on a plain loop over both models."""
    image, encoding, calls = plan.images[0], Encoding.of(plan), []
    total = plan.steps * (2 if plan.sampler == "Heun" else 1)
    levels = sd1.noise_levels(models.get(plan.model).resident)
    trained = torch.tensor([levels.sigma(index) for index in range(1000)])

    def denoise(latents: Tensor, sigma: float) -> Tensor:
        done = (999 - int(torch.argmin((trained - sigma).abs()))) / 1000
        reference = refiner if done >= switch_at else plan.model
        loaded = models.get(reference)
        positive = loaded.prompts.positive(image.prompt, total, encoding)[0].at(len(calls))
        negative = loaded.prompts.negative(image.negative_prompt, total, encoding).at(len(calls))
        calls.append(reference.name)
        with loaded.resident.on_device("unet") as unet, torch.inference_mode():
            predict = sd1.make_predict(loaded.resident, unet)
            scaled, time = latents / (sigma**2 + 1) ** 0.5, torch.tensor(levels.timestep(sigma))
            prompted, without = (predict(scaled, time, stack([each])) for each in (positive, negative))
        return latents - sigma * (without + plan.guidance * (prompted - without))

    sigmas = find_sigmas(plan.sampler, plan.schedule, plan.steps, levels)
    noise = NoiseSource([image.seed], (4, 8, 8), lambda tensor: tensor)
    setup = Setup(eta=0.0, levels=levels)
    *_, last = samplers.find(plan.sampler).sample(denoise, noise.begin() * sigmas[0], sigmas, noise, setup)
    return last.latents, calls


def close(one: Tensor, other: Tensor) -> bool:
    return bool((one - other).abs().max() < 1e-3 * other.std())


@pytest.mark.parametrize("switch_at", [0.2, 0.5, 0.8])
@pytest.mark.parametrize(("sampler", "schedule"), [("Euler", "Uniform"), ("DPM++ 2M", "Karras"), ("Heun", "Automatic")])
def test_it_takes_over_where_the_share_of_noise_levels_is_reached(
    models: Models, make_plan: PlanMaker, other_model: ModelRef, sampler: str, schedule: str, switch_at: float
) -> None:
    plan = make_plan(sampler=sampler, schedule=schedule, steps=6, prompt="a [cat:dog:3]")
    wanted, calls = by_hand(plan, models, other_model, switch_at)
    assert len(set(calls)) == 2
    made = latents_of(plan.replace(refiner=refine(other_model, switch_at)), models)
    assert close(made, wanted)
    assert not close(made, latents_of(plan, models))


def test_a_share_that_is_never_reached_changes_nothing(
    models: Models, make_plan: PlanMaker, other_model: ModelRef
) -> None:
    plan = make_plan(sampler="DPM++ 2M", schedule="Uniform")
    assert torch.equal(
        latents_of(plan.replace(refiner=refine(other_model, 1.0)), models),
        latents_of(plan.replace(refiner=None), models),
    )


def test_the_share_is_one_of_noise_levels_not_of_steps(
    models: Models, make_plan: PlanMaker, other_model: ModelRef
) -> None:
    levels = sd1.noise_levels(models.get(make_plan().model).resident)
    for index in (0, 1, 199, 200, 499, 998, 999):
        share = (999 - index) / 1000
        sigma = levels.sigma(index) * 1.0001
        assert is_reached(refine(other_model, max(share, 0.01)), sigma, levels) == (share >= 0.01)
        assert not is_reached(refine(other_model, share + 0.001), sigma, levels)
    assert is_reached(refine(other_model, 1 - 1 / 1000), 1e-6, levels), "below the lowest level"


def test_what_happens_in_order(options: EngineOptions, make_plan: PlanMaker, other_model: ModelRef) -> None:
    """Uniform: steps at timesteps 999, 666, 333, 0. The first model stays in memory for the next plan."""
    engine = Engine(options)
    plan = make_plan(schedule="Uniform", refiner=refine(other_model, 0.5))

    def happened() -> list[str]:
        return [
            f"loading {item.model}" if isinstance(item, Loading) else f"step {item.step}"
            for item in engine.run(plan, Control())
            if isinstance(item, Loading | Stepped)
        ]

    assert happened() == ["loading tiny", "step 1", "step 2", "loading other", "step 3", "step 4"]
    assert happened() == ["step 1", "step 2", "step 3", "step 4"]
    assert engine.facts()["models"] == ("tiny", "other")


def test_the_picture_is_decoded_by_the_refiner(
    options: EngineOptions, models: Models, make_plan: PlanMaker, other_model: ModelRef
) -> None:
    plan = make_plan(refiner=refine(other_model, 0.5))
    made = next(item.image for item in Engine(options).run(plan, Control()) if isinstance(item, ImageReady))
    wanted = decode(models.get(other_model).resident, latents_of(plan, models)[0])
    assert np.abs(np.asarray(made, np.int16) - np.asarray(wanted, np.int16)).max() <= 1


def test_each_batch_begins_with_the_first_model(engine: Engine, make_plan: PlanMaker, other_model: ModelRef) -> None:
    plan = make_plan(count=3, batch_size=1, refiner=refine(other_model, 0.5))
    together = [np.asarray(item.image) for item in engine.run(plan, Control()) if isinstance(item, ImageReady)]
    single = plan.replace(images=plan.images[2:])
    alone = [np.asarray(item.image) for item in engine.run(single, Control()) if isinstance(item, ImageReady)]
    assert (together[2] == alone[0]).all()


def test_with_a_second_pass_it_takes_over_there_alone(
    models: Models, make_plan: PlanMaker, other_model: ModelRef
) -> None:
    hires = HiresPlan(
        width=96, height=96, enlarged=(96, 96), upscaler=UpscalerRef(name="Latent", kind="latent"), steps=3,
        strength=0.5, sampler="Euler", schedule="Automatic", guidance=5.0, sampling=SamplingPlan(),
    )  # fmt: skip
    plan = make_plan(hires=hires)
    refined = latents_of(plan.replace(refiner=refine(other_model, 0.01)), models)
    assert close(refined, latents_of(plan.replace(hires=hires.replace(model=other_model)), models))


def test_where_memory_has_no_room_for_two_the_first_goes(
    options: EngineOptions, make_plan: PlanMaker, other_model: ModelRef, models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache.psutil, "virtual_memory", lambda: SimpleNamespace(available=0, total=2**40))
    residents: list[weakref.ref[Any]] = []
    alive: list[int] = []
    load, load_networks = ModelCache.load, cache.load

    def watched(kept: ModelCache, *given: Any) -> Any:
        resident = load(kept, *given)
        residents.append(weakref.ref(resident))
        return resident

    def watched_networks(checkpoint: Any, dtypes: Any, make_room: Callable[[], None]) -> Any:
        def then_count() -> None:
            make_room()
            gc.collect()
            alive.append(sum(each() is not None for each in residents))

        return load_networks(checkpoint, dtypes, then_count)

    monkeypatch.setattr(ModelCache, "load", watched)
    monkeypatch.setattr(cache, "load", watched_networks)
    plan = make_plan(schedule="Uniform", tiling="x", refiner=refine(other_model, 0.5))
    small = Engine(options)
    made = [np.asarray(item.image) for item in small.run(plan, Control()) if isinstance(item, ImageReady)]
    assert alive == [0, 0], "nothing holds the first model when the second is read"
    assert small.facts()["models"] == ("other",)
    monkeypatch.undo()
    usual = [np.asarray(item.image) for item in Engine(options).run(plan, Control()) if isinstance(item, ImageReady)]
    assert (made[0] == usual[0]).all()


def test_a_refiner_that_overflows_computes_again_in_float32(
    make_plan: PlanMaker, other_model: ModelRef, options: EngineOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    half = {"unet": torch.bfloat16, "vae": torch.float32, "text_encoder": torch.float32}
    monkeypatch.setattr(cache, "choose_placement", lambda *_: Placement(torch.device("cpu"), half))
    make_predict = sd1.make_predict
    models = Models(options)

    def overflowing(model: Any, unet: Any) -> Any:
        predict = make_predict(model, unet)
        broken = Path(model.checkpoint.path).name == "other" and model.dtype("unet") == torch.bfloat16
        return (lambda latents, *more: predict(latents, *more) * torch.nan) if broken else predict

    monkeypatch.setattr(sd1, "make_predict", overflowing)
    plan = make_plan(schedule="Uniform", refiner=refine(other_model, 0.5))
    work = draw(Batch(plan, plan.images), models, Control())
    steps: list[int] = []
    while True:
        try:
            if isinstance(happened := next(work), Stepped):
                steps.append(happened.step)
        except StopIteration as end:
            assert torch.isfinite(end.value.latents).all()
            break
    assert steps == [1, 2, 1, 2, 3, 4]
    dtypes = {each.name: models.get(each).resident.dtype("unet") for each in (plan.model, other_model)}
    assert dtypes == {"tiny": torch.bfloat16, "other": torch.float32}
