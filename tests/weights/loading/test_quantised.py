"""Quantised weights stay quantised in memory and compute what llama.cpp's own arithmetic says they should."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusers import UNet2DConditionModel
from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint
from torch import Tensor, nn
from transformers import T5Config, T5EncoderModel

from tests.gguf_parts import UNET, as_quantised, unet_weights, write_gguf
from tests.tiny_models import make_networks
from webui.errors import BadFile
from webui.weights.formats.tensors import read_tensors
from webui.weights.loading.load import load
from webui.weights.loading.naming_flux import rename_flux
from webui.weights.loading.quantised import cast, dequantise, hold_quantised, is_quantised, recast
from webui.weights.memory_plan.facts import CheckpointFacts
from webui.weights.recognition.identify import identify


def fill(network: nn.Module, weights: Mapping[str, Tensor], dtype: torch.dtype = torch.float32) -> nn.Module:
    held = hold_quantised(network, weights, dtype)
    network.load_state_dict({name: cast(tensor, dtype) for name, tensor in held.items()}, assign=True)
    return network.eval().requires_grad_(False)


def distance(found: Tensor, wanted: Tensor) -> float:
    return ((found - wanted).norm() / wanted.norm()).item()


def read_unet(path: Path) -> dict[str, Tensor]:
    config = dict(make_networks()["unet"].config)
    return convert_ldm_unet_checkpoint({f"{UNET}{name}": tensor for name, tensor in read_tensors(path).items()}, config)


def empty_unet() -> UNet2DConditionModel:
    config = {name: value for name, value in make_networks()["unet"].config.items() if not name.startswith("_")}
    with torch.device("meta"):
        return UNet2DConditionModel(**config)


@pytest.mark.parametrize(
    ("dtype", "loss"), [("Q8_0", 0.01), ("Q5_0", 0.05), ("Q5_1", 0.05), ("Q4_0", 0.12), ("Q4_1", 0.1)]
)
def test_a_layer_computes_what_the_library_says_is_left_of_it(dtype: str, loss: float, tmp_path: Path) -> None:
    torch.manual_seed(0)
    weights = {"weight": torch.randn(8, 64), "bias": torch.randn(8)}
    read = read_tensors(write_gguf(tmp_path / "layer.gguf", weights, dtype))
    with torch.device("meta"):
        network = nn.Sequential(nn.Linear(64, 8))
    fill(network, {f"0.{name}": tensor for name, tensor in read.items()})
    inputs = torch.randn(5, 64)
    wanted = nn.functional.linear(inputs, as_quantised(weights["weight"], dtype), weights["bias"])
    assert distance(network(inputs), wanted) < 2e-3  # diffusers multiplies scales in float16
    assert 0 < distance(network(inputs), nn.functional.linear(inputs, weights["weight"], weights["bias"])) < loss
    assert network[0].weight.nbytes < weights["weight"].nbytes / 3


def test_a_unet_of_quantised_layers_is_that_of_what_is_left_of_its_weights(tmp_path: Path) -> None:
    whole = unet_weights()
    found = fill(empty_unet(), read_unet(write_gguf(tmp_path / "unet.gguf", whole)))
    wanted = make_networks()["unet"]
    left = {f"{UNET}{name}": as_quantised(tensor) for name, tensor in whole.items()}
    wanted.load_state_dict(convert_ldm_unet_checkpoint(left, dict(wanted.config)))
    torch.manual_seed(1)
    inputs = torch.randn(2, 4, 8, 8), torch.tensor(500), torch.randn(2, 77, 64)
    with torch.inference_mode():
        assert distance(found(*inputs).sample, wanted(*inputs).sample) < 0.03
    quantised = [tensor for tensor in found.state_dict().values() if is_quantised(tensor)]
    matrices = [tensor for tensor in whole.values() if tensor.dim() == 2]
    assert len(quantised) == sum(tensor.shape[1] % 32 == 0 for tensor in matrices) > 50


def test_weights_go_and_come_back(tmp_path: Path) -> None:
    """As `Resident` sends networks home: by the dictionary of their weights."""
    network = fill(empty_unet(), read_unet(write_gguf(tmp_path / "unet.gguf", unet_weights())))
    inputs = torch.ones(1, 4, 8, 8), torch.tensor(3), torch.ones(1, 77, 64)
    with torch.inference_mode():
        before = network(*inputs).sample
        home = network.state_dict()
        network.load_state_dict(home, assign=True)
        assert torch.equal(network(*inputs).sample, before)
        recast(network, torch.bfloat16)
        network.load_state_dict({name: cast(tensor, torch.bfloat16) for name, tensor in home.items()}, assign=True)
        changed = network(*(value.bfloat16() if value.is_floating_point() else value for value in inputs)).sample
    assert changed.dtype == torch.bfloat16 and changed.isfinite().all()
    assert sum(map(is_quantised, network.state_dict().values())) == sum(map(is_quantised, home.values()))


def test_the_files_pages_are_used_and_never_changed(tmp_path: Path) -> None:
    file = write_gguf(tmp_path / "layer.gguf", {"weight": torch.randn(8, 64)})
    before = file.read_bytes()
    read_tensors(file)["weight"].data.zero_()
    assert file.read_bytes() == before


def test_what_has_no_quantised_layer_becomes_plain(tmp_path: Path) -> None:
    weights = {"words.weight": torch.randn(10, 32), "norm.weight": torch.randn(2, 32)}
    read = read_tensors(write_gguf(tmp_path / "x.gguf", weights))
    with torch.device("meta"):
        network = nn.ModuleDict({"words": nn.Embedding(10, 32), "norm": nn.LayerNorm((2, 32), bias=False)})
    fill(network, read, torch.bfloat16)
    assert {tensor.dtype for tensor in network.state_dict().values()} == {torch.bfloat16}
    assert torch.equal(network["words"].weight, dequantise(read["words.weight"], torch.bfloat16))


def test_a_matrix_of_another_shape_is_left_to_the_check_of_shapes(tmp_path: Path) -> None:
    read = read_tensors(write_gguf(tmp_path / "x.gguf", {"0.weight": torch.randn(8, 64)}))
    with torch.device("meta"):
        network = nn.Sequential(nn.Linear(32, 8, bias=False))
    assert hold_quantised(network, read, torch.float32)["0.weight"].shape == (8, 64)
    assert type(network[0]) is nn.Linear


def test_transformers_t5_computes_with_quantised_layers(tmp_path: Path) -> None:
    """It casts what goes into a layer to the dtype of its weight, unless that is int8."""
    torch.manual_seed(0)
    config = T5Config(
        vocab_size=64, d_model=32, d_kv=16, d_ff=64, num_layers=2, num_heads=2, feed_forward_proj="gated-gelu"
    )
    whole = T5EncoderModel(config).eval()
    for parameter in whole.parameters():
        parameter.data.normal_(std=0.3)
    weights = whole.state_dict()
    read = read_tensors(write_gguf(tmp_path / "t5.gguf", weights, architecture="t5encoder"))
    with torch.device("meta"):
        network = T5EncoderModel(config)
    fill(network, read)
    whole.load_state_dict({name: as_quantised(tensor) for name, tensor in weights.items()})
    tokens = torch.arange(12).view(1, 12)
    with torch.inference_mode():
        found, wanted = (t5(tokens).last_hidden_state for t5 in (network, whole))
    assert distance(found, wanted) < 0.01
    assert is_quantised(network.encoder.block[0].layer[1].DenseReluDense.wo.weight)


def test_a_checkpoint_with_a_quantised_unet_is_loaded_and_weighed(tmp_path: Path, tiny_file: Path) -> None:
    whole = identify(tiny_file)
    file = write_gguf(tmp_path / "unet.gguf", unet_weights())
    unet = replace(whole.parts["unet"], files=(file,), prefix="")
    checkpoint = replace(whole, parts={**whole.parts, "unet": unet})
    network = load(checkpoint, dict.fromkeys(checkpoint.parts, torch.float32)).networks["unet"]
    assert is_quantised(network.time_embedding.linear_1.weight)
    facts = CheckpointFacts.of(checkpoint).parts["unet"]
    assert facts.parameters == CheckpointFacts.of(whole).parts["unet"].parameters
    assert facts.size(4) == sum(tensor.nbytes for tensor in network.state_dict().values())
    assert 0 < facts.quantised * 34 == facts.blocks * 32


def test_a_checkpoint_of_another_shape_is_refused(tmp_path: Path, tiny_file: Path) -> None:
    whole = identify(tiny_file)
    wrong = unet_weights() | {"time_embed.0.weight": torch.zeros(64, 32)}
    file = write_gguf(tmp_path / "unet.gguf", wrong)
    unet = replace(whole.parts["unet"], files=(file,), prefix="")
    checkpoint = replace(whole, parts={**whole.parts, "unet": unet})
    with pytest.raises(BadFile, match=r"linear_1\.weight has the shape \[64, 32\] instead of \[128, 32\]"):
        load(checkpoint, dict.fromkeys(checkpoint.parts, torch.float32))


def test_fluxs_fused_layers_are_taken_apart_without_being_made_plain(tmp_path: Path) -> None:
    torch.manual_seed(0)
    fused = {"single_blocks.0.linear1.weight": torch.randn(3 * 32 + 128, 32)}
    fused["final_layer.adaLN_modulation.1.weight"] = torch.randn(64, 32)
    parts = rename_flux(read_tensors(write_gguf(tmp_path / "flux.gguf", fused, architecture="flux")), 32)
    assert len(parts) == 5 and all(map(is_quantised, parts.values()))
    rows = torch.cat([dequantise(parts[f"single_transformer_blocks.0.{name}.weight"], torch.float32) for name in
                      ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp")])  # fmt: skip
    assert distance(rows, as_quantised(fused["single_blocks.0.linear1.weight"])) < 1e-3
    shift, scale = as_quantised(fused["final_layer.adaLN_modulation.1.weight"]).chunk(2)
    assert distance(dequantise(parts["norm_out.linear.weight"], torch.float32), torch.cat([scale, shift])) < 1e-3
