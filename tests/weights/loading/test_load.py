from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.tiny_models import make_networks, original_weights
from webui.errors import BadFile
from webui.weights.loading.load import Networks, load
from webui.weights.recognition.identify import identify

FLOAT = dict.fromkeys(("unet", "vae", "text_encoder"), torch.float32)


def weights(networks: Networks) -> dict[str, torch.Tensor]:
    return {f"{part}.{name}": tensor for part in FLOAT for name, tensor in networks.networks[part].state_dict().items()}


def test_both_layouts_hold_the_very_same_weights(tiny_folder: Path, tiny_file: Path) -> None:
    original = {
        f"{part}.{name}": value for part, each in make_networks().items() for name, value in each.state_dict().items()
    }
    for path in (tiny_folder, tiny_file):
        loaded = weights(load(identify(path), FLOAT))
        assert loaded.keys() == original.keys()
        assert all(torch.equal(loaded[name], original[name]) for name in original)


def test_networks_are_ready_to_use(tiny_file: Path) -> None:
    dtypes = {"unet": torch.bfloat16, "vae": torch.float32, "text_encoder": torch.float64}
    networks = load(identify(tiny_file), dtypes)
    for part, dtype in dtypes.items():
        network = networks.networks[part]
        assert {parameter.dtype for parameter in network.parameters()} == {dtype}
        assert not network.training
        assert not any(parameter.requires_grad for parameter in network.parameters())
        assert not any(tensor.is_meta for tensor in (*network.parameters(), *network.buffers()))


def test_loading_leaves_the_file_alone(tiny_file: Path) -> None:
    before = tiny_file.read_bytes()
    networks = load(identify(tiny_file), FLOAT)
    with torch.no_grad():
        networks.networks["unet"].conv_in.weight.mul_(2)
    assert tiny_file.read_bytes() == before


def test_half_precision_files_are_read_as_asked(tmp_path: Path) -> None:
    halves = {
        name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in original_weights().items()
    }
    save_file(halves, tmp_path / "half.safetensors")
    networks = load(identify(tmp_path / "half.safetensors"), FLOAT)
    expected = halves["model.diffusion_model.out.2.weight"].float()
    assert torch.equal(networks.networks["unet"].conv_out.weight, expected)


def test_extra_tensors_of_training_are_ignored(tmp_path: Path) -> None:
    extra = {"model_ema.decay": torch.tensor(0.9), "loss.logvar": torch.zeros(1), "betas": torch.zeros(3)}
    save_file(original_weights() | extra, tmp_path / "trained.safetensors")
    assert load(identify(tmp_path / "trained.safetensors"), FLOAT)


def test_early_key_names(tmp_path: Path, tiny_folder: Path) -> None:
    early = {key.replace(".text_model.", "."): value for key, value in original_weights().items()}
    save_file(early, tmp_path / "early.safetensors")
    assert load(identify(tmp_path / "early.safetensors"), FLOAT)
    folder = Path(shutil.copytree(tiny_folder, tmp_path / "folder"))
    rename(
        folder / "vae" / "diffusion_pytorch_model.safetensors",
        {".to_q.": ".query.", ".to_k.": ".key.", ".to_v.": ".value.", ".to_out.0.": ".proj_attn."},
    )
    text = folder / "text_encoder" / "model.safetensors"
    prefixed = {f"text_model.{name.removeprefix('text_model.')}": tensor for name, tensor in load_file(text).items()}
    save_file(prefixed, text)
    expected = weights(load(identify(tiny_folder), FLOAT))
    loaded = weights(load(identify(folder), FLOAT))
    assert all(torch.equal(loaded[name], expected[name]) for name in expected)


def rename(file: Path, names: dict[str, str]) -> None:
    renamed = {}
    for name, tensor in load_file(file).items():
        for new, old in names.items():
            name = name.replace(new, old)
        renamed[name] = tensor
    save_file(renamed, file)


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("model.diffusion_model.middle_block.0.in_layers.2.weight", "unet lacks mid_block.resnets.0.conv1.weight"),
        ("first_stage_model.decoder.conv_out.bias", "vae lacks decoder.conv_out.bias"),
        ("cond_stage_model.transformer.text_model.final_layer_norm.bias", "text_encoder lacks final_layer_norm.bias"),
    ],
)
def test_missing_tensors_are_named(key: str, words: str, tmp_path: Path) -> None:
    incomplete = original_weights()
    del incomplete[key]
    save_file(incomplete, tmp_path / "x.safetensors")
    with pytest.raises(BadFile, match=words):
        load(identify(tmp_path / "x.safetensors"), FLOAT)


def test_unknown_tensors_are_named(tmp_path: Path) -> None:
    name = "cond_stage_model.transformer.text_model.__class__.x"
    save_file(original_weights() | {name: torch.zeros(1)}, tmp_path / "x.safetensors")
    with pytest.raises(BadFile, match=r"text_encoder holds the unknown __class__\.x"):
        load(identify(tmp_path / "x.safetensors"), FLOAT)


def test_wrong_shapes_are_named(tmp_path: Path) -> None:
    name = "model.diffusion_model.time_embed.0.weight"
    save_file(original_weights() | {name: torch.zeros(128, 33)}, tmp_path / "x.safetensors")
    with pytest.raises(
        BadFile, match=r"time_embedding.linear_1.weight has the shape \[128, 33\] instead of \[128, 32\]"
    ):
        load(identify(tmp_path / "x.safetensors"), FLOAT)


def test_a_configuration_the_libraries_refuse(tiny_folder: Path) -> None:
    checkpoint = identify(tiny_folder)
    unet = checkpoint.parts["unet"]
    odd = dataclasses.replace(unet, config={**unet.config, "norm_num_groups": 7})
    with pytest.raises(BadFile, match="configuration is not usable"):
        load(dataclasses.replace(checkpoint, parts={**checkpoint.parts, "unet": odd}), FLOAT)


def test_a_file_that_vanished(tiny_file: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copy(tiny_file, tmp_path / "x.safetensors"))
    checkpoint = identify(copy)
    copy.unlink()
    with pytest.raises(BadFile, match="cannot be read"):
        load(checkpoint, FLOAT)


def test_single_files_need_clips_vocabulary(tmp_path: Path) -> None:
    name = "cond_stage_model.transformer.text_model.embeddings.token_embedding.weight"
    save_file(original_weights() | {name: torch.zeros(1000, 64)}, tmp_path / "x.safetensors")
    with pytest.raises(BadFile, match="1000 tokens instead of"):
        load(identify(tmp_path / "x.safetensors"), FLOAT)
