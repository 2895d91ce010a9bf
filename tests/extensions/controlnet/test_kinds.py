"""Control-LoRA, LLLite and reference-only, against what their makers published; files that do not fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import ControlNetModel
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from extensions.controlnet.networks.lite import find_layer
from extensions.controlnet.reference import choose_attention
from tests.engine_parts import PlanMaker, difference, latents_of, plans_of
from tests.extensions.controlnet.control_parts import (
    HINT,
    OTHER_HINT,
    REGION,
    awake,
    control_models,
    hooks_of,
    original_controlnet,
    shapes,
    steered,
    tokens_of,
    unit,
    write_file,
)
from tests.tiny_models import make_networks
from tests.tiny_xl import make_folder as make_xl
from tests.tiny_xl import make_networks as make_xl_networks
from webui.domain.models import Family
from webui.engine.engine import EngineOptions
from webui.engine.models import Models
from webui.errors import BadFile


@pytest.fixture(scope="module")
def steered_models(options: EngineOptions) -> Models:
    return control_models(options)


@pytest.fixture(scope="module")
def plan_xl(make_plan: PlanMaker, tmp_path_factory: pytest.TempPathFactory) -> PlanMaker:
    return plans_of(make_plan, Family.SDXL, path=make_xl(tmp_path_factory.mktemp("models") / "xl"))


# Control-LoRA


def test_a_control_lora_is_the_network_that_its_ranks_make_of_the_unet(
    steered_models: Models, plan_xl: PlanMaker, tmp_path: Path
) -> None:
    """Its matrices are those of the UNet plus up · down; its picture's layers and zero convolutions are whole."""
    network = awake(ControlNetModel.from_unet(make_xl_networks()["unet"]))
    weights = dict(network.state_dict())
    draw = torch.Generator().manual_seed(1)
    ranks: dict[str, Tensor] = {"lora_controlnet": torch.zeros(0)}
    for name, tensor in network.state_dict().items():
        original = next(iter(original_controlnet({name: tensor}, 1))).removeprefix("control_model.")
        copied = not name.startswith("controlnet_")
        if copied and tensor.dim() > 1:
            up = torch.randn(len(tensor), 4, generator=draw) * 0.1
            down = torch.randn(4, *tensor.shape[1:], generator=draw) * 0.1
            ranks |= {f"{original[:-7]}.up": up, f"{original[:-7]}.down": down}
            weights[name] = tensor + (up @ down.flatten(1)).reshape(tensor.shape)
        elif not copied or "norm" in name:  # the other ones are left to the UNet
            ranks[original] = tensor
    merged = write_file(tmp_path / "merged.safetensors", weights)
    path = write_file(tmp_path / "ranks.safetensors", ranks)
    plan = plan_xl()
    expected = latents_of(steered(plan, unit(merged)), steered_models)
    ours = latents_of(steered(plan, unit(path, variant="control-lora")), steered_models)
    assert difference(ours, expected) < 1e-4
    assert difference(ours, latents_of(plan, steered_models)) > 1e-2


# LLLite


def lite_weights(unet: nn.Module, names: dict[str, str]) -> dict[str, Tensor]:
    """Return a file for layers of the UNet, by their names in it: as wide as sd-scripts makes them, but tiny."""
    draw = torch.Generator().manual_seed(5)
    weights = {}
    for name, layer in names.items():
        wide = unet.get_submodule(layer).in_features
        shapes_ = {
            "conditioning1.0": (4, 3, 4, 4), "conditioning1.2": (8, 4, 4, 4), "down.0": (6, wide),
            "mid.0": (6, 14), "up.0": (wide, 6),
        }  # fmt: skip
        for part, shape in shapes_.items():
            weights[f"{name}.{part}.weight"] = torch.randn(shape, generator=draw) * 0.3
            weights[f"{name}.{part}.bias"] = torch.randn(shape[0], generator=draw) * 0.3
    return weights


LITE = {
    "lllite_unet_input_blocks_3_1_transformer_blocks_0_attn1_to_q": (
        "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"
    ),
    "lllite_unet_input_blocks_3_1_transformer_blocks_0_attn2_to_q": (
        "down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_q"
    ),
}


def test_names_of_sdxl_are_found() -> None:
    found = find_layer("lllite_unet_input_blocks_8_1_transformer_blocks_9_attn1_to_v", 2)
    assert found == "down_blocks.2.attentions.1.transformer_blocks.9.attn1.to_v"
    middle = find_layer("lllite_unet_middle_block_1_transformer_blocks_3_attn2_to_q", 2)
    assert middle == "mid_block.attentions.0.transformer_blocks.3.attn2.to_q"
    up = find_layer("lllite_unet_output_blocks_4_1_transformer_blocks_0_attn1_to_k", 2)
    assert up == "up_blocks.1.attentions.1.transformer_blocks.0.attn1.to_k"
    assert find_layer("lllite_unet_time_embed_0", 2) == ""


def test_lllite_adds_what_its_formula_says(steered_models: Models, plan_xl: PlanMaker, tmp_path: Path) -> None:
    """x + up(relu(mid(cat(conditioning1(picture), relu(down(x)))))) · weight, on each of its layers."""
    unet = make_xl_networks()["unet"]
    weights = lite_weights(unet, LITE)
    path = write_file(tmp_path / "lite.safetensors", weights)
    plan = plan_xl()
    ours = latents_of(steered(plan, unit(path, variant="lllite", weight=0.7)), steered_models)
    network = steered_models.get(plan.model).resident.network("unet")
    assert not hooks_of(network)
    handles = [
        network.get_submodule(layer).register_forward_pre_hook(formula(weights, name, 0.7))
        for name, layer in LITE.items()
    ]
    expected = latents_of(plan, steered_models)
    for handle in handles:
        handle.remove()
    assert difference(ours, expected) < 1e-5
    assert difference(ours, latents_of(plan, steered_models)) > 1e-2


def formula(weights: dict[str, Tensor], name: str, weight: float) -> Any:
    own = {key.removeprefix(f"{name}."): tensor for key, tensor in weights.items() if key.startswith(f"{name}.")}
    picture = tokens_of(shapes()) * 2 - 1
    seen = torch.conv2d(picture, own["conditioning1.0.weight"], own["conditioning1.0.bias"], stride=4).relu()
    seen = torch.conv2d(seen, own["conditioning1.2.weight"], own["conditioning1.2.bias"], stride=4)
    seen = seen.flatten(2).transpose(1, 2)

    def hook(layer: nn.Module, given: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        (states,) = given
        down = (states @ own["down.0.weight"].T + own["down.0.bias"]).relu()
        both = torch.cat([seen.expand(len(states), -1, -1), down], -1)
        middle = (both @ own["mid.0.weight"].T + own["mid.0.bias"]).relu()
        return (states + (middle @ own["up.0.weight"].T + own["up.0.bias"]) * weight,)

    return hook


def test_lllite_leaves_out_negative_prompts_where_the_control_is_more_important(
    steered_models: Models, plan_xl: PlanMaker, tmp_path: Path
) -> None:
    path = write_file(tmp_path / "lite.safetensors", lite_weights(make_xl_networks()["unet"], LITE))
    plan = plan_xl(width=72, height=88)  # of odd latents, too
    draws = [
        latents_of(steered(plan, unit(path, variant="lllite", **changes)), steered_models)
        for changes in ({}, {"control_mode": "control"}, {"region": REGION})
    ]
    assert difference(draws[0], draws[1]) > 1e-3 and difference(draws[0], draws[2]) > 1e-3


def test_lllite_for_other_layers_is_refused(steered_models: Models, make_plan: PlanMaker, tmp_path: Path) -> None:
    path = write_file(tmp_path / "lite.safetensors", lite_weights(make_xl_networks()["unet"], LITE))
    other = {name.replace("input_blocks_3", "input_blocks_9"): each for name, each in load_file(path).items()}
    wrong = write_file(tmp_path / "wrong.safetensors", other)
    with pytest.raises(BadFile, match=r"belongs to no layer of this checkpoint"):
        latents_of(steered(make_plan(), unit(wrong, variant="lllite")), steered_models)


# Reference-only


def reference(**changes: Any) -> Any:
    return unit(None, preprocessor="reference_only", **changes)


def test_wide_layers_take_part_first() -> None:
    unet = make_networks()["unet"]
    assert len(choose_attention(unet, 1.0)) == 7 and not choose_attention(unet, 0)
    half = choose_attention(unet, 0.5)
    assert len(half) == 4 and {layer.to_q.in_features for layer in half} == {64}


def test_the_image_refers_to_the_picture(steered_models: Models, make_plan: PlanMaker) -> None:
    plan = make_plan()
    plain = latents_of(plan, steered_models)
    referred = latents_of(steered(plan, reference()), steered_models)
    assert difference(referred, plain) > 1e-2
    assert torch.equal(latents_of(steered(plan, reference()), steered_models), referred)
    assert torch.equal(latents_of(plan, steered_models), plain)


@pytest.mark.parametrize("fidelity", [0.0, 0.5, 1.0])
def test_attention_finds_the_picture_beside_its_own_places(
    steered_models: Models, make_plan: PlanMaker, fidelity: float
) -> None:
    """One layer's output is attention to own and kept states; for negative prompts mixed with that to its own."""
    plan = make_plan(steps=1)
    network = steered_models.get(plan.model).resident.network("unet")
    (layer,) = choose_attention(network, 0.1)
    block = next(module for module in network.modules() if getattr(module, "attn1", None) is layer)
    given: list[Tensor] = []
    around: list[Tensor] = []  # before and behind the attention: what it adds, after all hooks, lies between
    handles = [
        layer.register_forward_pre_hook(lambda module, told: given.append(told[0].clone())),
        block.norm1.register_forward_pre_hook(lambda module, told: around.append(told[0].clone())),
        block.norm2.register_forward_pre_hook(lambda module, told: around.append(told[0].clone())),
    ]
    latents_of(steered(plan, reference(weight=0.1, options={"threshold_a": fidelity})), steered_models)
    for handle in handles:
        handle.remove()
    kept, states = given  # the first call is that in which the UNet sees the picture
    with torch.inference_mode():
        alone = layer(states)
        expected = layer(states, encoder_hidden_states=torch.cat([states, kept], 1))
        assert not torch.allclose(alone, expected, atol=1e-4)
        expected[0] = fidelity * alone[0] + (1 - fidelity) * expected[0]  # the negative prompt's row
    assert torch.allclose(around[3] - around[2], expected, atol=1e-6)


def test_what_one_unit_sees_is_not_steered_by_others(
    steered_models: Models, plan_xl: PlanMaker, tmp_path: Path
) -> None:
    """Two references in either order, and beside LLLite: each picture is kept as the UNet sees it by itself."""
    path = write_file(tmp_path / "lite.safetensors", lite_weights(make_xl_networks()["unet"], LITE))
    plan = plan_xl(steps=2)
    one, other = reference(), reference(number=1, image=OTHER_HINT)
    assert torch.allclose(
        latents_of(steered(plan, one, other), steered_models),
        latents_of(steered(plan, other, one), steered_models),
        atol=1e-3,
    )
    network = steered_models.get(plan.model).resident.network("unet")
    layer = network.get_submodule("down_blocks.1.attentions.0.transformer_blocks.0.attn1")
    seen: list[Tensor] = []
    handle = layer.to_q.register_forward_hook(lambda module, given, output: seen.append(output.clone()))
    for units in ((one,), (one, unit(path, 1, variant="lllite"))):
        latents_of(steered(plan, *units), steered_models)
    handle.remove()
    half = len(seen) // 2
    assert torch.equal(seen[0], seen[half]), "the picture in the first call"
    assert not torch.equal(seen[1], seen[half + 1]), "the image in the first call"


def test_a_region_limits_what_refers(steered_models: Models, make_plan: PlanMaker) -> None:
    plan = make_plan()
    everywhere, left = (
        latents_of(steered(plan, reference(**changes)), steered_models) for changes in ({}, {"region": REGION})
    )
    assert difference(everywhere, left) > 1e-3
    assert difference(left, latents_of(plan, steered_models)) > 1e-3


# Files that do not fit


def test_networks_of_other_families_are_refused(steered_models: Models, make_plan: PlanMaker, tmp_path: Path) -> None:
    network = ControlNetModel.from_unet(make_xl_networks()["unet"])
    path = write_file(tmp_path / "xl.safetensors", network.state_dict())
    with pytest.raises(BadFile, match=r"xl: it was made for SDXL, but the checkpoint is of the family Stable Diff"):
        latents_of(steered(make_plan(), unit(path, family=Family.SDXL)), steered_models)
    with pytest.raises(BadFile, match=r"it was made for levels of the widths \[32, 64, 128\], but this checkpoint has"):
        latents_of(steered(make_plan(), unit(path)), steered_models)


def test_broken_files_are_refused(steered_models: Models, make_plan: PlanMaker, tmp_path: Path) -> None:
    weights = dict(ControlNetModel.from_unet(make_networks()["unet"]).state_dict())
    weights.pop("controlnet_down_blocks.0.bias")
    lacking = write_file(tmp_path / "lacking.safetensors", weights)
    with pytest.raises(BadFile, match=r"lacking.safetensors: it lacks controlnet_down_blocks.0.bias"):
        latents_of(steered(make_plan(), unit(lacking)), steered_models)
    short = tmp_path / "short.safetensors"
    save_file({"a": torch.zeros(400)}, short)
    short.write_bytes(short.read_bytes()[:300])
    with pytest.raises(BadFile, match=r"short.safetensors: it cannot be used"):
        latents_of(steered(make_plan(), unit(short)), steered_models)
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadFile, match="there are no weights in the folder"):
        latents_of(steered(make_plan(), unit(tmp_path / "empty")), steered_models)


def test_after_an_error_nothing_is_left(steered_models: Models, make_plan: PlanMaker, tmp_path: Path) -> None:
    network = awake(ControlNetModel.from_unet(make_networks()["unet"]))
    good = write_file(tmp_path / "good.safetensors", network.state_dict())
    plan = make_plan()
    with pytest.raises(BadFile):
        latents_of(steered(plan, unit(good), unit(tmp_path / "none.safetensors", 1)), steered_models)
    resident = steered_models.get(plan.model).resident
    assert not hooks_of(resident.network("unet")) and HINT in steered_models.inputs
    assert set(resident.parts) == {"unet", "vae", "text_encoder"}
