"""Dynamic thresholding: its formulas, its schedules, and a whole run."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

from extensions.dynamic_thresholding.options import DynamicThresholding, read, write
from extensions.dynamic_thresholding.thresholding import limit_spread, mimic_weaker_guidance, scale_at
from tests.engine_parts import latents_of
from webui.domain.plan import Plan
from webui.engine.models import Models
from webui.engine.run import Modifier
from webui.weights.memory import EngineOptions

NAME = "dynamic_thresholding"
MODIFIER = Modifier(NAME, guidance=(mimic_weaker_guidance,))


def made(shape: tuple[int, ...] = (2, 4, 6, 5), scale: float = 3.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Return latents of a strong guidance and of a weaker one."""
    draw = torch.Generator().manual_seed(1)
    weak = torch.randn(shape, generator=draw) + 0.3
    return weak + scale * torch.randn(shape, generator=draw), weak


def spread(latents: torch.Tensor) -> torch.Tensor:
    return (latents - latents.mean((2, 3), keepdim=True)).abs().amax((2, 3))


def test_each_channel_gets_the_spread_of_the_weaker_guidance_and_keeps_its_mean() -> None:
    strong, weak = made()
    limited = limit_spread(strong, weak, DynamicThresholding())
    assert torch.allclose(spread(limited), spread(weak), atol=1e-5)
    assert torch.allclose(limited.mean((2, 3)), strong.mean((2, 3)), atol=1e-5)


def test_a_spread_that_is_small_enough_is_left_as_it_is() -> None:
    strong, weak = made()
    mean = weak.mean((2, 3), keepdim=True)
    limited = limit_spread(weak, strong, DynamicThresholding())
    # The clamp has nothing to do; the scale is that of the wider one to itself.
    assert torch.allclose(limited, weak, atol=1e-5)
    assert torch.allclose(limited.mean((2, 3), keepdim=True), mean, atol=1e-5)


def test_standard_deviation_as_the_measure() -> None:
    strong, weak = made()
    limited = limit_spread(strong, weak, DynamicThresholding(variability_measure="STD"))
    assert torch.allclose(limited.std((2, 3)), weak.std((2, 3)), atol=1e-5)


def test_from_zero_the_values_themselves_are_scaled() -> None:
    strong, weak = made()
    limited = limit_spread(strong, weak, DynamicThresholding(scaling_startpoint="ZERO"))
    ratio = (spread(weak) / spread(strong))[..., None, None]
    assert torch.allclose(limited, strong * ratio, atol=1e-5)


def test_a_percentile_clamps_what_is_beyond_it() -> None:
    strong, weak = made((1, 1, 20, 20))
    limited = limit_spread(strong, weak, DynamicThresholding(threshold_percentile=90))
    centred = strong - strong.mean()
    most = torch.quantile(centred.abs(), 0.9)
    assert most > spread(weak).item()
    expected = strong.mean() + centred.clamp(-most, most) / most * spread(weak).item()
    assert torch.allclose(limited, expected, atol=1e-5)


def test_without_separate_channels_each_image_has_one_spread_of_its_own() -> None:
    strong, weak = made()
    options = DynamicThresholding(separate_feature_channels=False)
    together = limit_spread(strong, weak, options)
    assert torch.allclose(together[:1], limit_spread(strong[:1], weak[:1], options))
    assert torch.allclose(spread(together).amax(1), spread(weak).amax(1), atol=1e-5)
    assert not torch.allclose(spread(together), spread(weak), atol=1e-2)


def test_phi_mixes_with_the_plain_result() -> None:
    strong, weak = made()
    whole = limit_spread(strong, weak, DynamicThresholding())
    half = limit_spread(strong, weak, DynamicThresholding(interpolate_phi=0.5))
    assert torch.allclose(half, (whole + strong) / 2, atol=1e-5)


@pytest.mark.parametrize(
    ("mode", "share", "expected"),
    [
        ("Constant", 0.5, 9.0),
        ("Linear Down", 0.25, 1 + 8 * 0.75),
        ("Linear Up", 0.25, 1 + 8 * 0.25),
        ("Cosine Down", 0.5, 1 + 8 * math.cos(math.pi / 4)),
        ("Cosine Up", 0.5, 1 + 8 * (1 - math.cos(math.pi / 4))),
        ("Half Cosine Down", 1.0, 1 + 8 * math.cos(1)),
        ("Half Cosine Up", 1.0, 1 + 8 * (1 - math.cos(1))),
        ("Power Up", 0.5, 1 + 8 * 0.5**4),
        ("Power Down", 0.5, 1 + 8 * (1 - 0.5**4)),
        ("Linear Repeating", 0.1, 1 + 8 * (0.5 - 0.4) * 2),
        ("Cosine Repeating", 0.125, 1.0),
        ("Sawtooth", 0.3, 1 + 8 * 0.2),
    ],
)
def test_scales_change_over_the_steps(mode: Any, share: float, expected: float) -> None:
    assert scale_at(9.0, mode, 1.0, 4.0, share) == pytest.approx(expected)


def test_what_the_infotext_says_can_be_read_back() -> None:
    asked = DynamicThresholding(
        enabled=True, mimic_scale=5.5, threshold_percentile=99.5, cfg_mode="Power Up", cfg_scale_min=3,
        separate_feature_channels=False,
    )  # fmt: skip
    said = write(asked)
    assert said["Dynamic thresholding enabled"] == "True" and said["Mimic scale"] == "5.5"
    assert said["CFG mode"] == "Power Up" and "Mimic mode" not in said
    again = read(said)
    assert again is not None and DynamicThresholding.model_validate(again) == asked
    assert read({"Steps": "20"}) is None


def test_a_run_is_changed_and_is_the_plain_one_without_guidance(
    make_plan: Callable[..., Plan], options: EngineOptions, models: Models
) -> None:
    plan = make_plan(guidance=12.0, count=2)
    told = plan.told(NAME, DynamicThresholding(enabled=True, mimic_scale=4.0))
    extended = Models(options, [MODIFIER])
    plain, changed = latents_of(plan, models), latents_of(told, extended)
    assert (plain - changed).abs().max() > 1e-2
    assert changed.std() < plain.std()
    assert torch.equal(latents_of(plan, extended), plain)
    unguided = told.replace(guidance=1.0)
    assert torch.equal(latents_of(unguided, extended), latents_of(plan.replace(guidance=1.0), models))
