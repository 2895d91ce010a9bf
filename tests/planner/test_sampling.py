"""The planner fills the options of sampling: what was asked, else the settings, and eta only where there is one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.planner_parts import FakeShelf
from webui import planner
from webui.domain.models import Family, ModelInfo
from webui.domain.plan import Plan, SamplingPlan, VariationPlan
from webui.domain.request import GenerationRequest
from webui.domain.sampling import SAMPLERS
from webui.domain.sampling_options import MAX_SEED, SamplingOptions, Variation
from webui.settings import Settings

MODEL = ModelInfo(name="m", path=Path("/m"), family=Family.SD1, layout="diffusers", sha256="ab" * 32)


def plan(request: GenerationRequest, **settings: Any) -> Plan:
    return planner.plan_generation(request, Settings(**settings), FakeShelf(MODEL), lambda: 1234)


def test_nothing_asked_is_the_settings() -> None:
    assert plan(GenerationRequest(sampler="Euler")).sampling == SamplingPlan()
    changed = {"churn": 3.0, "tmax": 9.0, "rho": 5.0, "noise_source": "NV", "seed_delta": 31337, "beta_alpha": 0.5}
    assert plan(GenerationRequest(sampler="Euler"), **changed).sampling == SamplingPlan.model_validate(changed)


def test_what_was_asked_wins_even_if_it_is_nothing() -> None:
    asked = SamplingOptions(churn=0, noise_source="CPU", discard_penultimate=False)
    changed = plan(
        GenerationRequest(sampler="Euler", sampling=asked), churn=3.0, noise_source="NV", discard_penultimate=True
    )
    assert changed.sampling == SamplingPlan()


@pytest.mark.parametrize("info", SAMPLERS, ids=lambda info: info.name)
def test_eta_is_for_samplers_that_have_one(info: Any) -> None:
    assert plan(GenerationRequest(sampler=info.name)).sampling.eta == info.default_eta
    asked = plan(GenerationRequest(sampler=info.name, sampling=SamplingOptions(eta=0.6))).sampling.eta
    assert asked == (None if info.default_eta is None else 0.6)
    settings = plan(GenerationRequest(sampler=info.name), eta_ancestral=0.9, eta_ddim=0.2).sampling.eta
    assert settings == {1.0: 0.9, 0.0: 0.2}.get(info.default_eta, info.default_eta)


def test_variations_share_the_seed_and_count_their_own_up() -> None:
    resolved = plan(GenerationRequest(seed=5, variation=Variation(seed=MAX_SEED, strength=0.5), batch_count=2))
    assert [(image.seed, image.variation_seed) for image in resolved.images] == [(5, MAX_SEED), (5, 0)]
    assert resolved.variation == VariationPlan(strength=0.5)
    anything = plan(GenerationRequest(seed=5, variation=Variation(strength=0.5)))
    assert anything.images[0].variation_seed == 1234


def test_a_variation_of_no_strength_is_none() -> None:
    resolved = plan(GenerationRequest(seed=5, variation=Variation(seed=9), batch_count=2))
    assert [(image.seed, image.variation_seed) for image in resolved.images] == [(5, None), (6, None)]


def test_seed_resize_takes_the_pictures_size_for_what_is_left_out() -> None:
    variation = Variation(resize_from_width=640)
    assert plan(GenerationRequest(width=512, height=320, variation=variation)).variation.resize_from == (640, 320)
    assert plan(GenerationRequest(variation=Variation())).variation == VariationPlan()


def test_images_that_depend_on_their_batch_are_made_alone() -> None:
    def sizes(sampler: str) -> list[int]:
        return [len(batch) for batch in plan(GenerationRequest(sampler=sampler, batch_size=3)).batches]

    assert (sizes("DPM adaptive"), sizes("DPM fast")) == ([1, 1, 1], [3])
