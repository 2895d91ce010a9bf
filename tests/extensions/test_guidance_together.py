"""All guidance extensions in one run, as the worker loads them: in every memory mode, and with nothing left behind."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
import torch

from tests.engine_parts import difference, latents_of
from tests.extensions.parts import EXTENSIONS, make_tools
from webui.domain.plan import Plan
from webui.domain.request import GenerationRequest
from webui.engine.models import Models
from webui.extending.features import Features
from webui.extending.in_worker import modifier_of
from webui.weights.memory import EngineOptions, cache

PlanMaker = Callable[..., Plan]
OPTIONS = {
    "dynamic_thresholding": {"enabled": True, "mimic_scale": 4},
    "free_u": {"enabled": True, "b1": 1.2, "b2": 1.3, "s1": 0.9, "s2": 0.5},
    "perturbed_attention": {"enabled": True, "scale": 2},
    "regional_prompts": {"enabled": True},
    "self_attention_guidance": {"enabled": True, "scale": 0.5},
}
APIS = [api for api in EXTENSIONS.apis if api.name in OPTIONS]


def planned(make_plan: PlanMaker, **changes: object) -> Plan:
    plan = make_plan(prompt="a cat BREAK a dog", count=2, guidance=9.0, steps=3, **changes)
    return Features(APIS).change_plan(plan, GenerationRequest(extensions=OPTIONS), make_tools())


@pytest.fixture(scope="module")
def extended(options: EngineOptions) -> Models:
    return Models(options, [modifier_of(api) for api in APIS])


@pytest.mark.parametrize("mode", ["medvram", "lowvram"])
def test_memory_modes_make_no_difference(
    extended: Models, make_plan: PlanMaker, mode: str, monkeypatch: pytest.MonkeyPatch, options: EngineOptions
) -> None:
    expected = latents_of(planned(make_plan), extended)
    choose = cache.choose_placement
    monkeypatch.setattr(cache, "choose_placement", lambda *given: dataclasses.replace(choose(*given), mode=mode))
    saving = Models(options, [modifier_of(api) for api in APIS])
    assert difference(latents_of(planned(make_plan), saving), expected) < 1e-5


def test_each_of_them_matters_and_nothing_stays(extended: Models, models: Models, make_plan: PlanMaker) -> None:
    plan = planned(make_plan)
    together = latents_of(plan, extended)
    for left_out in OPTIONS:
        others = {name: facts for name, facts in plan.extensions.items() if name != left_out}
        assert difference(latents_of(plan.replace(extensions=others), extended), together) > 1e-4, left_out
    plain = make_plan(count=2)
    assert torch.equal(latents_of(plain, extended), latents_of(plain, models))
