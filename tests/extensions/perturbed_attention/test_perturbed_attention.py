"""Perturbed-attention guidance: the same latents as diffusers' pipelines, and everything put back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch

from extensions.perturbed_attention.options import PerturbedAttention, read, write
from extensions.perturbed_attention.perturbing import find_layers, perturb_attention, perturbed
from tests import tiny_dits, tiny_sd3, tiny_xl
from tests.engine_parts import difference, latents_of, load_pipeline, noise_of
from tests.tiny_models import SCHEDULER
from webui.domain.models import Family
from webui.domain.plan import Plan
from webui.engine.families import sd1
from webui.engine.models import Models
from webui.engine.run import Modifier
from webui.engine.schedules import find_sigmas
from webui.errors import BadRequest
from webui.weights.memory import EngineOptions

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")
PlanMaker = Callable[..., Plan]
NAME = "perturbed_attention"
MODIFIER = Modifier(NAME, guidance=(perturb_attention,))


@pytest.fixture(scope="module")
def extended(options: EngineOptions) -> Models:
    return Models(options, [MODIFIER])


def told(plan: Plan, **options: Any) -> Plan:
    return plan.told(NAME, PerturbedAttention(enabled=True, **options))


def theirs(pipeline: Any, plan: Plan, sigma: float, **guidance: Any) -> torch.Tensor:
    """Return the latents of diffusers' pipeline with Euler's method."""
    image = plan.images[0]
    pipeline.scheduler = diffusers.EulerDiscreteScheduler.from_config(
        dict(SCHEDULER), timestep_spacing="linspace", steps_offset=0
    )
    pipeline.scheduler.set_timesteps(plan.steps)
    return pipeline(
        image.prompt,
        negative_prompt=image.negative_prompt,
        guidance_scale=plan.guidance,
        num_inference_steps=plan.steps,
        height=plan.height,
        width=plan.width,
        latents=noise_of(plan) * sigma / pipeline.scheduler.init_noise_sigma,
        output_type="latent",
        **guidance,
    ).images


@pytest.mark.parametrize(
    ("guidance", "given", "asked"),
    [
        (5.0, {"scale": 3.0}, {"pag_scale": 3.0}),
        (1.0, {"scale": 3.0}, {"pag_scale": 3.0}),
        (5.0, {"scale": 3.0, "adaptive_scale": 0.004}, {"pag_scale": 3.0, "pag_adaptive_scale": 0.004}),
    ],
)
def test_sd1_as_diffusers(
    tiny_folder: Path, extended: Models, make_plan: PlanMaker, guidance: float, given: dict[str, Any],
    asked: dict[str, Any],
) -> None:  # fmt: skip
    pipeline = load_pipeline(diffusers.StableDiffusionPAGPipeline, tiny_folder)
    plan = make_plan(guidance=guidance, steps=3)
    sigma = find_sigmas("Euler", "Automatic", 3, sd1.noise_levels(extended.get(plan.model).resident))[0]
    expected = theirs(pipeline, plan, sigma, **asked)
    assert difference(latents_of(told(plan, **given), extended), expected) < 1e-4
    assert difference(latents_of(plan, extended), expected) > 1e-2


def test_sdxl_with_chosen_layers_as_diffusers(tmp_path: Path, extended: Models, make_plan: PlanMaker) -> None:
    folder = tiny_xl.make_folder(tmp_path / "xl")
    layers = ["down_blocks.2", "mid"]
    pipeline = load_pipeline(diffusers.StableDiffusionXLPAGPipeline, folder, pag_applied_layers=layers)
    plan = make_plan(path=folder, steps=2)
    plan = plan.replace(model=plan.model.replace(family=Family.SDXL))
    sigma = find_sigmas("Euler", "Automatic", 2, sd1.noise_levels(extended.get(plan.model).resident))[0]
    expected = theirs(pipeline, plan, sigma, pag_scale=2.0)
    ours = latents_of(told(plan, scale=2.0, layers="down_blocks.2, mid"), extended)
    assert difference(ours, expected) < 1e-4


def test_sd3_perturbs_as_diffusers_processor() -> None:
    """The pipeline's scheduler differs from ours; what matters is the network's answer."""
    torch.manual_seed(0)
    network = tiny_sd3.make_networks("3")["transformer"].eval()
    draw = torch.Generator().manual_seed(2)
    config = network.config
    latents = torch.randn((1, config.in_channels, 8, 8), generator=draw)
    states = torch.randn((1, 7, config.joint_attention_dim), generator=draw)
    pooled = torch.randn((1, config.pooled_projection_dim), generator=draw)

    def ask(rows: int) -> torch.Tensor:
        given = {"hidden_states": latents, "encoder_hidden_states": states, "pooled_projections": pooled}
        each = {name: value.expand(rows, *value.shape[1:]) for name, value in given.items()}
        return network(**each, timestep=torch.full((rows,), 500.0), return_dict=False)[0]

    (layer,) = find_layers(network, ["blocks.0.attn"])
    with torch.no_grad():
        plain = ask(1)
        with perturbed([layer]):
            ours = ask(1)
        before = layer.processor
        layer.set_processor(diffusers.models.attention_processor.PAGCFGJointAttnProcessor2_0())
        expected = ask(3)[2:]
        layer.set_processor(before)
        assert difference(ours, expected) < 1e-4 < difference(plain, expected)
        assert torch.equal(ask(1), plain)


@pytest.mark.parametrize(
    ("kind", "processor"),
    [
        ("pixart_sigma", "PAGIdentitySelfAttnProcessor2_0"),
        ("hunyuan_dit", "PAGHunyuanAttnProcessor2_0"),
        ("sana", "PAGIdentitySanaLinearAttnProcessor2_0"),
    ],
)
def test_other_transformers_perturb_as_diffusers_processors(
    tmp_path: Path, extended: Models, make_plan: PlanMaker, kind: str, processor: str
) -> None:
    plan = make_plan(path=tiny_dits.make_folder(tmp_path / kind, kind), steps=2)
    plan = plan.replace(model=plan.model.replace(family=Family(kind)))
    plain, changed = latents_of(plan, extended), latents_of(told(plan), extended)
    assert difference(changed, plain) > 1e-4
    network = extended.get(plan.model).resident.network("transformer")
    (layer,) = find_layers(network, ["blocks.1.attn1"])
    states = torch.randn(1, 16, layer.to_q.in_features, generator=torch.Generator().manual_seed(4))
    with torch.no_grad():
        own = layer(states)
        with perturbed([layer]):
            ours = layer(states)
        before = layer.processor
        layer.set_processor(getattr(diffusers.models.attention_processor, processor)())
        expected = layer(torch.cat([states, states]))[1:]
        layer.set_processor(before)
    assert difference(ours, expected) < 1e-5 < difference(own, expected)


def test_networks_are_put_back_also_after_a_failure(extended: Models, make_plan: PlanMaker) -> None:
    network = extended.get(make_plan().model).resident.network("unet")
    before = dict(network.attn_processors)
    layers = find_layers(network, ["mid", "up"])
    with pytest.raises(RuntimeError, match="broken"), perturbed(layers):
        assert all(type(layer.processor).__name__ == "AttendingToItself" for layer in layers)
        raise RuntimeError("broken")
    assert network.attn_processors == before


def test_a_plan_that_says_nothing_is_as_without_the_extension(
    extended: Models, models: Models, make_plan: PlanMaker
) -> None:
    plan = make_plan(count=2)
    latents_of(told(plan), extended)
    assert torch.equal(latents_of(plan, extended), latents_of(plan, models))


def test_it_acts_in_the_steps_that_were_named(extended: Models, models: Models, make_plan: PlanMaker) -> None:
    plan = make_plan(steps=4)
    calls: list[int] = []
    network = extended.get(plan.model).resident.network("unet")
    hook = network.register_forward_pre_hook(lambda *_: calls.append(1))
    latents_of(told(plan, start=0.25, end=0.75), extended)
    hook.remove()
    assert len(calls) == 4 + 2


def test_several_branches_each_move_by_their_weight(extended: Models, make_plan: PlanMaker) -> None:
    plan = make_plan(prompt="a cat AND a dog :0.5", count=1)
    ours = latents_of(told(plan, scale=2.0), extended)
    assert (ours - latents_of(plan, extended)).abs().max() > 1e-2


def test_layers_that_are_not_there_are_refused(extended: Models, make_plan: PlanMaker) -> None:
    network = extended.get(make_plan().model).resident.network("unet")
    with pytest.raises(BadRequest, match="blocks") as refused:
        find_layers(network, ["blocks.77"])
    assert refused.value.field == "extensions.perturbed_attention.layers" and "mid_block" in str(refused.value.hint)
    with pytest.raises(BadRequest, match="does not know"):
        find_layers(torch.nn.Linear(2, 2), [])


def test_a_number_is_no_part_of_a_longer_one() -> None:
    class Layer(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = diffusers.models.attention_processor.Attention(8, heads=1, dim_head=8)

    network = torch.nn.ModuleDict({"blocks": torch.nn.ModuleList([Layer() for _ in range(12)])})
    assert find_layers(network, ["blocks.1"]) == [network["blocks"][1].attention]
    assert find_layers(network, []) == [network["blocks"][6].attention]


def test_what_the_infotext_says_can_be_read_back() -> None:
    asked = PerturbedAttention(enabled=True, scale=2.5, layers="mid", end=0.8)
    said = write(asked)
    assert said["PerturbedAttentionGuidance_scale"] == "2.5" and "PerturbedAttentionGuidance_start" not in said
    again = read(said)
    assert again is not None and PerturbedAttention.model_validate(again) == asked
    assert read({}) is None
