"""Self-attention guidance: the same latents as diffusers' pipeline, and everything put back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from torch import nn

from extensions.self_attention_guidance.blurring import Guide, attention_received, blur, blur_where
from extensions.self_attention_guidance.options import SelfAttentionGuidance, read, write
from tests.engine_parts import difference, latents_of, load_pipeline, noise_of
from tests.tiny_models import SCHEDULER
from webui.domain.plan import Plan
from webui.engine import sampling
from webui.engine.families import sd1
from webui.engine.models import Models
from webui.engine.run import Modifier
from webui.engine.schedules import find_sigmas
from webui.errors import BadRequest
from webui.weights.memory import EngineOptions

PlanMaker = Callable[..., Plan]
NAME = "self_attention_guidance"
STEPS = 3


@pytest.fixture(scope="module")
def extended(options: EngineOptions) -> Models:
    guide = Guide()
    return Models(options, [Modifier(NAME, patches=(guide.listen,), guidance=(guide.guide,))])


def told(plan: Plan, **options: Any) -> Plan:
    return plan.told(NAME, SelfAttentionGuidance(enabled=True, **options))


@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")
@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("guidance", [1.0, 6.0])
def test_as_diffusers(
    tiny_folder: Path, extended: Models, make_plan: PlanMaker, monkeypatch: pytest.MonkeyPatch, guidance: float
) -> None:
    """diffusers blurs with a sigma of 1 and takes one step more than latent diffusion's DDIM, as tests of pipelines
    say; the number of heads it reads from a setting that means their number."""
    pipeline = load_pipeline(diffusers.StableDiffusionSAGPipeline, tiny_folder, image_encoder=None)
    plan = make_plan(sampler="DDIM", guidance=guidance, steps=STEPS)
    pipeline.scheduler = diffusers.DDIMScheduler.from_config(dict(SCHEDULER), timestep_spacing="leading")
    image = plan.images[0]
    theirs = pipeline(
        image.prompt, negative_prompt=image.negative_prompt, guidance_scale=guidance, num_inference_steps=STEPS,
        height=64, width=64, latents=noise_of(plan), output_type="latent", sag_scale=0.75,
    ).images  # fmt: skip
    levels = sd1.noise_levels(extended.get(plan.model).resident)
    sigmas = [*find_sigmas("DDIM", "Automatic", STEPS, levels)[-STEPS:], levels.sigma(0)]
    monkeypatch.setattr(sampling, "find_sigmas", lambda *_: sigmas)
    ours = latents_of(told(plan, scale=0.75, blur_sigma=1.0), extended)
    assert difference(ours, theirs) < 1e-4 < difference(latents_of(plan, extended), theirs)


def test_a_plan_that_says_nothing_is_as_without_the_extension_and_hooks_are_gone(
    extended: Models, models: Models, make_plan: PlanMaker
) -> None:
    plan = make_plan(count=2)
    latents_of(told(plan), extended)
    middle = extended.get(plan.model).resident.network("unet").mid_block.attentions[0]
    assert not middle._forward_pre_hooks and not middle.transformer_blocks[0].attn1._forward_pre_hooks
    assert torch.equal(latents_of(plan, extended), latents_of(plan, models))


def test_images_of_a_batch_are_guided_as_if_alone(extended: Models, make_plan: PlanMaker) -> None:
    plan = told(make_plan(count=2, prompt="a cat AND a dog"))
    together = latents_of(plan, extended)
    for number, image in enumerate(plan.images):
        alone = latents_of(plan.replace(images=(image,), batch_size=1), extended)
        assert difference(together[number], alone[0]) < 1e-4


def test_attention_that_is_the_same_everywhere_is_one() -> None:
    layer = diffusers.models.attention_processor.Attention(8, heads=2, dim_head=4)
    received = attention_received(layer, torch.ones(3, 5, 8))
    assert received.shape == (3, 5) and torch.allclose(received, torch.ones(3, 5))
    drawn = attention_received(layer, torch.randn(3, 5, 8, generator=torch.Generator().manual_seed(0)))
    assert torch.allclose(drawn.sum(1), torch.full((3,), 5.0)) and drawn.std() > 1e-4


def test_only_where_the_mask_says_something_is_blurred() -> None:
    latents = torch.randn(1, 2, 16, 16, generator=torch.Generator().manual_seed(0))
    mask = torch.zeros(1, 1, 4, 4, dtype=torch.bool)
    mask[..., :2] = True
    blurred = blur_where(latents, mask, 2.0)
    assert torch.equal(blurred[..., 8:], latents[..., 8:])
    assert torch.allclose(blurred[..., :8], blur(latents, 2.0)[..., :8])
    assert torch.allclose(blur(torch.ones(1, 3, 9, 9), 3.0), torch.ones(1, 3, 9, 9))


def test_other_networks_are_refused() -> None:
    class Other:
        network = nn.Linear(2, 2)

    with pytest.raises(BadRequest, match="SDXL") as refused, Guide().listen(Other()):  # type: ignore[arg-type]
        raise AssertionError("unreachable")
    assert refused.value.field == "extensions.self_attention_guidance.enabled"


def test_what_the_infotext_says_can_be_read_back() -> None:
    asked = SelfAttentionGuidance(enabled=True, scale=0.7, blur_sigma=3.0, threshold=1.2)
    said = write(asked)
    assert said["sag_scale"] == "0.7"
    again = read(said)
    assert again is not None and SelfAttentionGuidance.model_validate(again) == asked
    assert read({}) is None
