"""SDXL made smaller (SSD-1B, Segmind Vega, KOALA): what was taken out is told from a single file's shapes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from tests.tiny_xl import make_folder, make_networks, original_weights
from webui.domain.models import Family
from webui.weights.loading.load import load
from webui.weights.recognition.identify import identify

PARTS = ("unet", "vae", "text_encoder", "text_encoder_2")
SMALL: Mapping[str, Mapping[str, Any]] = {
    "uneven, no attention in the middle": {
        "transformer_layers_per_block": [1, 2, 3],
        "reverse_transformer_layers_per_block": [[3, 4], [2, 1], 1],
        "mid_block_type": "UNetMidBlock2D",
    },
    "no middle": {"transformer_layers_per_block": [1, 1, 2], "mid_block_type": None},
    "even, no attention in the middle": {
        "transformer_layers_per_block": [1, 1, 2],
        "mid_block_type": "UNetMidBlock2D",
    },
}


@pytest.mark.parametrize("case", SMALL)
def test_folder_and_file_hold_the_same(tmp_path: Path, case: str) -> None:
    changes = SMALL[case]
    folder = make_folder(tmp_path / "xl", unet_changes=changes)
    save_file(original_weights(unet_changes=changes), tmp_path / "xl.safetensors")
    told, found = identify(folder), identify(tmp_path / "xl.safetensors")
    assert told.family is found.family is Family.SDXL
    inferred = json.loads(json.dumps(found.configs["unet"]))
    assert {name: told.configs["unet"].get(name) for name in inferred} == inferred
    expected = make_networks(unet_changes=changes)["unet"].state_dict()
    for checkpoint in (told, found):
        weights = load(checkpoint, dict.fromkeys(PARTS, torch.float32)).networks["unet"].state_dict()
        assert weights.keys() == expected.keys()
        assert all(torch.equal(weights[name], expected[name]) for name in expected)
