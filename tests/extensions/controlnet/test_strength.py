"""When, where, at which depth and for which prompts units act: against the published formulas, on real residuals."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import ControlNetModel
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn

from extensions.controlnet import lodgings
from extensions.controlnet.facts import UnitFacts
from extensions.controlnet.steering import DOWN, MIDDLE
from extensions.controlnet.strength import Region, acts_in_pass, acts_now, adapter_scales, find_grid, scales
from tests.engine_parts import PlanMaker, difference, latents_of, with_second_pass
from tests.extensions.controlnet.control_parts import REGION, awake, control_models, steered, unit, write_file
from tests.tiny_models import make_folder, make_networks
from webui.domain.upscaling import UpscalerRef
from webui.engine.engine import EngineOptions
from webui.engine.models import Models
from webui.engine.run import Moment
from webui.extending.api import Data, Preprocessor
from webui.weights.memory import cache

Arguments = dict[str, Any]


class Depths(Data):
    by: int = 2


@pytest.fixture(scope="module")
def steered_models(options: EngineOptions) -> Models:
    return control_models(options)


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Path:
    network = awake(ControlNetModel.from_unet(make_networks()["unet"]))
    return write_file(tmp_path_factory.mktemp("nets") / "net.safetensors", network.state_dict())


@contextmanager
def watching(models: Models, plan: Any) -> Iterator[list[Arguments]]:
    """Give what the UNet is told in each call, after all units."""
    calls: list[Arguments] = []
    network = models.get(plan.model).resident.network("unet")

    def note(module: nn.Module, given: tuple[Any, ...], named: Arguments, output: Any) -> None:
        calls.append(dict(named))

    handle = network.register_forward_hook(note, with_kwargs=True)
    try:
        yield calls
    finally:
        handle.remove()


@pytest.fixture(scope="module")
def residuals(steered_models: Models, make_plan: PlanMaker, net: Path) -> Callable[..., list[Tensor]]:
    """Return the residuals of the first call [negative row, positive row], for a unit of the given facts."""

    def find(**changes: Any) -> list[Tensor]:
        plan = steered(make_plan(steps=1), unit(net, **changes))
        with watching(steered_models, plan) as calls:
            latents_of(plan, steered_models)
        return [*calls[0][DOWN], calls[0][MIDDLE]] if DOWN in calls[0] else []

    return find


def test_a_prompt_that_is_more_important_fades_the_shallow_residuals(residuals: Callable[..., list[Tensor]]) -> None:
    """0.825^(12 - i) of the 13 that SD1's have, over as many as there are here."""
    plain, faded = residuals(), residuals(control_mode="prompt")
    factors = [0.825 ** (12 * (1 - index / (len(plain) - 1))) for index in range(len(plain))]
    assert factors[-1] == 1 and factors[0] == pytest.approx(0.825**12)
    for before, after, factor in zip(plain, faded, factors, strict=True):
        assert torch.allclose(after, before * factor, atol=1e-6)


def test_sd1_has_the_published_factors() -> None:
    assert scales("control", 13) == pytest.approx([0.825 ** (12 - index) for index in range(13)])
    assert scales("balanced", 13) == [1.0] * 13
    assert adapter_scales("prompt", 4) == [0.25, 0.62, 0.825, 1.0]


def test_a_control_that_is_more_important_leaves_out_negative_prompts(residuals: Callable[..., list[Tensor]]) -> None:
    plain, one_sided = residuals(), residuals(control_mode="control")
    for index, (before, after) in enumerate(zip(plain, one_sided, strict=True)):
        assert not after[0].any()
        assert torch.allclose(after[1], before[1] * scales("control", len(plain))[index], atol=1e-5)


def test_weight_multiplies(residuals: Callable[..., list[Tensor]]) -> None:
    for whole, half in zip(residuals(), residuals(weight=0.5), strict=True):
        assert torch.allclose(half, whole * 0.5, atol=1e-6)


def test_a_region_lets_through_where_it_is_white(residuals: Callable[..., list[Tensor]]) -> None:
    for whole, left in zip(residuals(), residuals(region=REGION), strict=True):
        middle = whole.shape[-1] // 2
        assert torch.equal(left[..., :middle], whole[..., :middle])
        assert not left[..., middle:].any() and whole[..., middle:].any()


def test_a_region_knows_where_tokens_stand() -> None:
    region = Region(torch.tensor([[[[1.0, 0.0], [0.5, 0.0]]]]), (4, 4))
    assert region.of(torch.zeros(1, 4, 7)).flatten().tolist() == [1.0, 0.0, 0.5, 0.0]
    assert find_grid(6, (5, 3)) == (3, 2)
    with pytest.raises(ValueError, match="7 tokens"):
        find_grid(7, (4, 4))


def moment(step: int, steps: int) -> Moment:
    return Moment(call=step, sigma=1.0, step=step, steps=steps, rows=())


def test_steps_are_counted_as_by_diffusers() -> None:
    """`1 - float(i / n < start or (i + 1) / n > end)`."""
    facts = UnitFacts(number=0, image="a" * 64, start=0.2, end=0.8)
    expected = [not (i / 7 < 0.2 or (i + 1) / 7 > 0.8) for i in range(7)]
    assert [acts_now(facts, moment(step, 7)) for step in range(7)] == expected
    assert any(expected) and not all(expected)


@pytest.mark.parametrize(
    "hires, first, second", [("both", True, True), ("low", True, False), ("high", False, True)]
)  # fmt: skip
def test_the_hires_option_chooses_the_pass(hires: Any, first: bool, second: bool) -> None:
    facts = UnitFacts(number=0, image="a" * 64, hires=hires)
    assert (acts_in_pass(facts, False, True), acts_in_pass(facts, True, True)) == (first, second)
    assert acts_in_pass(facts, False, False), "without a second pass there is nothing to choose"


@pytest.mark.parametrize("hires, steps", [("low", [True] * 4 + [False] * 2), ("high", [False] * 4 + [True] * 2)])
def test_passes_of_a_picture_are_steered_as_the_option_says(
    steered_models: Models, make_plan: PlanMaker, net: Path, hires: str, steps: list[bool]
) -> None:
    plan = with_second_pass(make_plan(guidance=1.0), UpscalerRef(name="Latent", kind="latent"))
    plan = steered(plan, unit(net, hires=hires))
    with watching(steered_models, plan) as calls:
        latents_of(plan, steered_models)
    assert [DOWN in call for call in calls] == steps
    sizes = {call[DOWN][0].shape[-1] for call in calls if DOWN in call}
    assert sizes == {8} if hires == "low" else sizes == {12}


def test_a_preprocessor_of_another_extension_makes_the_hint(
    options: EngineOptions, make_plan: PlanMaker, net: Path
) -> None:
    seen: list[int] = []

    def darken(picture: Image.Image, options: Depths) -> Image.Image:
        seen.append(options.by)
        return picture.point(lambda value: value // options.by)

    models = control_models(options)
    models.preprocessors = (Preprocessor("darken", "Darken", Depths, darken),)
    latents_of(steered(make_plan(steps=2), unit(net, preprocessor="darken", options={"by": 3})), models)
    assert seen == [3]


def test_outside_its_steps_a_unit_changes_nothing(steered_models: Models, make_plan: PlanMaker, net: Path) -> None:
    """Bit for bit: a share of no step at all."""
    plan = make_plan()
    never = steered(plan, unit(net, start=0.3, end=0.45))
    assert torch.equal(latents_of(never, steered_models), latents_of(plan, steered_models))


def test_networks_on_the_device_for_a_moment_say_the_same(
    steered_models: Models, make_plan: PlanMaker, net: Path
) -> None:
    plan = make_plan()
    staying, passing = (steered(plan, unit(net, low_memory=low)) for low in (False, True))
    assert torch.equal(latents_of(staying, steered_models), latents_of(passing, steered_models))


def test_all_images_of_a_batch_follow_one_picture(steered_models: Models, make_plan: PlanMaker, net: Path) -> None:
    plan = steered(make_plan(count=3), unit(net))
    together = latents_of(plan, steered_models)
    for index, latents in enumerate(together):
        alone = latents_of(plan.replace(images=plan.images[index : index + 1], batch_size=1), steered_models)
        assert difference(latents, alone[0]) < 1e-4


@pytest.mark.parametrize("size", [(72, 88), (64, 96)])
def test_images_of_all_sizes_are_steered(
    steered_models: Models, make_plan: PlanMaker, net: Path, size: tuple[int, int]
) -> None:
    plan = make_plan(width=size[0], height=size[1])
    latents = latents_of(steered(plan, unit(net)), steered_models)
    assert latents.shape[-2:] == (size[1] // 8, size[0] // 8)
    assert difference(latents, latents_of(plan, steered_models)) > 1e-2


@pytest.mark.parametrize("mode, low_memory", [("medvram", False), ("lowvram", True)])
def test_every_memory_mode_draws_the_same(
    steered_models: Models, options: EngineOptions, make_plan: PlanMaker, net: Path, mode: str, low_memory: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    plan = steered(make_plan(), unit(net, low_memory=low_memory), unit(None, 1, preprocessor="reference_adain+attn"))
    expected = latents_of(plan, steered_models)
    choose = cache.choose_placement
    monkeypatch.setattr(cache, "choose_placement", lambda *given: dataclasses.replace(choose(*given), mode=mode))
    saving = control_models(options)
    assert difference(latents_of(plan, saving), expected) < 1e-5
    resident = saving.get(plan.model).resident
    assert resident.placement.mode == mode and set(resident.parts) == {"unet", "vae", "text_encoder"}


def test_checkpoints_for_inpainting_are_steered(
    steered_models: Models, make_plan: PlanMaker, net: Path, tmp_path: Path
) -> None:
    """Their UNets see five channels more than the network."""
    plan = make_plan(path=make_folder(tmp_path / "inpainting", channels=9))
    with watching(steered_models, plan) as calls:
        latents_of(steered(plan, unit(net), unit(None, 1, preprocessor="reference_only")), steered_models)
    assert all(DOWN in call and call["sample"].shape[1] == 9 for call in calls)


def test_what_the_next_job_needs_is_read_once(
    steered_models: Models, make_plan: PlanMaker, net: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Path] = []
    load = lodgings.load_network

    def counting(model: Any, run: Any) -> nn.Module:
        read.append(model.path)
        return load(model, run)

    monkeypatch.setattr(lodgings, "load_network", counting)
    other = write_file(net.parent / "other.safetensors", dict(load_file(net)))
    for path, weight in ((other, 1.0), (net, 1.0), (net, 0.5), (other, 1.0)):
        latents_of(steered(make_plan(steps=1), unit(path, weight=weight)), steered_models)
    assert read == [other, net, other]
