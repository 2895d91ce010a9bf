"""Hypernetworks: A1111's files in all their forms, x + strength · network(x) before keys and values, all put back."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from extensions.hypernetworks.applying import apply
from extensions.hypernetworks.extension import NAME, tell
from extensions.hypernetworks.networks import load_hypernetwork
from tests.engine_parts import latents_of
from tests.extensions.parts import make_tools
from webui.domain.models import Family, Kind, ModelInfo
from webui.domain.plan import Plan
from webui.engine.models import Models
from webui.engine.run import Modifier
from webui.errors import BadFile, BadRequest, GenerationError
from webui.extending.api import NoOptions
from webui.weights.memory import EngineOptions

PlanMaker = Callable[..., Plan]
WIDTHS = 64, 32  # of the tiny model's texts, and of its first level


def sequence(width: int, *, norm: bool = False, activation: type[nn.Module] | None = nn.ReLU, seed: int = 0,
             last: bool = True, dropout: bool = False) -> nn.Sequential:  # fmt: skip
    """Return a network as A1111 puts it together: twice as wide inside."""
    torch.manual_seed(seed + width)
    modules: list[nn.Module] = []
    for sides in ((width, 2 * width), (2 * width, width)):
        modules.append(nn.Linear(*sides))
        if activation is not None and (last or len(modules) == 1):
            modules.append(activation())
        if norm:
            modules.append(nn.LayerNorm(sides[1]))
        if dropout and sides[1] > width:
            modules.append(nn.Dropout(0.3))
    return nn.Sequential(*modules).eval()


def stored(network: nn.Module) -> dict[str, Tensor]:
    return {f"linear.{name}": value for name, value in network.state_dict().items()}


def write(path: Path, widths: tuple[int, ...] = WIDTHS, said: Mapping[str, Any] = {}, **options: Any) -> Path:
    content: dict[Any, Any] = {
        width: tuple(stored(sequence(width, seed=branch, **options)) for branch in (1, 2)) for width in widths
    }
    torch.save({**content, "name": path.stem, "step": 1000, "layer_structure": [1, 2, 1], **said}, path)
    return path


RELU = {"activation_func": "relu", "activate_output": True}


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("hypernetworks") / "soft.pt", said=RELU)


@pytest.fixture(scope="module")
def extended(options: EngineOptions) -> Models:
    return Models(options, [Modifier(NAME, patches=(apply,))])


def told(plan: Plan, path: Path, family: Family | None = None) -> Plan:
    found = ModelInfo(name=path.stem, path=path, kind=Kind.HYPERNETWORK, family=family, sha256="0" * 64)
    return tell(plan, NoOptions(), dataclasses.replace(make_tools(), find=lambda kind, name: found))


# -- files


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, RELU),
        ({"activation": nn.Hardswish, "norm": True}, {"activation_func": "swish", "is_layer_norm": True}),
        ({"activation": nn.Tanh, "last": False}, {"activation_func": "tanh", "activate_output": False}),
        ({"activation": None}, {}),
        ({"activation": None}, {"activation_func": "linear"}),
        ({"activation": nn.Mish, "norm": True, "dropout": True}, {"activation_func": "mish", "use_dropout": True}),
    ],
)
def test_networks_compute_as_they_were_trained(options: Any, said: Mapping[str, Any], tmp_path: Path) -> None:
    loaded = load_hypernetwork(write(tmp_path / "a.pt", said=said, **options))
    assert set(loaded) == {"64", "32"}
    for width in WIDTHS:
        given = torch.randn(2, 5, width)
        for branch, network in enumerate(loaded[str(width)], 1):  # type: ignore[arg-type]
            assert torch.equal(network(given), sequence(width, seed=branch, **options)(given))


def test_the_oldest_files_number_their_layers_otherwise(tmp_path: Path) -> None:
    network = sequence(64, activation=None)
    old = {name.replace("linear.0", "linear1").replace("linear.1", "linear2"): value
           for name, value in stored(network).items()}  # fmt: skip
    torch.save({64: (old, old)}, tmp_path / "a.pt")
    # A1111's widths are told by their numbers; the catalog knows them, the loader takes what is there.
    given = torch.randn(1, 3, 64)
    assert torch.equal(load_hypernetwork(tmp_path / "a.pt")["64"][0](given), network(given))  # type: ignore[index]


@pytest.mark.parametrize(
    ("said", "options", "words"),
    [
        ({}, {}, "does not say what stands between its layers 0 and 2"),
        ({"activation_func": "threshold"}, {}, "'threshold' is not known"),
        (RELU, {"activation": None}, "does not say what stands between"),
    ],
)
def test_files_that_say_too_little_are_refused(
    said: Mapping[str, Any], options: Any, words: str, tmp_path: Path
) -> None:
    with pytest.raises(BadFile, match=words):
        load_hypernetwork(write(tmp_path / "a.pt", said=said, **options))


def test_layers_that_do_not_fit_together_are_refused(tmp_path: Path) -> None:
    torch.save({64: (stored(sequence(32)), stored(sequence(32)))}, tmp_path / "a.pt")
    with pytest.raises(BadFile, match="do not fit together"):
        load_hypernetwork(tmp_path / "a.pt")
    torch.save({"weight": torch.ones(2)}, tmp_path / "b.pt")
    with pytest.raises(BadFile, match="no layers of a hypernetwork"):
        load_hypernetwork(tmp_path / "b.pt")


# -- planning


def test_tags_become_strengths_of_images(make_plan: PlanMaker, file: Path) -> None:
    plan = make_plan(count=2, prompt="a <hypernet:soft:0.5> cat <hypernet:soft>")
    other = plan.images[1].replace(hires_prompt="a cat <hypernet:soft:-1>")
    facts = told(plan.replace(images=(plan.images[0], other)), file).extensions[NAME]
    assert facts["images"] == [0, 1]
    first, second = facts["networks"]
    assert (first["strengths"], first["second"]) == ([0.5, 0.5], [0.5, -1.0])
    assert (second["strengths"], second["second"]) == ([1.0, 1.0], [1.0, 0.0])


def test_without_effect_there_is_nothing_in_the_plan(make_plan: PlanMaker, file: Path) -> None:
    for prompt in ("a cat", "a cat <hypernet:soft:0>", "<lora:soft:1>"):
        plan = make_plan(prompt=prompt)
        assert told(plan, file) is plan


@pytest.mark.parametrize("prompt", ["<hypernet:soft:much>", "<hypernet:soft:1e9>", "<hypernet:soft:nan>"])
def test_strengths_that_are_none_are_refused(make_plan: PlanMaker, file: Path, prompt: str) -> None:
    with pytest.raises(BadRequest, match="is no number from -10 to 10") as caught:
        told(make_plan(prompt=prompt), file)
    assert caught.value.field == "prompt"


def test_other_families_are_refused(make_plan: PlanMaker, file: Path) -> None:
    plan = make_plan(prompt="<hypernet:soft:1>")
    with pytest.raises(BadRequest, match="is for sd2, the model for sd1"):
        told(plan, file, Family.SD2)
    with pytest.raises(BadRequest, match="do not work with flux"):
        told(plan.replace(model=plan.model.replace(family=Family.FLUX)), file)


# -- pictures


def test_keys_and_values_come_from_what_it_makes(make_plan: PlanMaker, extended: Models, file: Path) -> None:
    """The same as hooks that are put on by hand, on every layer of attention that is as wide."""
    plan = make_plan(prompt="a <hypernet:soft:0.7> cat")
    plain = latents_of(plan, extended)
    changed = latents_of(told(plan, file), extended)
    unet = extended.get(plan.model).resident.network("unet")
    handles, touched = [], set()
    for path, layer in unet.named_modules():
        leaf = path.rpartition(".")[2]
        if leaf in ("to_k", "to_v") and layer.in_features in WIDTHS:
            network = sequence(int(layer.in_features), seed=1 if leaf == "to_k" else 2)
            touched.add(path.split(".")[-2])
            handles.append(
                layer.register_forward_pre_hook(lambda _, args, net=network: (args[0] + 0.7 * net(args[0]),))
            )
    by_hand = latents_of(plan, extended)
    for handle in handles:
        handle.remove()
    assert touched == {"attn1", "attn2"}
    torch.testing.assert_close(changed, by_hand, rtol=1e-5, atol=1e-5)
    assert float((changed - plain).abs().max()) > 0.05
    assert torch.equal(latents_of(plan, extended), plain)
    assert not any(layer._forward_pre_hooks for layer in unet.modules())
    assert not any(part.startswith("hypernetwork") for part in extended.get(plan.model).resident.parts)


def test_each_image_of_a_batch_has_its_own_strength(make_plan: PlanMaker, extended: Models, file: Path) -> None:
    plan = make_plan(count=2)
    with_tag = plan.images[1].replace(prompt="a cat <hypernet:soft:1>")
    both = latents_of(told(plan.replace(images=(plan.images[0], with_tag)), file), extended)
    plain = latents_of(plan, extended)
    torch.testing.assert_close(both[0], plain[0], rtol=1e-4, atol=1e-4)
    assert float((both[1] - plain[1]).abs().max()) > 0.05


def test_everything_is_put_back_after_an_error(make_plan: PlanMaker, extended: Models, tmp_path: Path) -> None:
    plan = make_plan(prompt="<hypernet:wide:1>")
    with pytest.raises(GenerationError, match="no layers for the attention of this model"):
        latents_of(told(plan, write(tmp_path / "wide.pt", (768,), RELU)), extended)
    resident = extended.get(plan.model).resident
    assert not any(layer._forward_pre_hooks for layer in resident.network("unet").modules())
    assert not any(part.startswith("hypernetwork") for part in resident.parts)
