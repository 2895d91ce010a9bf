"""Numbers that overflow: one more run in float32, and then only the image that is broken fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from webui.domain.events import ImageFailed, Stepped
from webui.domain.plan import HiresPlan, Plan, SamplingPlan
from webui.domain.upscaling import UpscalerRef
from webui.engine.broken import sample_twice
from webui.engine.condition import Condition
from webui.engine.control import Control
from webui.engine.denoise import Predict
from webui.engine.engine import Engine, EngineOptions, ImageReady
from webui.engine.families import sd1
from webui.engine.samplers import Step
from webui.weights.memory import Resident, devices

PlanMaker = Callable[..., Plan]
BROKEN = float("nan")


def run(engine: Engine, plan: Plan) -> list[object]:
    return list(engine.run(plan, Control()))


def images(happened: list[object]) -> dict[int, Image.Image]:
    return {item.index: item.image for item in happened if isinstance(item, ImageReady)}


def failed(happened: list[object]) -> list[int]:
    return [item.index for item in happened if isinstance(item, ImageFailed)]


def steps(happened: list[object]) -> list[int]:
    return [item.step for item in happened if isinstance(item, Stepped)]


def differ(one: Image.Image, other: Image.Image) -> float:
    return float(np.abs(np.asarray(one, np.int16) - np.asarray(other, np.int16)).mean())


@pytest.fixture
def half_engine(monkeypatch: pytest.MonkeyPatch) -> Engine:
    """Return an engine whose networks compute in bfloat16, whatever this machine would choose."""
    monkeypatch.setattr(devices, "_cpu_computes_bf16", lambda: True)
    return Engine(EngineOptions(use_cpu=frozenset({"all"}), precision="half"))


def break_half_copy(engine: Engine) -> Resident:
    """Break the bfloat16 copy of the loaded network, as an overflow would; the weights at home stay whole."""
    assert engine._models.latest is not None
    _, model = engine._models.latest
    assert model.dtype("unet") == torch.bfloat16
    with model.on_device("unet") as unet:
        weight = unet.conv_out.weight * float("inf")
        unet.load_state_dict({"conv_out.weight": weight}, strict=False, assign=True)
    return model


def test_latents_that_overflow_are_computed_again_in_float32(
    half_engine: Engine, engine: Engine, make_plan: PlanMaker
) -> None:
    plan = make_plan(count=2)
    before = images(run(half_engine, plan))
    model = break_half_copy(half_engine)
    happened = run(half_engine, plan)
    assert model.dtype("unet") == torch.float32
    assert failed(happened) == []
    assert steps(happened) == [1, 2, 3, 4], "the broken step is not counted"
    exact = images(run(engine, plan))
    for index, image in images(happened).items():
        assert differ(image, exact[index]) < 2
        assert differ(image, before[index]) < 12
    assert images(run(half_engine, plan)).keys() == {0, 1}, "and it stays usable"


def make_some_nan(
    monkeypatch: pytest.MonkeyPatch, is_broken: Callable[[Tensor, Tensor], Tensor], after: int = 0
) -> list[int]:
    """Let the network give NaN for the rows that `is_broken` (latents, context) names, from call `after` on.

    Return the list of how many rows each call had.
    """
    calls: list[int] = []
    real = sd1.make_predict

    def broken(model: Resident, unet: nn.Module) -> Predict:
        predict = real(model, unet)

        def call(latents: Tensor, timestep: Tensor, condition: Condition) -> Tensor:
            calls.append(latents.shape[0])
            output = predict(latents, timestep, condition)
            if len(calls) > after:
                output[is_broken(latents, condition.states)] = BROKEN
            return output

        return call

    monkeypatch.setattr(sd1, "make_predict", broken)
    return calls


def second_of_three(latents: Tensor, context: Tensor) -> Tensor:
    return torch.arange(latents.shape[0]) % 3 == 1


@pytest.mark.parametrize("after", [0, 2])
@pytest.mark.parametrize("sampler", ["Euler", "DPM++ 2M", "UniPC"])
def test_the_broken_image_fails_and_the_others_are_delivered(
    engine: Engine, make_plan: PlanMaker, monkeypatch: pytest.MonkeyPatch, sampler: str, after: int
) -> None:
    plan = make_plan(count=3, sampler=sampler)
    whole = images(run(engine, plan))
    make_some_nan(monkeypatch, second_of_three, after)
    happened = run(engine, plan)
    (failure,) = [item for item in happened if isinstance(item, ImageFailed)]
    assert failure.index == 1 and "NaN" in failure.message and failure.hint
    assert steps(happened) == [1, 2, 3, 4]
    done = images(happened)
    assert done.keys() == {0, 2}
    assert all(done[index] == whole[index] for index in done)


def test_a_batch_in_which_all_is_broken_ends_and_the_next_begins(
    engine: Engine, make_plan: PlanMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = make_plan(count=4, batch_size=2)
    whole = images(run(engine, plan))
    calls: list[int] = make_some_nan(monkeypatch, lambda latents, context: torch.tensor([len(calls) == 1] * 4))
    happened = run(engine, plan)
    assert failed(happened) == [0, 1]
    assert steps(happened) == [1, 1, 2, 3, 4]
    assert images(happened) == {index: whole[index] for index in (2, 3)}


def test_a_broken_first_pass_breaks_its_image_alone(
    engine: Engine, make_plan: PlanMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    hires = HiresPlan(
        width=96, height=96, enlarged=(96, 96), upscaler=UpscalerRef(name="Latent", kind="latent"), steps=2,
        strength=0.5, sampler="Euler", schedule="Automatic", guidance=5.0, sampling=SamplingPlan(),
    )  # fmt: skip
    plan = make_plan(count=3, hires=hires)
    whole = images(run(engine, plan))
    calls: list[int] = make_some_nan(
        monkeypatch, lambda latents, context: second_of_three(latents, context) & (len(calls) == 1)
    )
    happened = run(engine, plan)
    assert failed(happened) == [1]
    assert images(happened) == {index: whole[index] for index in (0, 2)}


def test_a_vae_that_is_broken_for_good_fails_every_image(tiny_folder: Path, make_plan: PlanMaker) -> None:
    engine = Engine(EngineOptions(use_cpu=frozenset({"all"}), half=False))
    run(engine, make_plan(steps=1))
    assert engine._models.latest is not None
    _, model = engine._models.latest
    with model.on_device("vae") as vae:
        weight = vae.decoder.conv_out.weight * float("inf")
        vae.load_state_dict({"decoder.conv_out.weight": weight}, strict=False, assign=True)
    happened = run(engine, make_plan(count=2))
    assert failed(happened) == [0, 1]
    assert all("VAE" in item.message for item in happened if isinstance(item, ImageFailed))


# The second run alone


class Model:
    """Stands for a model of which only the precision matters."""

    denoiser = "unet"

    def __init__(self, dtype: torch.dtype) -> None:
        self.precision = dtype

    def dtype(self, component: str) -> torch.dtype:
        return self.precision

    def recast(self, component: str, dtype: torch.dtype) -> None:
        self.precision = dtype


@pytest.mark.parametrize("value", [BROKEN, float("inf")])
def test_the_second_run_begins_anew(value: float) -> None:
    model = Model(torch.float16)
    closed: list[bool] = []

    def sample() -> Iterator[Step]:
        try:
            for index in range(4):
                is_broken = model.precision == torch.float16 and index == 2
                latents = torch.full((1, 4, 2, 2), value if is_broken else float(index))
                yield Step(index, latents, latents)
        finally:
            closed.append(True)

    happened = list(sample_twice(lambda: model, sample))  # type: ignore[arg-type, return-value]
    assert [step.index for step in happened] == [0, 1, 0, 1, 2, 3]
    assert model.precision == torch.float32
    assert closed == [True, True]
