"""Options of sampling, noise and variation in the text, and back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from webui.domain.models import Family
from webui.domain.plan import ImagePlan, ModelRef, Plan, SamplingPlan, VariationPlan
from webui.domain.sampling_options import SamplingOptions, Variation
from webui.images.infotext import read, write


def text(
    sampler: str = "Euler a", schedule: str = "Automatic", variation_seed: int | None = None, **changes: Any
) -> str:
    model = ModelRef(name="m", path=Path("/m"), family=Family.SD1, layout="diffusers", sha256="ab" * 32)
    image = ImagePlan(index=0, seed=1, variation_seed=variation_seed, prompt="a cat", negative_prompt="")
    plan = Plan(
        model=model, sampler=sampler, schedule=schedule, steps=20, guidance=7.0, width=512, height=512,
        images=(image,), **changes,
    )  # fmt: skip
    return write(plan, 0)


def test_everything_is_read_back() -> None:
    options = SamplingPlan(
        eta=0.5, churn=4, tmin=0.1, tmax=9, noise=1.01, sigma_min=0.1, sigma_max=10, rho=5, beta_alpha=0.5,
        beta_beta=0.7, discard_penultimate=True, noise_source="NV", seed_delta=31337,
    )  # fmt: skip
    churned = read(text("Euler", "Beta", sampling=options.replace(eta=None)))
    assert churned.unmapped == ()
    heeded = {**dict(options), "eta": None, "seed_delta": 0}
    assert churned.request.sampling == SamplingOptions.model_validate(heeded)
    ancestral = read(text("Euler a", sampling=options)).request.sampling
    assert (ancestral.eta, ancestral.seed_delta, ancestral.churn, ancestral.noise) == (0.5, 31337, 0, 1.01)
    assert ancestral.beta_alpha == 0.6


def test_variation_is_read_back() -> None:
    written = text(variation_seed=77, variation=VariationPlan(strength=0.25, resize_from=(640, 512)))
    assert "Variation seed: 77, Variation seed strength: 0.25, Seed resize from: 640x512" in written
    expected = Variation(seed=77, strength=0.25, resize_from_width=640, resize_from_height=512)
    assert read(written).request.variation == expected


def test_the_usual_is_not_written() -> None:
    assert "RNG" not in text(sampling=SamplingPlan(eta=1.0, noise_source="GPU"))
    assert "Eta" not in text(sampling=SamplingPlan(eta=1.0))
    assert "Eta DDIM: 0.5" in text("DDIM", sampling=SamplingPlan(eta=0.5))
    assert "ENSD" not in text("Euler", sampling=SamplingPlan(seed_delta=5))
    assert "Discard" not in text("DPM2", sampling=SamplingPlan(discard_penultimate=True))


@pytest.mark.parametrize(
    "pair",
    ["RNG: dice", "Eta: 7", "Sigma churn: x", "Variation seed: -9", "Seed resize from: 5", "Seed resize from: 1x1"],
)
def test_nonsense_is_told_and_left_out(pair: str) -> None:
    found = read(f"a cat\nSteps: 20, Sampler: Euler, Seed: 1, {pair}")
    assert len(found.unmapped) == 1 and found.unmapped[0].startswith(pair)
    assert found.request.sampling == SamplingOptions() and found.request.variation is None
