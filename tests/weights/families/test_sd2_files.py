"""SD2 checkpoints in both layouts: recognised by their headers, told apart by what they predict, loaded alike."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tests.tiny_models import write_json
from tests.tiny_sd2 import make_folder, make_networks, make_single_file, original_weights
from webui.domain.models import Family
from webui.errors import BadFile
from webui.weights.loading.load import load
from webui.weights.recognition.identify import identify

PARTS = ("unet", "vae", "text_encoder")
FLOAT = dict.fromkeys(PARTS, torch.float32)
TELLTALE = "model.diffusion_model.output_blocks.11.1.transformer_blocks.0.norm1.bias"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("models") / "sd2")


def test_folder_and_file_agree(folder: Path, tmp_path: Path) -> None:
    """What is inferred from shapes is what the folder's configuration says, for every setting that is inferred."""
    folder_found, found = identify(folder), identify(make_single_file(tmp_path / "sd2.safetensors"))
    assert folder_found.family is found.family is Family.SD2
    assert folder_found.components == found.components == PARTS
    for component, config in found.configs.items():
        inferred = json.loads(json.dumps(config))
        said = folder_found.configs[component]
        assert {name: said.get(name, "missing") for name in inferred} == inferred, component


@pytest.mark.parametrize("whole", [True, False])
def test_both_layouts_hold_the_very_same_weights(folder: Path, tmp_path: Path, whole: bool) -> None:
    """A whole OpenCLIP has a layer more; files made from folders lack it, and the projection."""
    weights = original_weights()
    if not whole:
        left_out = "resblocks.3.", "text_projection"
        weights = {name: each for name, each in weights.items() if not any(part in name for part in left_out)}
    save_file(weights, tmp_path / "sd2.safetensors")
    original = make_networks()
    for path in (folder, tmp_path / "sd2.safetensors"):
        loaded = load(identify(path), FLOAT)
        for part, network in loaded.networks.items():
            expected, found = original[part].state_dict(), network.state_dict()
            assert found.keys() == expected.keys()
            assert all(torch.equal(found[name], expected[name]) for name in expected)
        assert loaded.tokenizers["text_encoder"].padding == 0


def test_folders_say_what_is_predicted(folder: Path, tmp_path: Path) -> None:
    assert identify(folder).noise.prediction == "v_prediction"
    assert identify(make_folder(tmp_path / "base", prediction="epsilon")).noise.prediction == "epsilon"


def spread(size: float) -> torch.Tensor:
    return size * torch.tensor([1.0, -1.0] * 32)


@pytest.mark.parametrize("suffix", [".safetensors", ".ckpt"])
@pytest.mark.parametrize(("size", "prediction", "side"), [(0.1, "v_prediction", 768), (0.08, "epsilon", 512)])
def test_a_layer_of_a_single_file_tells_what_is_predicted(
    tmp_path: Path, suffix: str, size: float, prediction: str, side: int
) -> None:
    weights = original_weights() | {TELLTALE: spread(size).half()}
    if suffix == ".ckpt":
        torch.save({"state_dict": weights}, tmp_path / "x.ckpt")
    else:
        save_file(weights, tmp_path / "x.safetensors")
    found = identify(tmp_path / f"x{suffix}")
    assert found.noise.prediction == prediction
    assert (found.defaults.width, found.defaults.height) == (side, side)


def test_inpainting_models_tell_the_noise(tmp_path: Path) -> None:
    save_file(original_weights(channels=9) | {TELLTALE: spread(1.0)}, tmp_path / "x.safetensors")
    found = identify(tmp_path / "x.safetensors")
    assert (found.noise.prediction, found.variant) == ("epsilon", "inpainting")


@pytest.mark.parametrize(
    ("metadata", "prediction"),
    [
        ({"modelspec.architecture": "stable-diffusion-v2-768-v"}, "v_prediction"),
        ({"modelspec.predict_key": "v"}, "v_prediction"),
        ({"modelspec.architecture": "stable-diffusion-v2-512"}, "epsilon"),
        ({"modelspec.prediction_type": "epsilon"}, "epsilon"),
    ],
)
def test_metadata_counts_more_than_a_layer(tmp_path: Path, metadata: dict[str, str], prediction: str) -> None:
    size = 0.01 if prediction == "v_prediction" else 1.0
    save_file(original_weights() | {TELLTALE: spread(size)}, tmp_path / "x.safetensors", metadata=metadata)
    assert identify(tmp_path / "x.safetensors").noise.prediction == prediction


def test_a_configuration_beside_the_file_decides(tmp_path: Path) -> None:
    file = make_single_file(tmp_path / "x.safetensors", **{TELLTALE: spread(1.0)})
    beside = tmp_path / "x.yaml"
    beside.write_text('model:\n  params:\n    parameterization: "eps"\n')
    assert identify(file).noise.prediction == "epsilon"
    beside.write_text("model:\n  params:\n    linear_start: 0.00085\n")
    assert identify(file).noise.prediction == "epsilon"
    beside.write_text('model:\n  params:\n    parameterization: "v"\n')
    assert identify(file).noise.prediction == "v_prediction"


def test_depth_models_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadFile, match="SD2 depth checkpoints"):
        identify(make_single_file(tmp_path / "x.safetensors", channels=5))


def test_parts_that_do_not_fit_are_refused(folder: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    config = copy / "unet" / "config.json"
    write_json(config, json.loads(config.read_text()) | {"cross_attention_dim": 768})
    with pytest.raises(BadFile, match="its UNet and its text encoder do not fit together"):
        identify(copy)
