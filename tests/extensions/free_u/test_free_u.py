"""FreeU: the first version is diffusers', the second the authors' formulas; everything is put back."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel
from diffusers.utils.torch_utils import fourier_filter
from pydantic import ValidationError
from torch import Tensor

from extensions.free_u.options import FreeU, read, write
from extensions.free_u.strengthening import damp_coarse, emphasise_structure, strengthen
from tests.engine_parts import latents_of
from webui.domain.plan import Plan
from webui.engine.models import Models
from webui.engine.run import Modifier
from webui.errors import BadRequest
from webui.weights.memory import EngineOptions

PlanMaker = Callable[..., Plan]
NAME = "free_u"
STRONG = {"b1": 1.4, "b2": 1.6, "s1": 0.9, "s2": 0.2}


@pytest.fixture(scope="module")
def extended(options: EngineOptions) -> Models:
    return Models(options, [Modifier(NAME, patches=(strengthen,))])


@pytest.fixture(scope="module")
def unet() -> UNet2DConditionModel:
    """Its levels are 1, 2 and 4 times the first one wide, as real ones' are."""
    torch.manual_seed(0)
    return UNet2DConditionModel(
        sample_size=8, block_out_channels=(16, 32, 64), layers_per_block=1, cross_attention_dim=8, norm_num_groups=8,
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"), attention_head_dim=8,
    ).eval()  # fmt: skip


def ask(unet: UNet2DConditionModel, options: FreeU | None, progress: float = 0.0) -> Tensor:
    draw = torch.Generator().manual_seed(3)
    given = torch.randn(1, 4, 8, 8, generator=draw), 400, torch.randn(1, 5, 8, generator=draw)
    with torch.no_grad():
        if options is None:
            return unet(*given, return_dict=False)[0]
        run: Any = SimpleNamespace(network=unet, facts=options.model_dump(), moment=SimpleNamespace(progress=progress))
        with strengthen(run):
            return unet(*given, return_dict=False)[0]


def test_the_first_version_is_that_of_diffusers(unet: UNet2DConditionModel) -> None:
    plain = ask(unet, None)
    ours = ask(unet, FreeU(enabled=True, version="1", **STRONG))
    unet.enable_freeu(**STRONG)
    expected = ask(unet, None)
    unet.disable_freeu()
    assert torch.equal(ours, expected) and not torch.equal(ours, plain)
    assert torch.equal(ask(unet, None), plain)


def test_the_second_version_changes_backbone_and_skip_by_the_width_of_the_level(unet: UNet2DConditionModel) -> None:
    seen: dict[str, Tensor] = {}
    block = unet.up_blocks[1]  # its first layer gets 64 channels from below: four times 16
    norm = block.resnets[0].norm1.register_forward_pre_hook(lambda layer, given: seen.update(given=given[0]))
    plain = ask(unet, None)
    before = seen["given"]
    below = ask(unet, FreeU(enabled=True, b1=1.4, b2=1.0, s1=0.5, s2=1.0))
    norm.remove()
    assert not torch.equal(below, plain)
    # What comes from below is changed in the block before as well; the skip connections are what they were.
    assert torch.allclose(seen["given"][:, 64:], fourier_filter(before[:, 64:], threshold=1, scale=0.5), atol=1e-5)
    assert torch.equal(ask(unet, None), plain)


def test_structure_counts_more_where_the_mean_is_high() -> None:
    backbone = torch.randn(2, 6, 4, 4, generator=torch.Generator().manual_seed(1))
    changed = emphasise_structure(backbone, 1.5)
    assert torch.equal(changed[:, 3:], backbone[:, 3:])
    ratios = (changed[:, :3] / backbone[:, :3]).flatten(2)
    highest = backbone.mean(1).flatten(1).argmax(1)
    lowest = backbone.mean(1).flatten(1).argmin(1)
    for image in range(2):
        assert torch.allclose(ratios[image, :, highest[image]], torch.tensor(1.5), atol=1e-4)
        assert torch.allclose(ratios[image, :, lowest[image]], torch.tensor(1.0), atol=1e-4)


def test_only_coarse_shapes_of_the_skip_are_damped() -> None:
    coarse = torch.ones(1, 1, 8, 8)
    fine = torch.ones(1, 1, 8, 8)
    fine[..., ::2] = -1
    assert torch.allclose(damp_coarse(coarse, 0.3), 0.3 * coarse, atol=1e-5)
    assert torch.allclose(damp_coarse(fine, 0.3), fine, atol=1e-5)


@pytest.mark.parametrize("version", ["1", "2"])
def test_it_acts_in_the_steps_that_were_named(unet: UNet2DConditionModel, version: Any) -> None:
    options = FreeU(enabled=True, version=version, start=0.25, end=0.75, **STRONG)
    plain = ask(unet, None)
    assert torch.equal(ask(unet, options, 0.2), plain) and torch.equal(ask(unet, options, 0.75), plain)
    assert not torch.equal(ask(unet, options, 0.25), plain)


@pytest.mark.parametrize("version", ["1", "2"])
def test_a_run_is_changed_and_nothing_stays(
    extended: Models, models: Models, make_plan: PlanMaker, version: Any
) -> None:
    plan = make_plan()
    changed = latents_of(plan.told(NAME, FreeU(enabled=True, version=version, **STRONG)), extended)
    plain = latents_of(plan, models)
    assert (changed - plain).abs().max() > 1e-2
    assert torch.equal(latents_of(plan, extended), plain)
    unet = extended.get(plan.model).resident.network("unet")
    assert not unet._forward_pre_hooks and not any(block._forward_pre_hooks for block in unet.up_blocks)


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValidationError, match="start lies behind end"):
        FreeU(start=0.6, end=0.5)
    with pytest.raises(ValidationError, match="factor of 0"):
        FreeU(version="1", s2=0)
    run: Any = SimpleNamespace(network=torch.nn.Linear(2, 2), facts={})
    with pytest.raises(BadRequest, match="SDXL"), strengthen(run):
        raise AssertionError("unreachable")
    assert not FreeU(enabled=True, b1=1, b2=1, s1=1, s2=1).acts


def test_what_the_infotext_says_can_be_read_back() -> None:
    asked = FreeU(enabled=True, version="1", end=0.5, **STRONG)
    said = write(asked)
    assert said["freeu_b1"] == "1.4" and "freeu_start" not in said
    again = read(said)
    assert again is not None and FreeU.model_validate(again) == asked
    assert read({}) is None
