"""Every layout of keys, against diffusers' loader and against the weights under their makers' names."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import FluxPipeline, StableDiffusionPipeline, StableDiffusionXLPipeline
from torch import Tensor, nn

from extensions.lora.files import Network, split_key
from extensions.lora.merging import merged
from tests import tiny_flux, tiny_models, tiny_sd3, tiny_xl
from tests.extensions.lora.lora_parts import (
    ALPHA,
    RANK,
    all_weights,
    draw,
    load_model,
    low_rank,
    parts_of,
    product,
    read,
    weights_with,
    write,
)
from webui.errors import BadFile
from webui.weights.memory import Resident

SCALE = ALPHA / RANK


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory, tiny_folder: Path) -> dict[str, Path]:
    made = tmp_path_factory.mktemp("layouts")
    return {
        "sd1": tiny_folder,
        "sdxl": tiny_xl.make_folder(made / "xl"),
        "flux": tiny_flux.make_folder(made / "flux"),
        "sd3": tiny_sd3.make_folder(made / "sd3", t5=False),
    }


@pytest.fixture(scope="module")
def residents(folders: dict[str, Path]) -> dict[str, Resident]:
    return {name: load_model(path) for name, path in folders.items()}


def layers_of(network: nn.Module, pattern: str) -> dict[str, Tensor]:
    """Return the weights of the linear layers and convolutions whose names match."""
    return {
        name: module.weight.detach()
        for name, module in network.named_modules()
        if isinstance(module, nn.Linear | nn.Conv2d) and re.search(pattern, name)
    }


def kohya(layers: Mapping[str, Tensor], name: Callable[[str], str], seed: int = 0) -> dict[str, Tensor]:
    """Return a LoRA in kohya's layout; `name` gives what stands before .lora_up."""
    tensors: dict[str, Tensor] = {}
    for number, (layer, weight) in enumerate(layers.items()):
        up, down = low_rank(weight, seed + 2 * number)
        place = name(layer)
        tensors |= {f"{place}.lora_up.weight": up, f"{place}.lora_down.weight": down}
        tensors[f"{place}.alpha"] = torch.tensor(ALPHA)
    return tensors


def peft(layers: Mapping[str, Tensor], prefix: str, up: str = ".lora_B.weight", down: str = ".lora_A.weight") -> dict:
    tensors: dict[str, Tensor] = {}
    for number, (layer, weight) in enumerate(layers.items()):
        first, second = low_rank(weight, 2 * number)
        tensors |= {f"{prefix}{layer}{up}": first, f"{prefix}{layer}{down}": second}
    return tensors


def changes_by_diffusers(loader: Any, file: Path, **options: Any) -> dict[str, Tensor]:
    """Return what the LoRA adds to each weight, under the names to which diffusers' loader brings the file's keys."""
    state, alphas = loader.lora_state_dict(file.parent, weight_name=file.name, local_files_only=True, **options)
    scale = SCALE if alphas else 1.0
    pairs: dict[str, dict[str, Tensor]] = {}
    for key, tensor in state.items():
        place, side = split_diffusers(key)
        pairs.setdefault(f"{place}.weight", {})[side] = tensor
    return {name: scale * pair["up"].flatten(1) @ pair["down"].flatten(1) for name, pair in pairs.items()}


def split_diffusers(key: str) -> tuple[str, str]:
    """Return the module and the side of a key as diffusers names it, in any of its own spellings."""
    match = re.fullmatch(r"(.+?)[._](?:lora(?:_linear_layer)?[._])(down|up|A|B)\.weight", key)
    assert match is not None, key
    place = match[1].replace(".processor.", ".").replace("text_model.", "")
    place = re.sub(r"\.to_out$", ".to_out.0", place)
    place = re.sub(r"self_attn\.to_(q|k|v|out)(\.0)?$", r"self_attn.\1_proj", place)
    return place, {"A": "down", "B": "up"}.get(match[2], match[2])


def check_changes(model: Resident, network: Network, wanted: Mapping[str, Tensor]) -> None:
    """Check that exactly the wanted tensors change, by what is wanted."""
    before = {name.replace("text_model.", ""): tensor for name, tensor in all_weights(model).items()}
    found = {name.replace("text_model.", ""): tensor for name, tensor in flat(weights_with(model, network)).items()}
    assert {name for name in found if not torch.equal(found[name], before[name])} == wanted.keys()
    for name, change in wanted.items():
        torch.testing.assert_close(found[name], before[name] + change.reshape(before[name].shape))


def flat(found: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Tensor]:
    return {f"{part}.{name}": tensor for part, weights in found.items() for name, tensor in weights.items()}


TEXT_MODEL = "text_encoder.text_model."
TEXT = r"(q|k|v|out)_proj$|fc[12]$"
UNET = r"attn[12]\.to_|ff\.net|proj_(in|out)|resnets\.0\.conv1|time_emb_proj"


def kohya_text(number: str) -> Callable[[str], str]:
    return lambda name: f"lora_te{number}_text_model_{name.removeprefix('text_model.').replace('.', '_')}"


@pytest.mark.parametrize("layout", ["kohya", "peft", "processors"])
def test_sd1_as_diffusers_reads_it(layout: str, residents: dict[str, Resident], tmp_path: Path) -> None:
    model = residents["sd1"]
    unet, text = layers_of(model.network("unet"), UNET), layers_of(model.network("text_encoder"), TEXT)
    if layout == "kohya":
        tensors = kohya(unet, lambda name: f"lora_unet_{name.replace('.', '_')}")
        tensors |= kohya(text, kohya_text(""), 500)
    elif layout == "peft":
        tensors = peft(unet, "unet.")
        tensors |= peft({name.removeprefix("text_model."): each for name, each in text.items()}, TEXT_MODEL)
    else:
        attention = {name: weight for name, weight in unet.items() if ".to_" in name}
        names = {re.sub(r"\.(to_\w+)(\.0)?$", r".processor.\1_lora", name): each for name, each in attention.items()}
        tensors = peft(names, "unet.", ".up.weight", ".down.weight")
    file = write(tmp_path / "net.safetensors", tensors)
    network = read(file, model)
    assert (network.report.found, network.report.lost) == (len(tensors), ())
    check_changes(model, network, changes_by_diffusers(StableDiffusionPipeline, file))


def test_sdxl_under_its_makers_names_as_diffusers_reads_it(residents: dict[str, Resident], tmp_path: Path) -> None:
    model = residents["sdxl"]
    unet = layers_of(model.network("unet"), r"attn[12]\.to_|ff\.net")
    tensors = kohya(unet, lambda name: f"lora_unet_{original(name, 'sdxl').replace('.', '_')}")
    tensors |= kohya(layers_of(model.network("text_encoder"), TEXT), kohya_text("1"), 500)
    tensors |= kohya(layers_of(model.network("text_encoder_2"), TEXT), kohya_text("2"), 900)
    file = write(tmp_path / "net.safetensors", tensors)
    network = read(file, model)
    assert str(network.report) == f"net: {len(tensors)}/{len(tensors)} keys, tiny ✓"
    config = model.network("unet").config
    check_changes(model, network, changes_by_diffusers(StableDiffusionXLPipeline, file, unet_config=config))


def original(layer: str, family: str) -> str:
    attends = (0, 1) if family == "sdxl" else (1, 2)
    return tiny_models.unet_key(f"{layer}.weight", attends=attends).removesuffix(".weight")


@pytest.mark.parametrize("family", ["sd1", "sdxl"])
@pytest.mark.parametrize("prefix", ["lora_unet_", "diffusion_model.", "lycoris_"])
def test_every_layer_of_a_unet_under_its_makers_name(
    family: str, prefix: str, residents: dict[str, Resident], tmp_path: Path
) -> None:
    model = residents[family]
    layers = layers_of(model.network("unet"), "")

    def place(name: str) -> str:
        name = f"{prefix}{original(name, family)}"
        return name if prefix.endswith(".") else name.replace(".", "_")

    network = read(write(tmp_path / "net.safetensors", kohya(layers, place)), model)
    assert not network.report.lost
    found = weights_with(model, network)["unet"]
    for number, (name, weight) in enumerate(layers.items()):
        wanted = weight + SCALE * product(*low_rank(weight, 2 * number), weight.shape)
        torch.testing.assert_close(found[f"{name}.weight"], wanted)


@pytest.mark.parametrize("layout", ["kohya", "xlabs", "peft"])
def test_flux_as_diffusers_reads_it(layout: str, residents: dict[str, Resident], tmp_path: Path) -> None:
    model = residents["flux"]
    transformer = model.network("transformer")
    makers = {
        name.removesuffix(".weight"): weight for name, weight in tiny_flux.transformer_weights(transformer).items()
    }
    if layout == "kohya":
        layers = {  # diffusers takes linear1 for as wide as the real one
            name: weight
            for name, weight in makers.items()
            if weight.dim() == 2 and "blocks" in name and "linear1" not in name
        }
        tensors = kohya(layers, lambda name: f"lora_unet_{name.replace('.', '_')}")
    elif layout == "xlabs":
        names = {
            "double_blocks.0.processor.qkv_lora1": "double_blocks.0.img_attn.qkv",
            "double_blocks.0.processor.qkv_lora2": "double_blocks.0.txt_attn.qkv",
            "double_blocks.0.processor.proj_lora1": "double_blocks.0.img_attn.proj",
            "double_blocks.0.processor.proj_lora2": "double_blocks.0.txt_attn.proj",
            "single_blocks.1.processor.proj_lora": "single_blocks.1.linear2",
        }  # fmt: skip
        layers = {new: makers[old] for new, old in names.items()}
        layers["single_blocks.1.processor.qkv_lora"] = makers["single_blocks.1.linear1"][: 3 * 32]
        tensors = peft(layers, "", ".up.weight", ".down.weight")
    else:
        tensors = peft(layers_of(transformer, r"attn\.|ff|norm\.linear|proj_(out|mlp)"), "transformer.")
    file = write(tmp_path / "net.safetensors", tensors)
    network = read(file, model)
    assert not network.report.lost
    check_changes(model, network, changes_by_diffusers(FluxPipeline, file, return_alphas=True))


@pytest.mark.parametrize("family", ["flux", "sd3"])
@pytest.mark.parametrize("prefix", ["lora_unet_", "diffusion_model."])
def test_every_layer_of_a_transformer_under_its_makers_name(
    family: str, prefix: str, residents: dict[str, Resident], tmp_path: Path
) -> None:
    """What is fused there is split here; where halves stand the other way round, the change does as well."""
    model, weights_of = residents[family], (tiny_flux if family == "flux" else tiny_sd3).transformer_weights
    makers = {
        name.removesuffix(".weight"): weight.clone()
        for name, weight in weights_of(model.network("transformer")).items()
        if name.endswith(".weight") and weight.dim() in (2, 4)
    }

    def place(name: str) -> str:
        return f"{prefix}{name}" if prefix.endswith(".") else f"{prefix}{name.replace('.', '_')}"

    network = read(write(tmp_path / "net.safetensors", kohya(makers, place)), model)
    assert not network.report.lost
    parts = weights_with_network(model, network, weights_of)
    for number, (name, weight) in enumerate(makers.items()):
        wanted = weight + SCALE * product(*low_rank(weight, 2 * number), weight.shape)
        torch.testing.assert_close(parts[f"{name}.weight"], wanted, msg=lambda text, name=name: f"{name} {text}")


def weights_with_network(
    model: Resident, network: Network, weights_of: Callable[[nn.Module], dict[str, Tensor]]
) -> dict[str, Tensor]:
    with merged(model, "transformer", parts_of(network)["transformer"], "a"):
        return {name: tensor.clone() for name, tensor in weights_of(model.network("transformer")).items()}


@pytest.mark.parametrize(
    ("family", "place", "component", "layer"),
    [
        ("sd3", "lora_te1_text_model_encoder_layers_0_mlp_fc1", "text_encoder", "encoder.layers.0.mlp.fc1"),
        ("sd3", "text_encoders.clip_g.transformer.text_model.encoder.layers.1.mlp.fc1", "text_encoder_2",
         "encoder.layers.1.mlp.fc1"),
        ("sdxl", "text_encoder_2.text_model.encoder.layers.0.self_attn.to_q", "text_encoder_2",
         "encoder.layers.0.self_attn.q_proj"),
        ("flux", "text_encoders.t5xxl.transformer.encoder.block.0.layer.0.SelfAttention.q", "text_encoder_2",
         "encoder.block.0.layer.0.SelfAttention.q"),
        ("flux", "lora_te3_encoder_block_1_layer_1_DenseReluDense_wi_0", "text_encoder_2",
         "encoder.block.1.layer.1.DenseReluDense.wi_0"),
        ("sd1", "lycoris_text_model_encoder_layers_0_mlp_fc2", "text_encoder", "encoder.layers.0.mlp.fc2"),
    ],
)  # fmt: skip
def test_layers_of_text_encoders(
    family: str, place: str, component: str, layer: str, residents: dict[str, Resident], tmp_path: Path
) -> None:
    model = residents[family]
    known = {name.removeprefix("text_model."): name for name in model.weights(component)}
    weight = model.weights(component)[known[f"{layer}.weight"]].clone()
    up, down = low_rank(weight, 7)
    tensors = {f"{place}.lora_A.weight": down, f"{place}.lora_B.weight": up}
    found = weights_with(model, read(write(tmp_path / "net.safetensors", tensors), model))
    torch.testing.assert_close(found[component][known[f"{layer}.weight"]], weight + product(up, down, weight.shape))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2])
def test_every_precision_of_files(dtype: torch.dtype, residents: dict[str, Resident], tmp_path: Path) -> None:
    model = residents["sd1"]
    layers = layers_of(model.network("unet"), r"attn1\.to_q")
    tensors = {name: tensor.to(dtype) for name, tensor in peft(layers, "unet.").items()}
    found = weights_with(model, read(write(tmp_path / "net.safetensors", tensors), model))["unet"]
    for name, weight in layers.items():
        up, down = tensors[f"unet.{name}.lora_B.weight"].float(), tensors[f"unet.{name}.lora_A.weight"].float()
        torch.testing.assert_close(found[f"{name}.weight"], weight + up @ down)


@pytest.mark.parametrize(("rslora", "scale"), [(False, 6 / RANK), (True, 6 / RANK**0.5)])
def test_pefts_folders_tell_their_alpha(
    rslora: bool, scale: float, residents: dict[str, Resident], tmp_path: Path
) -> None:
    model = residents["sd1"]
    layers = layers_of(model.network("unet"), r"attn1\.to_q")
    write(tmp_path / "adapter_model.safetensors", peft(layers, "base_model.model."))
    config = f'{{"r": {RANK}, "lora_alpha": 6, "use_rslora": {str(rslora).lower()}}}'
    (tmp_path / "adapter_config.json").write_text(config, encoding="utf-8")
    found = weights_with(model, read(tmp_path, model))["unet"]
    for number, (name, weight) in enumerate(layers.items()):
        wanted = weight + scale * product(*low_rank(weight, 2 * number), weight.shape)
        torch.testing.assert_close(found[f"{name}.weight"], wanted)


def test_what_has_no_place_is_named(residents: dict[str, Resident], tmp_path: Path) -> None:
    model = residents["sd1"]
    layers = layers_of(model.network("unet"), r"attn1\.to_q")
    tensors = peft(layers, "unet.") | {"unet.nowhere.lora_A.weight": draw(3, 4), "whatever": draw(2)}
    report = read(write(tmp_path / "net.safetensors", tensors), model).report
    assert report.lost == ("unet.nowhere.lora_A.weight", "whatever")
    assert f"{report.total - 2}/{report.total} keys" in str(report) and "whatever" in str(report)


def test_files_of_which_nothing_has_a_place_are_refused(residents: dict[str, Resident], tmp_path: Path) -> None:
    file = write(tmp_path / "net.safetensors", peft({"nowhere": draw(4, 4)}, "unet."))
    with pytest.raises(BadFile, match="none of its 2 keys has a place in this checkpoint"):
        read(file, residents["sd1"])


def test_layers_of_another_shape_are_refused(residents: dict[str, Resident], tmp_path: Path) -> None:
    layers = {name: draw(6, 6) for name in layers_of(residents["sd1"].network("unet"), r"attn1\.to_q")}
    network = read(write(tmp_path / "net.safetensors", peft(layers, "unet.")), residents["sd1"])
    before = all_weights(residents["sd1"])
    with pytest.raises(BadFile, match=r"does not fit the layer .*made for \[6, 6\]"):
        weights_with(residents["sd1"], network)
    assert all(torch.equal(tensor, before[name]) for name, tensor in all_weights(residents["sd1"]).items())


@pytest.mark.parametrize(
    ("key", "place", "leaf"),
    [
        ("lora_unet_a.lora_up.weight", "lora_unet_a", "up"),
        ("unet.a.processor.to_out_lora.down.weight", "unet.a.processor.to_out", "down"),
        ("text_encoder.a.lora_linear_layer.up.weight", "text_encoder.a", "up"),
        ("transformer.a.lora_A.default.weight", "transformer.a", "down"),
        ("double_blocks.0.processor.qkv_lora1.up.weight", "double_blocks.0.processor.qkv_lora1", "up"),
        ("lora_unet_a.lokr_w1_a", "lora_unet_a", "lokr_w1_a"),
        ("lora_unet_a.alpha", "lora_unet_a", "alpha"),
        ("lora_unet_a.a1.weight", "lora_unet_a", "a1"),
        ("a.lora_magnitude_vector", "a", "dora_scale"),
        ("a.b.c", "a.b.c", ""),
    ],
)
def test_keys_in_parts(key: str, place: str, leaf: str) -> None:
    assert split_key(key) == (place, leaf)
