"""8-bit floats, with and without a scale beside them, stay 8-bit in memory where a layer can compute with them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from tests.tiny_models import original_weights
from webui.weights.formats.headers import read_header
from webui.weights.formats.tensors import read_tensors
from webui.weights.loading.load import load
from webui.weights.loading.quantised import (
    cast,
    dequantise,
    eight_bit,
    hold_quantised,
    is_quantised,
    recast,
    to_eight_bit,
)
from webui.weights.memory_plan.facts import CheckpointFacts
from webui.weights.recognition.identify import identify
from webui.weights.recognition.parts import complete

E4M3 = torch.float8_e4m3fn


def scaled(tensor: Tensor, dtype: torch.dtype = E4M3) -> tuple[Tensor, Tensor]:
    """Return a tensor as ComfyUI scales it: the largest number becomes the largest one that the type has."""
    scale = tensor.abs().max().float() / torch.finfo(dtype).max
    return (tensor / scale).to(dtype), scale


def write_scaled(path: Path, weights: dict[str, Tensor], leaf: str = "scale_weight") -> Path:
    """Write matrices scaled to 8 bits, everything else as it is."""
    stored: dict[str, Tensor] = {"scaled_fp8": torch.zeros(2, dtype=E4M3)}
    for name, tensor in weights.items():
        if tensor.dim() == 2 and name.endswith(".weight"):
            stored[name], stored[f"{name.removesuffix('weight')}{leaf}"] = scaled(tensor)
            stored[f"{name.removesuffix('weight')}scale_input"] = torch.ones(())
        else:
            stored[name] = tensor
    save_file(stored, path)
    return path


def write_unscaled(path: Path, weights: dict[str, Tensor]) -> Path:
    """Write everything in 8 bits, as pruned checkpoints are."""
    small = {name: tensor.to(E4M3) for name, tensor in weights.items() if tensor.is_floating_point()}
    save_file(weights | small, path)
    return path


def distance(found: Tensor, wanted: Tensor) -> float:
    return ((found - wanted).norm() / wanted.norm()).item()


@pytest.mark.parametrize("leaf", ["scale_weight", "weight_scale"])
def test_scales_belong_to_their_weights_and_are_not_seen(leaf: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    weights = {"a.weight": torch.randn(8, 16), "a.bias": torch.randn(8), "norm.weight": torch.randn(8)}
    file = write_scaled(tmp_path / "x.safetensors", weights, leaf)
    header = read_header(file)
    assert header.keys() == weights.keys() and header["a.weight"].dtype == "F8_E4M3" and header["a.weight"].stays
    plain, kept = read_tensors(file), read_tensors(file, keep_eight_bit=True)
    assert plain.keys() == kept.keys() == weights.keys()
    assert plain["a.weight"].dtype == torch.bfloat16 and is_quantised(kept["a.weight"])
    for found in (plain["a.weight"].float(), dequantise(kept["a.weight"], torch.float32)):
        assert distance(found, weights["a.weight"]) < 0.04


def test_a_scale_of_each_row_is_multiplied(tmp_path: Path) -> None:
    rows = torch.tensor([[1.0], [100.0]])
    weight = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    save_file({"a.weight": weight.to(E4M3), "a.weight_scale": rows}, tmp_path / "x.safetensors")
    read = read_tensors(tmp_path / "x.safetensors", keep_eight_bit=True)
    assert torch.equal(read["a.weight"].float(), weight * rows)


def test_what_only_looks_like_a_scale_stays(tmp_path: Path) -> None:
    weights = {"a.weight": torch.ones(2, 2), "a.scale_weight": torch.ones(1), "b.scale_weight": torch.ones(1)}
    save_file(weights, tmp_path / "x.safetensors")
    assert read_header(tmp_path / "x.safetensors").keys() == read_tensors(tmp_path / "x.safetensors").keys()
    assert read_header(tmp_path / "x.safetensors").keys() == weights.keys()


def test_a_layer_computes_with_8_bit_weights_and_moves_with_them() -> None:
    torch.manual_seed(0)
    weight, bias, inputs = torch.randn(8, 16), torch.randn(8), torch.randn(3, 16)
    stored, scale = scaled(weight)
    with torch.device("meta"):
        network = nn.Sequential(nn.Linear(16, 8))
    held = hold_quantised(network, {"0.weight": eight_bit(stored, scale.item()), "0.bias": bias}, torch.float32)
    network.load_state_dict({name: cast(tensor, torch.float32) for name, tensor in held.items()}, assign=True)
    wanted = nn.functional.linear(inputs, stored.float() * scale, bias)
    assert torch.allclose(network(inputs), wanted, atol=1e-6)
    home = network.state_dict()
    network.to(torch.bfloat16)
    recast(network, torch.bfloat16)
    assert network[0].weight.nbytes == weight.numel() and distance(network(inputs.bfloat16()).float(), wanted) < 0.02
    recast(network, torch.float32)
    network.load_state_dict(home, assign=True)
    assert torch.allclose(network(inputs), wanted, atol=1e-6)


def test_parts_of_8_bit_weights_keep_their_scale_and_others_are_not_joined() -> None:
    stored, scale = scaled(torch.randn(6, 4))
    whole = eight_bit(stored, scale.item())
    parts = whole.chunk(3)
    assert torch.equal(
        dequantise(torch.cat([parts[2], parts[0]]), torch.float32), (stored.float() * scale)[[4, 5, 0, 1]]
    )
    with pytest.raises(ValueError, match="different scales"):
        torch.cat([parts[0], eight_bit(stored, 3.0)])


@pytest.mark.parametrize("write", [write_scaled, write_unscaled])
def test_a_checkpoint_of_8_bit_weights_computes_nearly_the_same_in_less_memory(
    write: Callable[[Path, dict[str, Tensor]], Path], tmp_path: Path, tiny_file: Path
) -> None:
    whole = identify(tiny_file)
    checkpoint = identify(write(tmp_path / "fp8.safetensors", original_weights()))
    assert checkpoint.configs == whole.configs
    dtypes = dict.fromkeys(whole.parts, torch.float32)
    text, wanted = (load(each, dtypes).networks["text_encoder"] for each in (checkpoint, whole))
    tokens = torch.arange(77).view(1, 77)
    with torch.inference_mode():
        assert distance(text(tokens).last_hidden_state, wanted(tokens).last_hidden_state) < 0.2
    layer = text.get_submodule("encoder.layers.0.mlp.fc1")
    assert is_quantised(layer.weight) and not is_quantised(text.get_submodule("embeddings.token_embedding").weight)
    facts = CheckpointFacts.of(replace(checkpoint, parts={"unet": checkpoint.parts["unet"]})).parts["unet"]
    unet = load(checkpoint, dtypes).networks["unet"]
    assert facts.size(4) == sum(tensor.nbytes for tensor in unet.state_dict().values())


def test_a_checkpoint_is_made_8_bit_when_that_is_asked_for(tmp_path: Path, tiny_file: Path) -> None:
    whole, asked = identify(tiny_file), complete(identify(tiny_file), (), eight_bit=True)
    dtypes = dict.fromkeys(whole.parts, torch.float32)
    plain, small = (load(each, dtypes).networks for each in (whole, asked))
    layers = {name: weight for name, weight in small["unet"].state_dict().items() if is_quantised(weight)}
    assert len(layers) > 50 and not any(map(is_quantised, small["text_encoder"].state_dict().values()))
    for name, weight in layers.items():
        assert distance(dequantise(weight, torch.float32), plain["unet"].state_dict()[name]) < 0.04, name
    facts = CheckpointFacts.of(asked).parts["unet"]
    stored = sum(tensor.nbytes for tensor in small["unet"].state_dict().values())
    assert facts.size(4) == stored < sum(tensor.nbytes for tensor in plain["unet"].state_dict().values())
    assert (facts.copied("float32", 4), facts.copied("float16", 2)) == (facts.blocks, facts.size(2))
    assert CheckpointFacts.of(whole).parts["unet"].copied("float32", 4) == 0


def test_zeros_have_a_scale_too() -> None:
    assert torch.equal(dequantise(to_eight_bit(torch.zeros(2, 2)), torch.float32), torch.zeros(2, 2))


def test_large_numbers_become_the_largest_and_not_infinite() -> None:
    found = dequantise(to_eight_bit(torch.tensor([[1000.0, -60000.0]]).half()), torch.float32)
    assert torch.allclose(found, torch.tensor([[1000.0, -60000.0]]), rtol=0.07)
