"""SDXL's refiner in both layouts: recognised by its headers, loaded to the same weights, refused with a reason."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from tests.tiny_models import write_json
from tests.tiny_refiner import make_folder, make_networks, make_single_file
from webui.domain.models import Family
from webui.errors import BadFile
from webui.weights.loading.load import load
from webui.weights.recognition.identify import identify

PARTS = ("unet", "vae", "text_encoder_2")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("models") / "refiner")


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_single_file(tmp_path_factory.mktemp("models") / "refiner.safetensors")


def test_folder_and_file_agree(folder: Path, file: Path) -> None:
    """What is inferred from shapes is what the folder's configuration says, for every setting that is inferred.

    Of levels without attention, any depth may be said.
    """
    told, found = identify(folder), identify(file)
    assert told.family is found.family is Family.SDXL_REFINER
    assert told.components == found.components == PARTS
    assert (found.defaults.width, found.zero_negative) == (1024, told.zero_negative)
    for component, config in found.configs.items():
        inferred = json.loads(json.dumps(config))
        assert {name: told.configs[component].get(name, "missing") for name in inferred} == inferred, component


def test_both_layouts_hold_the_very_same_weights(folder: Path, file: Path) -> None:
    original = make_networks()
    for path in (folder, file):
        loaded = load(identify(path), dict.fromkeys(PARTS, torch.float32))
        for part, network in loaded.networks.items():
            expected, found = original[part].state_dict(), network.state_dict()
            assert found.keys() == expected.keys()
            assert all(torch.equal(found[name], expected[name]) for name in expected)
        assert loaded.tokenizers["text_encoder_2"].padding == 0


def test_a_network_that_is_told_sizes_is_refused(folder: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    config = copy / "unet" / "config.json"
    content = json.loads(config.read_text())
    write_json(config, content | {"projection_class_embeddings_input_dim": 40 + 6 * 8})
    with pytest.raises(BadFile, match="its UNet and its second text encoder do not fit together"):
        identify(copy)
