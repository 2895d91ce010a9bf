"""Units that keep colours or pixels: mean and spread taken over, colours fixed, what is not masked kept."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import ControlNetModel
from torch import Tensor, nn

from extensions.controlnet.colour_fixing import blur
from extensions.controlnet.facts import ControlFacts
from extensions.controlnet.keeping import keep_unmasked
from extensions.controlnet.reference import choose_adapted
from tests.engine_parts import MASKED, PlanMaker, difference, latents_of, photo
from tests.extensions.controlnet.control_parts import (
    HINT,
    HOLE,
    awake,
    control_models,
    hooks_of,
    mask,
    shapes,
    steered,
    unit,
    write_file,
)
from tests.tiny_models import make_networks
from webui.domain.plan import Plan
from webui.domain.start import FromImage, FromNoise
from webui.engine import vae
from webui.engine.engine import EngineOptions
from webui.engine.guidance import Combine, Guiding
from webui.engine.models import Models
from webui.engine.run import Modifier, Run


@pytest.fixture(scope="module")
def steered_models(options: EngineOptions) -> Models:
    return control_models(options)


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Path:
    network = awake(ControlNetModel.from_unet(make_networks()["unet"]))
    return write_file(tmp_path_factory.mktemp("nets") / "net.safetensors", network.state_dict())


def adain(**changes: Any) -> Any:
    return unit(None, preprocessor="reference_adain", **changes)


def test_deeper_layers_are_adapted_first() -> None:
    unet = make_networks()["unet"]
    assert not choose_adapted(unet, 0)
    assert choose_adapted(unet, 0.01)[0] is unet.mid_block
    assert set(choose_adapted(unet, 0.5)) < set(choose_adapted(unet, 1.1))
    assert len(choose_adapted(unet, 1.1)) == 1 + 3 + 6


@pytest.mark.parametrize("fidelity", [0.0, 0.7])
def test_layers_put_out_the_mean_and_the_spread_of_the_picture(
    steered_models: Models, make_plan: PlanMaker, fidelity: float
) -> None:
    plan = make_plan(steps=1)
    network = steered_models.get(plan.model).resident.network("unet")
    outputs: list[Tensor] = []

    def note(layer: nn.Module, given: tuple[Any, ...]) -> None:
        outputs.append(given[0].clone())

    # The middle block's output is what the first layer on the way up is given, beside the skip connection.
    handle = network.up_blocks[0].resnets[0].register_forward_pre_hook(note)
    for units in ((), (adain(weight=0.01, options={"threshold_a": fidelity}),)):
        latents_of(steered(plan, *units), steered_models)
    handle.remove()
    width = network.config.block_out_channels[-1]
    plain, kept, ours = (each[:, :width] for each in outputs)

    def told(states: Tensor) -> tuple[Tensor, Tensor]:
        return states.mean((2, 3), keepdim=True), states.var((2, 3), keepdim=True, correction=0).sqrt()

    (mean, deviation), (kept_mean, kept_deviation) = told(plain), told(kept)
    expected = (plain - mean) / deviation * kept_deviation + kept_mean
    assert torch.allclose(ours[1], expected[1], atol=1e-4)
    assert torch.allclose(ours[0], fidelity * plain[0] + (1 - fidelity) * expected[0], atol=1e-4)
    assert not hooks_of(network)


def test_both_ways_of_reference_together_are_neither(steered_models: Models, make_plan: PlanMaker) -> None:
    plan = make_plan()
    names = "reference_only", "reference_adain", "reference_adain+attn"
    drawn = [latents_of(steered(plan, unit(None, preprocessor=name)), steered_models) for name in names]
    assert min(difference(drawn[0], drawn[1]), difference(drawn[0], drawn[2]), difference(drawn[1], drawn[2])) > 1e-3


def combined_by(models: Models, plan: Plan, options: EngineOptions) -> list[Guiding]:
    """Return what is combined in each call, before and after what ControlNet does to it."""
    seen: list[Guiding] = []

    def spy(combine: Combine, run: Run) -> Combine:
        def spied(guiding: Guiding) -> Tensor:
            seen.append(guiding)
            return combine(guiding)

        return spied

    (modifier,) = models.modifiers
    names = {"inner": {}, **plan.extensions, "outer": {}}
    watched = Models(options, [Modifier("inner", guidance=(spy,)), modifier, Modifier("outer", guidance=(spy,))])
    watched.inputs = models.inputs
    latents_of(plan.replace(extensions=names), watched)
    return seen


@pytest.mark.parametrize("sharp", [False, True])
def test_what_is_blurred_of_the_image_is_the_pictures(
    steered_models: Models, make_plan: PlanMaker, options: EngineOptions, net: Path, sharp: bool
) -> None:
    """clean - blur(clean) + blur(picture); sharp: what negative prompts predict is blurred besides."""
    told = {"threshold_a": 3.0, "threshold_b": 2.0} if sharp else {"threshold_a": 3.0}
    fixing = unit(net, preprocessor="tile_colorfix+sharp" if sharp else "tile_colorfix", options=told)
    plan = steered(make_plan(steps=1), fixing)
    before, after = combined_by(steered_models, plan, options)
    picture = vae.encode(steered_models.get(plan.model).resident, shapes()).unsqueeze(0)

    def fixed(clean: Tensor) -> Tensor:
        return clean - blur(clean, 3) + blur(picture, 3)

    assert before.negative is not None and after.negative is not None
    negative = fixed(before.negative)
    if sharp:
        negative = 0.98 * negative + 0.02 * blur(negative, 3)
    assert torch.allclose(after.positive, fixed(before.positive), atol=1e-4)
    assert torch.allclose(after.negative, negative, atol=1e-4)


def test_blurring_is_the_mean_of_neighbours() -> None:
    dot = torch.zeros(1, 1, 5, 5)
    dot[0, 0, 2, 2] = 9
    assert torch.allclose(blur(dot, 1)[0, 0, 1:4, 1:4], torch.ones(3, 3), atol=1e-6)
    assert torch.allclose(blur(torch.full((1, 1, 4, 4), 3.0), 6), torch.full((1, 1, 4, 4), 3.0))


def test_what_is_not_masked_is_kept() -> None:
    keeping = unit(Path("net"), preprocessor="inpaint_only", mask=HOLE)
    inputs, first = {HINT: shapes(), HOLE: mask()}, SimpleNamespace(index=0)

    def run(start: Any, *units: Any) -> Any:
        facts = ControlFacts(units=units).model_dump(mode="json")
        return SimpleNamespace(plan=SimpleNamespace(start=start), facts=facts, inputs=inputs, image=first)

    image, picture = np.asarray(photo()), np.asarray(shapes())
    kept = np.asarray(keep_unmasked(photo(), run(FromNoise(), keeping)))
    assert (kept[:, :32] == image[:, :32]).all() and (kept[:, 32:] == picture[:, 32:]).all()
    begun = run(FromImage(images=(HINT,), strength=0.5), keeping.replace(image=None))
    assert (np.asarray(keep_unmasked(photo(), begun)) == kept).all()
    other = keeping.replace(preprocessor="inpaint")
    for untouched in (run(FromNoise(), other), run(MASKED, keeping)):
        assert (np.asarray(keep_unmasked(photo(), untouched)) == image).all()
