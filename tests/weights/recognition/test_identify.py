"""Checkpoints are told apart by their headers, without torch and without reading weights."""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from tests.broken_folders import Break, change_json, check_refusal
from tests.pickled_files import CALLS
from tests.tiny_models import original_weights
from webui.domain.models import Family
from webui.errors import BadFile
from webui.weights.checkpoint import count_parameters
from webui.weights.recognition.identify import identify


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(BadFile, match="cannot be read"):
        identify(tmp_path / "nothing.safetensors")


def test_single_file(tiny_file: Path) -> None:
    checkpoint = identify(tiny_file)
    assert (checkpoint.family, checkpoint.layout) == (Family.SD1, "original")
    assert checkpoint.noise.prediction == "epsilon"
    assert checkpoint.weight_files == (tiny_file,)
    assert checkpoint.configs["unet"]["block_out_channels"] == (32, 64, 64)


def test_folder_and_file_agree(tiny_folder: Path, tiny_file: Path) -> None:
    """What is inferred from shapes is what the folder's configuration says, for every setting that is inferred."""
    folder, file = identify(tiny_folder), identify(tiny_file)
    assert folder.layout == "diffusers"
    for component, config in file.configs.items():
        inferred = json.loads(json.dumps(config))
        told = {name: folder.configs[component].get(name, "missing") for name in inferred}
        assert told == inferred, component
        if component != "text_encoder":  # the file carries the position numbers too
            assert count_parameters(folder, component) == count_parameters(file, component)


def test_real_sd1_shapes_are_understood(tmp_path: Path) -> None:
    """The full-size network, described by a header alone (the file is sparse)."""
    from diffusers import UNet2DConditionModel

    from benchmarks.sd1_random import REAL

    with torch.device("meta"):
        real = UNet2DConditionModel(cross_attention_dim=768)
    assert tuple(real.config.block_out_channels) == REAL
    shapes: dict[str, list[int]] = {}
    prefix = "model.diffusion_model."
    layer = 1
    channels = [320, 320, 640, 640, 1280, 1280, 1280, 1280]
    shapes[f"{prefix}input_blocks.0.0.weight"] = [320, 4, 3, 3]
    for index, width in enumerate(channels):
        shapes[f"{prefix}input_blocks.{layer}.0.out_layers.3.weight"] = [width, width, 3, 3]
        if index < 6:
            shapes[f"{prefix}input_blocks.{layer}.1.proj_in.weight"] = [width, width, 1, 1]
        layer += 1
        if index % 2 and index < 7:
            shapes[f"{prefix}input_blocks.{layer}.0.op.weight"] = [width, width, 3, 3]
            layer += 1
    shapes[f"{prefix}middle_block.1.proj_in.weight"] = [1280, 1280, 1, 1]
    shapes[f"{prefix}middle_block.1.transformer_blocks.0.attn2.to_k.weight"] = [1280, 768]
    shapes[f"{prefix}out.2.weight"] = [4, 320, 3, 3]
    for level, width in enumerate([128, 256, 512, 512]):
        for block in range(2):
            shapes[f"first_stage_model.encoder.down.{level}.block.{block}.conv1.weight"] = [width, width, 3, 3]
    shapes["first_stage_model.decoder.conv_in.weight"] = [512, 4, 3, 3]
    text = "cond_stage_model.transformer.text_model."
    shapes[f"{text}embeddings.token_embedding.weight"] = [49408, 768]
    shapes[f"{text}embeddings.position_embedding.weight"] = [77, 768]
    for index in range(12):
        shapes[f"{text}encoder.layers.{index}.mlp.fc1.weight"] = [3072, 768]
    file = write_sparse(tmp_path / "real.safetensors", shapes)
    configs = identify(file).configs
    for name in ("block_out_channels", "layers_per_block", "down_block_types", "up_block_types", "norm_num_groups",
                 "attention_head_dim", "use_linear_projection", "in_channels", "out_channels"):  # fmt: skip
        assert configs["unet"][name] == real.config[name], name
    assert configs["vae"]["block_out_channels"] == (128, 256, 512, 512)
    assert (configs["vae"]["layers_per_block"], configs["vae"]["norm_num_groups"]) == (2, 32)
    expected = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072}
    assert {name: configs["text_encoder"][name] for name in expected} == expected


def write_sparse(file: Path, shapes: dict[str, list[int]]) -> Path:
    header: dict[str, Any] = {}
    position = 0
    for name, shape in shapes.items():
        size = 2
        for length in shape:
            size *= length
        header[name] = {"dtype": "F16", "shape": shape, "data_offsets": [position, position + size]}
        position += size
    raw = json.dumps(header).encode()
    content = struct.pack("<Q", len(raw)) + raw
    file.write_bytes(content)
    os.truncate(file, len(content) + position)
    return file


FOREIGN = {
    "SDXL without much": (
        {"conditioner.embedders.1.model.ln_final.weight": [8], "model.diffusion_model.label_emb.0.0.weight": [8]},
        "no UNet and no VAE and no first text encoder and no second text encoder",
    ),
    "SDXL refiner": (
        {"conditioner.embedders.0.model.ln_final.weight": [8], "model.diffusion_model.label_emb.0.0.weight": [8]},
        "no UNet and no VAE and no text encoder",
    ),
    "Playground": ({"edm_mean": [4], "model.diffusion_model.label_emb.0.0.weight": [8]}, "no UNet and no VAE"),
    "SD2": (
        {"cond_stage_model.model.ln_final.weight": [8], "model.diffusion_model.input_blocks.0.0.weight": [8]},
        "no VAE and no text encoder",
    ),
    "SD2 unCLIP": (
        {"cond_stage_model.model.ln_final.weight": [8], "noise_augmentor.data_mean": [1, 8]},
        "SD2 unCLIP checkpoints are not supported",
    ),
    "SD3": ({"model.diffusion_model.joint_blocks.0.x": [8]}, "not an SD3 checkpoint: it lacks"),
    "Flux": ({"double_blocks.0.img_attn.qkv.weight": [8]}, "not a Flux checkpoint: it lacks"),
    "LoRA": ({"lora_unet_down_blocks_0.lora_up.weight": [8]}, "LoRA"),
    "ControlNet": ({"control_model.input_blocks.0.0.weight": [8]}, "ControlNet"),
    "VAE": ({"encoder.conv_in.weight": [8], "decoder.conv_in.weight": [8]}, "VAE"),
    "textual inversion": ({"emb_params": [1, 768]}, "textual inversion"),
    "something": ({"a.b.c": [8]}, "not a checkpoint of a known kind"),
    "no text encoder": (
        {
            "model.diffusion_model.input_blocks.0.0.weight": [8, 4, 3, 3],
            "first_stage_model.decoder.conv_in.weight": [8, 4, 3, 3],
        },
        "it has no text encoder",
    ),
    "VAE of a checkpoint alone": (
        {"first_stage_model.decoder.conv_in.weight": [8, 4, 3, 3]},
        "no UNet and no text encoder",
    ),
    "hardly anything": (
        {
            "model.diffusion_model.input_blocks.0.0.weight": [8, 4, 3, 3],
            "first_stage_model.decoder.conv_in.weight": [8, 4, 3, 3],
            "cond_stage_model.transformer.text_model.embeddings.token_embedding.weight": [9, 8],
        },
        "not an SD1 checkpoint",
    ),
}


@pytest.mark.parametrize("case", FOREIGN)
def test_foreign_files_are_named(case: str, tmp_path: Path) -> None:
    shapes, words = FOREIGN[case]
    with pytest.raises(BadFile) as caught:
        identify(write_sparse(tmp_path / "model.safetensors", shapes))
    assert words in caught.value.message


@pytest.mark.parametrize(("channels", "variant"), [(4, ""), (8, "editing"), (9, "inpainting")])
def test_variants_are_recognised_by_their_input(channels: int, variant: str, tmp_path: Path) -> None:
    weights = original_weights()
    weights["model.diffusion_model.input_blocks.0.0.weight"] = torch.zeros(32, channels, 3, 3)
    save_file(weights, tmp_path / "model.safetensors")
    assert identify(tmp_path / "model.safetensors").variant == variant


@pytest.mark.parametrize("channels", [7, 5])
def test_other_inputs_are_named(channels: int, tmp_path: Path) -> None:
    weights = original_weights()
    weights["model.diffusion_model.input_blocks.0.0.weight"] = torch.zeros(32, channels, 3, 3)
    save_file(weights, tmp_path / "model.safetensors")
    with pytest.raises(BadFile, match="latents do not have 4 channels"):
        identify(tmp_path / "model.safetensors")


def test_v_prediction_marker(tmp_path: Path) -> None:
    save_file(original_weights() | {"v_pred": torch.zeros(0)}, tmp_path / "v.safetensors")
    assert identify(tmp_path / "v.safetensors").noise.prediction == "v_prediction"


def test_text_encoder_keys_of_early_files(tmp_path: Path) -> None:
    weights = {key.replace(".text_model.", "."): value for key, value in original_weights().items()}
    save_file(weights, tmp_path / "early.safetensors")
    assert identify(tmp_path / "early.safetensors").configs["text_encoder"]["hidden_size"] == 64


# -- folders -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tiny_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_folder, tmp_path / "copy"))


def replace_vae(folder: Path, content: bytes) -> None:
    (folder / "vae" / "diffusion_pytorch_model.safetensors").unlink()
    (folder / "vae" / "diffusion_pytorch_model.bin").write_bytes(content)


BREAKAGES: dict[str, tuple[Break, str]] = {
    "no index": (lambda folder: (folder / "model_index.json").unlink(), "model_index.json is missing"),
    "index is not JSON": (lambda folder: (folder / "model_index.json").write_text("{"), "not valid JSON"),
    "index is a list": (lambda folder: (folder / "model_index.json").write_text("[]"), "not a JSON object"),
    "index is deep": (lambda folder: (folder / "model_index.json").write_text("[" * 20_000), "not valid JSON"),
    "index of 50 MB": (lambda folder: (folder / "model_index.json").write_text(" " * 50_000_000), "larger than"),
    "class os.system": (
        lambda folder: change_json(folder / "model_index.json", unet=["os", "system"]),
        "no usable unet",
    ),
    "class Popen": (
        lambda folder: change_json(folder / "model_index.json", vae=["subprocess", "Popen"]),
        "no usable vae",
    ),
    "named SDXL": (
        lambda folder: change_json(folder / "model_index.json", _class_name="StableDiffusionXLPipeline"),
        "no usable text_encoder_2",
    ),
    "SDXL refiner": (
        lambda folder: change_json(
            folder / "model_index.json",
            _class_name="StableDiffusionXLImg2ImgPipeline",
            requires_aesthetics_score=True,
        ),
        "no usable text_encoder_2",
    ),
    "Flux with a ControlNet": (
        lambda folder: change_json(folder / "model_index.json", _class_name="FluxControlNetPipeline"),
        "FluxControlNet checkpoints are not supported yet",
    ),
    "unknown pipeline": (lambda folder: change_json(folder / "model_index.json", _class_name="X"), "class 'X'"),
    "misfit": (lambda folder: change_json(folder / "unet" / "config.json", cross_attention_dim=768), "do not fit"),
    "no weights": (lambda folder: (folder / "unet" / "diffusion_pytorch_model.safetensors").unlink(), "no unet"),
    "a hostile pickle": (lambda folder: replace_vae(folder, CALLS["os.system"][0]), "it would call os.system"),
    "cut weights": (
        lambda folder: os.truncate(folder / "unet" / "diffusion_pytorch_model.safetensors", 100_000),
        "truncated",
    ),
    "no tokenizer": (lambda folder: shutil.rmtree(folder / "tokenizer"), "no tokenizer"),
    "strange noise": (
        lambda folder: change_json(folder / "scheduler" / "scheduler_config.json", beta_schedule="sigmoid"),
        "noise schedule",
    ),
    "beta of text": (
        lambda folder: change_json(folder / "scheduler" / "scheduler_config.json", beta_end="much"),
        "damaged",
    ),
    "endless training": (
        lambda folder: change_json(folder / "scheduler" / "scheduler_config.json", num_train_timesteps=10**12),
        "noise schedule",
    ),
    "missing shard": (
        lambda folder: (folder / "unet" / "diffusion_pytorch_model.safetensors").rename(
            folder / "unet" / "diffusion_pytorch_model-00001-of-00002.safetensors"
        ),
        "files of its unet are missing",
    ),
    "a giant": (lambda folder: change_json(folder / "unet" / "config.json", layers_per_block=10**9), "configuration"),
    "a deep text encoder": (
        lambda folder: change_json(folder / "text_encoder" / "config.json", num_hidden_layers=10**9),
        "configuration",
    ),
}


@pytest.mark.parametrize("case", BREAKAGES)
def test_broken_folders_say_what_is_wrong(case: str, folder: Path) -> None:
    check_refusal(folder, *BREAKAGES[case])


def test_shards_and_variants_are_found(folder: Path) -> None:
    unet, vae = folder / "unet", folder / "vae"
    (unet / "diffusion_pytorch_model.safetensors").rename(unet / "diffusion_pytorch_model-00001-of-00001.safetensors")
    (vae / "diffusion_pytorch_model.safetensors").rename(vae / "diffusion_pytorch_model.fp16.safetensors")
    names = [file.name for file in identify(folder).weight_files]
    assert names == [
        "model.safetensors",
        "diffusion_pytorch_model-00001-of-00001.safetensors",
        "diffusion_pytorch_model.fp16.safetensors",
    ]


def test_v_prediction_folder(folder: Path) -> None:
    change_json(folder / "scheduler" / "scheduler_config.json", prediction_type="v_prediction")
    assert identify(folder).noise.prediction == "v_prediction"


def test_torch_is_not_needed() -> None:
    code = "import sys, webui.weights.catalog.catalog; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
