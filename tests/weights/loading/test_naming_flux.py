"""Flux's names: the same as diffusers' own conversion, which knows one width only, and back from any other."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from diffusers.loaders.single_file_utils import convert_flux_transformer_checkpoint_to_diffusers
from torch import Tensor

from tests.tiny_flux import make_networks, transformer_weights
from webui.weights.loading.naming_flux import rename_flux

WIDTH = 3072  # which diffusers takes for granted


def numbered(shapes: Mapping[str, int]) -> dict[str, Tensor]:
    """Return tensors of so many rows, all numbers of all of them different."""
    first, tensors = 0, {}
    for name, rows in shapes.items():
        tensors[name] = torch.arange(first, first + rows).unsqueeze(1)
        first += rows
    return tensors


def both(layer: str, rows: int) -> dict[str, int]:
    return {f"{layer}.weight": rows, f"{layer}.bias": rows}


def test_names_and_shares_are_those_of_diffusers() -> None:
    shapes = both("img_in", 5) | both("txt_in", 5) | both("final_layer.linear", 4)
    shapes |= both("final_layer.adaLN_modulation.1", 6)
    for embedder in ("time_in", "vector_in", "guidance_in"):
        shapes |= both(f"{embedder}.in_layer", 3) | both(f"{embedder}.out_layer", 3)
    for block in (0, 1):
        for side in ("img", "txt"):
            place = f"double_blocks.{block}.{side}"
            shapes |= both(f"{place}_mod.lin", 6) | both(f"{place}_attn.qkv", 3 * WIDTH) | both(f"{place}_attn.proj", 2)
            shapes |= both(f"{place}_mlp.0", 4) | both(f"{place}_mlp.2", 2)
            shapes |= {f"{place}_attn.norm.query_norm.scale": 2, f"{place}_attn.norm.key_norm.scale": 2}
        place = f"single_blocks.{block}"
        shapes |= both(f"{place}.modulation.lin", 3) | both(f"{place}.linear1", 7 * WIDTH) | both(f"{place}.linear2", 2)
        shapes |= {f"{place}.norm.query_norm.scale": 2, f"{place}.norm.key_norm.scale": 2}
    weights = numbered(shapes)
    expected = convert_flux_transformer_checkpoint_to_diffusers(dict(weights))
    found = rename_flux(weights, WIDTH)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_any_width() -> None:
    transformer = make_networks("dev")["transformer"]
    expected = transformer.state_dict()
    found = rename_flux(transformer_weights(transformer), 32)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_unknown_names_stay() -> None:
    weights = numbered({"double_blocks.0.img_attn.lora.weight": 1, "other": 1, "single_blocks.3.strange.bias": 1})
    assert set(rename_flux(weights, 1)) == {
        "transformer_blocks.0.img_attn.lora.weight", "other", "single_transformer_blocks.3.strange.bias",
    }  # fmt: skip
