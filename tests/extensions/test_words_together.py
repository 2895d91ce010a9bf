"""Taught words, hypernetworks and pictures act together and with guidance of other kinds, in every memory mode."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import save_file
from torch import Tensor

from extensions.free_u.options import FreeU
from extensions.free_u.strengthening import strengthen
from extensions.hypernetworks.applying import apply
from extensions.hypernetworks.extension import tell as tell_hypernetworks
from extensions.ip_adapter.options import IpAdapterOptions
from extensions.ip_adapter.planning import tell as tell_pictures
from extensions.ip_adapter.seeing import Seeing
from extensions.perturbed_attention.options import PerturbedAttention
from extensions.perturbed_attention.perturbing import perturb_attention
from extensions.textual_inversion.extension import tell as tell_words
from extensions.textual_inversion.teaching import teach
from tests.engine_parts import difference, latents_of
from tests.extensions.hypernetworks.test_hypernetworks import RELU, write
from tests.extensions.ip_adapter.pieces import adapter_of, scene, write_tower
from tests.extensions.parts import make_tools
from webui.domain.models import Family, Kind, ModelInfo
from webui.domain.plan import Plan
from webui.engine.models import Models
from webui.engine.run import Modifier
from webui.errors import GenerationError
from webui.extending.api import NoOptions, Tools
from webui.weights.memory import EngineOptions, cache

PlanMaker = Callable[..., Plan]
PICTURE = "a" * 64
MODIFIERS = (
    Modifier("textual_inversion", patches=(teach,)),
    Modifier("hypernetworks", patches=(apply,)),
    Modifier("ip_adapter", patches=(Seeing().enter,)),
    Modifier("free_u", patches=(strengthen,)),
    Modifier("perturbed_attention", guidance=(perturb_attention,)),
)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, tiny_folder: Path) -> Path:
    folder = tmp_path_factory.mktemp("together")
    unet = UNet2DConditionModel.from_pretrained(tiny_folder / "unet")
    save_file({"emb_params": torch.randn(2, 64)}, folder / "zorblax.safetensors")
    save_file(adapter_of(unet, "plus"), folder / "plus.safetensors")
    write_tower(folder / "tower.safetensors")
    write(folder / "soft.pt", said=RELU)
    return folder


@pytest.fixture(scope="module")
def extended(options: EngineOptions) -> Models:
    return Models(options, MODIFIERS)


def tools_of(home: Path) -> Tools:
    def find(kind: Kind, name: str) -> ModelInfo:
        path = next(home.glob(f"{name}.*"))
        return ModelInfo(name=name, path=path, kind=kind, sha256=hashlib.sha256(path.read_bytes()).hexdigest())

    names = {Kind.IMAGE_ENCODER: "tower", Kind.EMBEDDING: "zorblax"}
    return dataclasses.replace(make_tools(), find=find, models=lambda kind: (find(kind, names[kind]),))


def told(plan: Plan, home: Path) -> Plan:
    """Return the plan with all three."""
    tools = tools_of(home)
    asked: dict[str, Any] = {"enabled": True, "image": PICTURE, "model": "plus", "weight": 0.8}
    plan = tell_words(plan, NoOptions(), tools)
    plan = tell_hypernetworks(plan, NoOptions(), tools)
    return tell_pictures(plan, IpAdapterOptions.model_validate({"pictures": [asked]}), tools)


def drawn(plan: Plan, models: Models) -> Tensor:
    with models.fitted(plan, {PICTURE: scene("red")}):
        return latents_of(plan, models)


@contextmanager
def in_mode(mode: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Models]:
    choose = cache.choose_placement
    with monkeypatch.context() as patched:
        patched.setattr(cache, "choose_placement", lambda *given: dataclasses.replace(choose(*given), mode=mode))
        yield Models(EngineOptions(use_cpu=frozenset({"all"}), half=False), MODIFIERS)


@pytest.mark.parametrize("mode", ["medvram", "lowvram"])
def test_memory_modes_change_nothing(
    make_plan: PlanMaker, extended: Models, home: Path, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = make_plan(prompt="a zorblax cat <hypernet:soft:0.5>", steps=2)
    whole, plain = drawn(told(plan, home), extended), drawn(plan, extended)
    with in_mode(mode, monkeypatch) as saving:
        assert difference(drawn(told(plan, home), saving), whole) < 1e-5
        assert difference(drawn(plan, saving), plain) < 1e-5
    assert difference(whole, plain) > 1e-2


def test_they_act_beside_other_guidance_and_all_is_put_back(make_plan: PlanMaker, extended: Models, home: Path) -> None:
    plan = make_plan(prompt="a zorblax cat <hypernet:soft:0.5>", steps=2)
    plain, ours = drawn(plan, extended), drawn(told(plan, home), extended)
    strong = FreeU(enabled=True, b1=1.4, b2=1.6, s1=0.9, s2=0.2)
    others = plan.told("free_u", strong).told("perturbed_attention", PerturbedAttention(enabled=True, scale=3.0))
    guided = drawn(others, extended)
    both = drawn(told(others, home), extended)
    assert difference(both, ours) > 1e-2 and difference(both, guided) > 1e-2
    assert torch.equal(drawn(others, extended), guided)
    assert torch.equal(drawn(plan, extended), plain)
    unet = extended.get(plan.model).resident.network("unet")
    assert not any(layer._forward_hooks or layer._forward_pre_hooks for layer in unet.modules())


@pytest.mark.parametrize("enter", [apply, Seeing().enter])
def test_a_refiner_of_another_family_goes_on_without(enter: Any) -> None:
    notes: list[str] = []
    plan = SimpleNamespace(model=SimpleNamespace(family=Family.SDXL))
    with enter(SimpleNamespace(family=Family.SDXL_REFINER, plan=plan, note=notes.append)):
        assert "another family (sdxl_refiner) goes on" in notes[0]


def test_all_is_put_back_after_an_error(make_plan: PlanMaker, options: EngineOptions, home: Path) -> None:
    def break_off(denoise: Any, run: Any) -> Any:
        raise RuntimeError("stop")

    models = Models(options, [*MODIFIERS, Modifier("broken", wraps=(break_off,))])
    plan = make_plan(prompt="a zorblax cat <hypernet:soft:0.5>", steps=2)
    plain = drawn(plan, models)
    with pytest.raises(GenerationError, match="Extension broken failed"):
        drawn(told(plan, home).told("broken", FreeU()), models)
    resident = models.get(plan.model).resident
    hooked = [layer for part in ("unet", "text_encoder") for layer in resident.network(part).modules()]
    assert not any(layer._forward_hooks or layer._forward_pre_hooks for layer in hooked)
    assert resident.wording == () and set(resident.parts) == {"unet", "vae", "text_encoder"}
    assert torch.equal(drawn(plan, models), plain)
