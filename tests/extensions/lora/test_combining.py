"""The three ways to combine several LoRAs, against the equations of arXiv:2402.16843, and quantised weights."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from extensions.lora.combining import Member, Scene
from extensions.lora.merging import merged
from extensions.lora.options import Combination, LoraFacts
from extensions.lora.tags import Ask, Steps
from tests import tiny_flux
from tests.extensions.lora.lora_parts import (
    CPU,
    all_weights,
    draw,
    load_model,
    low_rank,
    parts_of,
    product,
    read,
    write,
)
from tests.gguf_parts import unet_weights, write_gguf
from tests.tiny_models import make_networks
from webui.weights.loading.load import load
from webui.weights.loading.quantised import dequantise, is_quantised
from webui.weights.memory import Placement, Resident
from webui.weights.recognition.identify import identify

LAYERS = ("down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k", "mid_block.resnets.0.conv1", "conv_out")
STEPS, GUIDANCE, STRENGTHS = 8, 5.0, (0.7, 1.2)
SIGMAS = [8.0 - number for number in range(STEPS)] + [0.0]


@pytest.fixture(scope="module")
def model(tiny_folder: Path) -> Resident:
    return load_model(tiny_folder)


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory, model: Resident) -> list[Any]:
    folder = tmp_path_factory.mktemp("loras")
    found = []
    for number in range(2):
        tensors = {}
        for place, layer in enumerate(LAYERS):
            up, down = low_rank(model.weights("unet")[f"{layer}.weight"], 100 * number + 10 * place)
            tensors |= {f"unet.{layer}.lora_B.weight": up, f"unet.{layer}.lora_A.weight": down}
        found.append(read(write(folder / f"{number}.safetensors", tensors), model))
    return found


def merged_unet(*numbers: int) -> nn.Module:
    """Return the UNet with the LoRAs of these numbers in its weights, made without the extension."""
    unet = make_networks()["unet"]
    with torch.no_grad():
        for number in numbers:
            for place, layer in enumerate(LAYERS):
                weight = unet.get_submodule(layer).weight
                pair = low_rank(weight, 100 * number + 10 * place)
                weight += STRENGTHS[number] * product(*pair, weight.shape)
    return unet


def guided(unet: nn.Module, latents: Tensor, sigma: float) -> Tensor:
    """Return ε(∅) + s (ε(c) - ε(∅)), equation 2."""
    conditions = draw(2, 77, 64, seed=5, scale=1.0)
    with torch.inference_mode():
        time = torch.tensor(sigma * 100)
        without, with_prompt = (
            unet(latents, time, encoder_hidden_states=each[None], return_dict=False)[0] for each in conditions
        )
    return without + GUIDANCE * (with_prompt - without)


def scene_of(
    model: Resident, networks: list[Any], combination: Combination, every: int = 1, steps: tuple[Steps, ...] = ()
) -> Scene:
    asks = [Ask(name=str(number), unet=STRENGTHS[number]) for number in range(len(networks))]
    asks = [ask.replace(steps=each) for ask, each in zip(asks, steps, strict=True)] if steps else asks
    members = [
        Member(ask, str(number), {part: tuple(found) for part, found in parts_of(network, ask.unet).items()})
        for number, (ask, network) in enumerate(zip(asks, networks, strict=True))
    ]
    return Scene(model, members, LoraFacts(networks={}, combination=combination, switch_every=every))


def run_of() -> Any:
    """Return what a scene asks a run for."""
    return SimpleNamespace(sigmas=SIGMAS, step_at=SIGMAS.index)


def trajectory(scene: Scene, model: Resident) -> list[Tensor]:
    """Return what the guided network says in each step."""
    before = all_weights(model)
    with scene.open():
        denoise = scene.wrap(lambda latents, sigma: guided(model.network("unet"), latents, sigma), run_of())
        found = [denoise(draw(1, 4, 8, 8, seed=step, scale=1.0), SIGMAS[step]) for step in range(STEPS)]
    assert all(torch.equal(tensor, before[name]) for name, tensor in all_weights(model).items())
    return found


def check(found: list[Tensor], wanted: list[Tensor]) -> None:
    for step, (one, other) in enumerate(zip(found, wanted, strict=True)):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3, msg=lambda text, step=step: f"step {step} {text}")


def by_hand(unets: list[nn.Module]) -> list[Tensor]:
    return [guided(unets[step], draw(1, 4, 8, 8, seed=step, scale=1.0), SIGMAS[step]) for step in range(STEPS)]


def test_merge_adds_all_changes(model: Resident, networks: list[Any]) -> None:
    """Equation 1 for several: W + Σ w_i B_i A_i."""
    check(trajectory(scene_of(model, networks, "Merge"), model), by_hand([merged_unet(0, 1)] * STEPS))


@pytest.mark.parametrize("every", [1, 2, 3])
def test_switch_gives_each_its_turn(every: int, model: Resident, networks: list[Any]) -> None:
    """Equation 3: in step t, from 1, LoRA ⌊((t - 1) mod kτ) / τ⌋ + 1 is active."""
    alone, count = [merged_unet(0), merged_unet(1)], 2
    turns = [((t - 1) % (count * every)) // every for t in range(1, STEPS + 1)]
    assert set(turns) == {0, 1}
    check(trajectory(scene_of(model, networks, "Switch", every), model), by_hand([alone[turn] for turn in turns]))


def test_composite_is_the_mean_of_the_guided_predictions(model: Resident, networks: list[Any]) -> None:
    """Equation 4: 1/k Σ [ε_i(∅) + s (ε_i(c) - ε_i(∅))], each with one LoRA alone."""
    first, second = by_hand([merged_unet(0)] * STEPS), by_hand([merged_unet(1)] * STEPS)
    wanted = [(one + other) / 2 for one, other in zip(first, second, strict=True)]
    check(trajectory(scene_of(model, networks, "Composite"), model), wanted)


@pytest.mark.parametrize("room", [0, 2**40])
def test_turns_need_no_memory_of_their_own(
    room: int, model: Resident, networks: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where there is room, what was merged is kept for the next turn; the predictions are the same."""
    monkeypatch.setattr(model, "room", lambda component: room)
    scene = scene_of(model, networks, "Switch")
    check(trajectory(scene, model), by_hand([merged_unet(step % 2) for step in range(STEPS)]))
    assert len(scene._kept) == (2 if room else 0)


def test_without_room_for_changed_weights_linear_layers_get_the_change_beside_them(
    model: Resident, networks: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The two other layers are convolutions, whose weights are changed."""
    monkeypatch.setattr(model, "room", lambda component: 0)
    before = {name: tensor.data_ptr() for name, tensor in model.weights("unet").items()}
    scene = scene_of(model, networks, "Merge")
    with scene.open():
        now = {name: tensor.data_ptr() for name, tensor in model.weights("unet").items()}
    assert {name for name in now if now[name] != before[name]} == {f"{layer}.weight" for layer in LAYERS[1:]}
    check(trajectory(scene_of(model, networks, "Merge"), model), by_hand([merged_unet(0, 1)] * STEPS))


@pytest.mark.parametrize(
    ("combination", "expected"),
    [
        ("Merge", [((0,),)] * 2 + [((0, 1),)] * 4 + [((1,),)] * 2),
        ("Switch", [((0,),)] * 2 + [((0,),), ((1,),), ((0,),), ((1,),)] + [((1,),)] * 2),
        ("Composite", [((0,),)] * 2 + [((0,), (1,))] * 4 + [((1,),)] * 2),
    ],
)
def test_turns_within_ranges_of_steps(
    combination: Combination, expected: list[Any], model: Resident, networks: list[Any]
) -> None:
    steps = (Steps(first=0.0, last=0.75), Steps(first=3, last=8, shares=False))
    scene = scene_of(model, networks, combination, steps=steps)
    assert [scene.turns(step, STEPS) for step in range(STEPS)] == expected


def test_one_network_all_the_time_costs_nothing_at_run_time(model: Resident, networks: list[Any]) -> None:
    scene = scene_of(model, networks[:1], "Composite")

    def denoise(latents: Tensor, sigma: float) -> Tensor:
        return latents

    assert scene.wrap(denoise, run_of()) is denoise
    with scene.open():
        assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.network("unet").modules())


# -- quantised weights -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Resident:
    """Return a Flux whose linear layers keep 8-bit floats."""
    checkpoint = identify(tiny_flux.make_folder(tmp_path_factory.mktemp("small") / "flux"))
    parts = {
        name: dataclasses.replace(part, eight_bit=name == "transformer") for name, part in checkpoint.parts.items()
    }
    dtypes = dict.fromkeys(parts, torch.float32)
    return Resident(load(dataclasses.replace(checkpoint, parts=parts), dtypes), Placement(CPU, dtypes))


def files_for(kind: str, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    if kind == "lora":
        tensors = {}
        for number, (name, weight) in enumerate(weights.items()):
            up, down = low_rank(weight, 10 * number)
            tensors |= {
                f"{name}.lora_up.weight": up,
                f"{name}.lora_down.weight": down,
                f"{name}.alpha": torch.tensor(1.5),
            }
        return tensors
    if kind == "diff":
        return {
            f"{name}.diff": draw(*weight.shape, seed=number) for number, (name, weight) in enumerate(weights.items())
        }
    return {f"{name}.diff_b": draw(len(weight), seed=number) for number, (name, weight) in enumerate(weights.items())}


@pytest.mark.parametrize("kind", ["lora", "diff", "diff_b"])
def test_beside_quantised_weights_the_same_is_computed(kind: str, small: Resident, tmp_path: Path) -> None:
    """Each layer gives what a plain one gives whose weight is the quantised one made plain, with the change in it."""
    transformer = small.network("transformer")
    fused = ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp")
    names = [f"single_transformer_blocks.1.{name}" for name in fused] + ["transformer_blocks.0.attn.to_out.0"]
    plain = {}
    for name in names:
        layer = transformer.get_submodule(name)
        assert is_quantised(layer.weight)
        plain[name] = dequantise(layer.weight, torch.float32), layer.bias.clone()
    sites = {
        "lora_unet_single_blocks_1_linear1": torch.cat([plain[name][0] for name in names[:4]]),
        "lora_unet_double_blocks_0_img_attn_proj": plain[names[4]][0],
    }
    tensors = files_for(kind, sites)
    network = read(write(tmp_path / "net.safetensors", tensors), small)
    x, before = {name: draw(2, each[0].shape[1], seed=3) for name, each in plain.items()}, all_weights(small)
    with merged(small, "transformer", parts_of(network, 0.8)["transformer"], "a"):
        found = {name: transformer.get_submodule(name)(x[name]) for name in names}
    rows = [len(plain[name][0]) for name in names[:4]]
    for place, group in zip(sites, (names[:4], names[4:]), strict=True):
        change: Tensor | None = None
        offset: Tensor | None = None
        if kind == "lora":
            up, down = tensors[f"{place}.lora_up.weight"], tensors[f"{place}.lora_down.weight"]
            change = 0.8 * 0.5 * up @ down
        elif kind == "diff":
            change = 0.8 * tensors[f"{place}.diff"]
        else:
            offset = 0.8 * tensors[f"{place}.diff_b"]
        shares = rows if len(group) > 1 else [len(plain[group[0]][0])]
        for number, name in enumerate(group):
            weight, bias = plain[name]
            weight = weight if change is None else weight + change.split(shares)[number]
            bias = bias if offset is None else bias + offset.split(shares)[number]
            torch.testing.assert_close(found[name], nn.functional.linear(x[name], weight, bias))
    after = {name: transformer.get_submodule(name)(x[name]) for name in names}
    for name, (weight, bias) in plain.items():
        assert torch.equal(after[name], nn.functional.linear(x[name], weight, bias))
    assert all(torch.equal(tensor, before[name]) for name, tensor in all_weights(small).items())


def test_blocks_of_gguf_get_the_change_beside_them_and_convolutions_in_them(
    model: Resident, networks: list[Any], tmp_path: Path
) -> None:
    file = write_gguf(tmp_path / "unet.gguf", unet_weights())
    part = dataclasses.replace(model.checkpoint.parts["unet"], files=(file,), layout="original", prefix="")
    checkpoint = dataclasses.replace(model.checkpoint, parts={**model.checkpoint.parts, "unet": part})
    dtypes = dict.fromkeys(checkpoint.parts, torch.float32)
    small = Resident(load(checkpoint, dtypes), Placement(CPU, dtypes))
    assert is_quantised(small.weights("unet")[f"{LAYERS[0]}.weight"])
    plain = make_networks()["unet"]
    with torch.no_grad():
        for name, tensor in small.weights("unet").items():
            plain.get_parameter(name).copy_(dequantise(tensor, torch.float32) if is_quantised(tensor) else tensor)
        for place, layer in enumerate(LAYERS):
            weight = plain.get_submodule(layer).weight
            weight += STRENGTHS[0] * product(*low_rank(weight, 10 * place), weight.shape)
    found = trajectory(scene_of(small, networks[:1], "Merge"), small)
    check(found, by_hand([plain] * STEPS))
