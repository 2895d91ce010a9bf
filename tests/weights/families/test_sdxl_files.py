"""SDXL checkpoints in both layouts: recognised by their headers, refused with a reason, loaded to the same weights."""

from __future__ import annotations

import json
import os
import shutil
import struct
from pathlib import Path

import pytest
import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import save_file

from tests.broken_folders import Break, change_json, check_refusal
from tests.tiny_models import write_json
from tests.tiny_xl import INDEX, make_folder, make_networks, make_single_file, original_weights
from webui.domain.models import Family
from webui.errors import BadFile
from webui.weights.checkpoint import NoiseSchedule, count_parameters
from webui.weights.loading.load import load
from webui.weights.recognition.identify import identify

PARTS = ("unet", "vae", "text_encoder", "text_encoder_2")
FLOAT = dict.fromkeys(PARTS, torch.float32)
UNET = "model.diffusion_model."


@pytest.fixture(scope="module")
def xl_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("models") / "xl")


@pytest.fixture(scope="module")
def xl_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_single_file(tmp_path_factory.mktemp("models") / "xl.safetensors")


def test_folder_and_file_agree(xl_folder: Path, xl_file: Path) -> None:
    """What is inferred from shapes is what the folder's configuration says, for every setting that is inferred."""
    folder, file = identify(xl_folder), identify(xl_file)
    assert folder.family is file.family is Family.SDXL
    assert folder.components == file.components == PARTS
    assert folder.text_encoders == ("text_encoder", "text_encoder_2")
    assert folder.zero_negative and file.zero_negative
    for component, config in file.configs.items():
        inferred = json.loads(json.dumps(config))
        assert {name: folder.configs[component].get(name, "missing") for name in inferred} == inferred, component
    for component in ("unet", "vae"):
        assert count_parameters(folder, component) == count_parameters(file, component)
    extra = {"text_encoder": 77, "text_encoder_2": 1}  # position numbers, OpenCLIP's scale
    for component, more in extra.items():
        assert count_parameters(folder, component) + more == count_parameters(file, component)


def test_both_layouts_hold_the_very_same_weights(xl_folder: Path, xl_file: Path) -> None:
    original = make_networks()
    for path in (xl_folder, xl_file):
        loaded = load(identify(path), FLOAT)
        for part, network in loaded.networks.items():
            expected, found = original[part].state_dict(), network.state_dict()
            assert found.keys() == expected.keys()
            assert all(torch.equal(found[name], expected[name]) for name in expected)
            assert not any(tensor.is_meta for tensor in (*network.parameters(), *network.buffers()))
        first, second = (loaded.tokenizers[name] for name in ("text_encoder", "text_encoder_2"))
        assert (first.padding, second.padding) == (49407, 0)
        assert first.encode("wow! a cat!!") == second.encode("wow! a cat!!"), "a padding is a word where a text has it"


def test_real_shapes_are_understood(tmp_path: Path) -> None:
    """The full-size networks, described by a header alone (the file is sparse)."""
    file = tmp_path / "real.safetensors"
    write_sparse(file, real_shapes())
    checkpoint = identify(file)
    unet, second = checkpoint.configs["unet"], checkpoint.configs["text_encoder_2"]
    expected = {
        "in_channels": 4, "block_out_channels": (320, 640, 1280), "layers_per_block": 2,
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        "transformer_layers_per_block": (1, 2, 10), "attention_head_dim": (5, 10, 20), "cross_attention_dim": 2048,
        "use_linear_projection": True, "addition_embed_type": "text_time", "addition_time_embed_dim": 256,
        "projection_class_embeddings_input_dim": 2816, "norm_num_groups": 32,
    }  # fmt: skip
    assert {name: unet[name] for name in expected} == expected
    with torch.device("meta"):
        network = UNet2DConditionModel(**unet)
    assert sum(tensor.numel() for tensor in network.parameters()) == 2_567_463_684, "as published"
    expected = {
        "hidden_size": 1280, "num_hidden_layers": 32, "num_attention_heads": 20, "intermediate_size": 5120,
        "projection_dim": 1280, "hidden_act": "gelu",
    }  # fmt: skip
    assert {name: second[name] for name in expected} == expected
    assert checkpoint.configs["text_encoder"]["num_attention_heads"] == 12
    assert checkpoint.configs["vae"]["scaling_factor"] == 0.13025


def real_shapes() -> dict[str, list[int]]:
    shapes: dict[str, list[int]] = {f"{UNET}input_blocks.0.0.weight": [320, 4, 3, 3]}
    depths = {4: 2, 5: 2, 7: 10, 8: 10}
    for block, width in {1: 320, 2: 320, 4: 640, 5: 640, 7: 1280, 8: 1280}.items():
        shapes[f"{UNET}input_blocks.{block}.0.out_layers.3.weight"] = [width, width, 3, 3]
        if block in depths:
            shapes[f"{UNET}input_blocks.{block}.1.proj_in.weight"] = [width, width]
        for depth in range(depths.get(block, 0)):
            shapes[f"{UNET}input_blocks.{block}.1.transformer_blocks.{depth}.attn2.to_k.weight"] = [width, 2048]
    for block in (3, 6):
        shapes[f"{UNET}input_blocks.{block}.0.op.weight"] = [320, 320, 3, 3]
    shapes[f"{UNET}middle_block.1.proj_in.weight"] = [1280, 1280]
    for depth in range(10):
        shapes[f"{UNET}middle_block.1.transformer_blocks.{depth}.attn2.to_k.weight"] = [1280, 2048]
    shapes[f"{UNET}out.2.weight"] = [4, 320, 3, 3]
    shapes[f"{UNET}label_emb.0.0.weight"] = [1280, 2816]
    for level, width in enumerate([128, 256, 512, 512]):
        for block in range(2):
            shapes[f"first_stage_model.encoder.down.{level}.block.{block}.conv1.weight"] = [width, width, 3, 3]
    shapes["first_stage_model.decoder.conv_in.weight"] = [512, 4, 3, 3]
    first, second = "conditioner.embedders.0.transformer.text_model.", "conditioner.embedders.1.model."
    shapes[f"{first}embeddings.token_embedding.weight"] = [49408, 768]
    shapes[f"{first}embeddings.position_embedding.weight"] = [77, 768]
    for layer in range(12):
        shapes[f"{first}encoder.layers.{layer}.mlp.fc1.weight"] = [3072, 768]
    shapes[f"{second}token_embedding.weight"] = [49408, 1280]
    shapes[f"{second}positional_embedding"] = [77, 1280]
    shapes[f"{second}text_projection"] = [1280, 1280]
    for layer in range(32):
        shapes[f"{second}transformer.resblocks.{layer}.mlp.c_fc.weight"] = [5120, 1280]
    return shapes


def write_sparse(file: Path, shapes: dict[str, list[int]]) -> None:
    header, position = {}, 0
    for name, shape in shapes.items():
        end = position + 2 * torch.Size(shape).numel()
        header[name] = {"dtype": "F16", "shape": shape, "data_offsets": [position, end]}
        position = end
    raw = json.dumps(header).encode()
    file.write_bytes(struct.pack("<Q", len(raw)) + raw)
    os.truncate(file, 8 + len(raw) + position)


def test_marks_in_the_file(tmp_path: Path) -> None:
    save_file(
        original_weights(channels=9) | {"v_pred": torch.zeros(0), "ztsnr": torch.zeros(0)}, tmp_path / "v.safetensors"
    )
    checkpoint = identify(tmp_path / "v.safetensors")
    assert checkpoint.variant == "inpainting"
    assert checkpoint.noise == NoiseSchedule(prediction="v_prediction", zero_terminal=True)


def test_marks_in_the_folder(xl_folder: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(xl_folder, tmp_path / "copy"))
    change_json(
        folder / "scheduler" / "scheduler_config.json", prediction_type="v_prediction", rescale_betas_zero_snr=True
    )
    assert identify(folder).noise == NoiseSchedule(prediction="v_prediction", zero_terminal=True)
    assert not identify(xl_folder).noise.zero_terminal


SECOND = "conditioner.embedders.1.model."
DAMAGES: dict[str, tuple[dict[str, list[int] | None], str]] = {
    "no second text encoder": ({f"{SECOND}token_embedding.weight": None}, "it has no second text encoder"),
    "no VAE": ({"first_stage_model.decoder.conv_in.weight": None}, "it has no VAE"),
    "no sizes": ({f"{UNET}label_emb.0.0.weight": None}, "not an SDXL checkpoint"),
    "odd sizes": ({f"{UNET}label_emb.0.0.weight": [1280, 2817]}, "told 2817 numbers"),
    "no projection": ({f"{SECOND}text_projection": None}, "not an SDXL checkpoint"),
    "flat projection": ({f"{SECOND}text_projection": [1280]}, "not an SDXL checkpoint"),
    "a shallow middle": (
        {f"{UNET}middle_block.1.transformer_blocks.9.attn2.to_k.weight": None},
        "not as deep as its last level",
    ),
    "misfit": ({f"{SECOND}token_embedding.weight": [49408, 1024]}, "its UNet and its text encoders do not fit"),
    "strange latents": ({f"{UNET}input_blocks.0.0.weight": [320, 7, 3, 3]}, "latents do not have 4 channels"),
    "endless blocks": ({f"{UNET}input_blocks.{10**12}.0.skip.weight": [1]}, "counts its layers up to"),
    "endless layers": ({f"{SECOND}transformer.resblocks.{'9' * 5000}.x": [1]}, "not an SDXL checkpoint"),
    "a giant": ({f"{SECOND}transformer.resblocks.999.mlp.c_fc.weight": [1, 1]}, "configuration of its text_encoder_2"),
}


@pytest.mark.parametrize("case", DAMAGES)
def test_damaged_files_say_what_is_wrong(case: str, tmp_path: Path) -> None:
    changes, words = DAMAGES[case]
    shapes = {name: shape for name, shape in (real_shapes() | changes).items() if shape is not None}
    write_sparse(tmp_path / "model.safetensors", shapes)
    with pytest.raises(BadFile, match=words):
        identify(tmp_path / "model.safetensors")


BREAKAGES: dict[str, tuple[Break, str]] = {
    "no second tokenizer": (lambda folder: shutil.rmtree(folder / "tokenizer_2"), "it has no tokenizer_2"),
    "no second text encoder": (
        lambda folder: (folder / "text_encoder_2" / "model.safetensors").unlink(),
        "it has no text_encoder_2: text_encoder_2/model.safetensors is missing",
    ),
    "another class": (
        lambda folder: write_json(folder / "model_index.json", INDEX | {"text_encoder_2": ["transformers", "T5Model"]}),
        "names no usable text_encoder_2",
    ),
    "a refiner": (
        lambda folder: write_json(
            folder / "model_index.json",
            INDEX | {"_class_name": "StableDiffusionXLImg2ImgPipeline", "requires_aesthetics_score": True},
        ),
        "UNet and its text encoder do not fit",
    ),
    "misfit": (lambda folder: change_json(folder / "unet" / "config.json", cross_attention_dim=768), "do not fit"),
    "pooled misfit": (
        lambda folder: change_json(folder / "text_encoder_2" / "config.json", projection_dim=41),
        "second text encoder do not fit",
    ),
    "not told about sizes": (
        lambda folder: change_json(folder / "unet" / "config.json", addition_embed_type="image"),
        "not told about text and sizes",
    ),
    "deep lists": (
        lambda folder: change_json(folder / "unet" / "config.json", transformer_layers_per_block=[1, [[2], 2], 10]),
        "configuration of its unet",
    ),
    "endless depth": (
        lambda folder: change_json(folder / "unet" / "config.json", transformer_layers_per_block=[1, 2, 10**9]),
        "configuration of its unet",
    ),
}


@pytest.mark.parametrize("case", BREAKAGES)
def test_broken_folders_say_what_is_wrong(case: str, xl_folder: Path, tmp_path: Path) -> None:
    check_refusal(Path(shutil.copytree(xl_folder, tmp_path / "copy")), *BREAKAGES[case])


@pytest.mark.parametrize("pipeline", ["StableDiffusionXLImg2ImgPipeline", "StableDiffusionXLInpaintPipeline"])
def test_folders_of_other_pipelines_are_the_same_models(pipeline: str, xl_folder: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(xl_folder, tmp_path / "copy"))
    write_json(folder / "model_index.json", INDEX | {"_class_name": pipeline, "force_zeros_for_empty_prompt": False})
    checkpoint = identify(folder)
    assert (checkpoint.family, checkpoint.zero_negative) == (Family.SDXL, False)


def test_tokenizers_that_differ_are_refused(xl_folder: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(xl_folder, tmp_path / "copy"))
    vocabulary = json.loads((folder / "tokenizer_2" / "vocab.json").read_text())
    names = list(vocabulary)
    vocabulary[names[1000]], vocabulary[names[1001]] = vocabulary[names[1001]], vocabulary[names[1000]]
    write_json(folder / "tokenizer_2" / "vocab.json", vocabulary)
    with pytest.raises(BadFile, match="its tokenizers differ"):
        load(identify(folder), FLOAT)


def test_missing_tensors_are_named(tmp_path: Path) -> None:
    incomplete = original_weights()
    del incomplete[f"{SECOND}ln_final.bias"]
    save_file(incomplete, tmp_path / "x.safetensors")
    with pytest.raises(BadFile, match=r"text_encoder_2 lacks text_model\.final_layer_norm\.bias"):
        load(identify(tmp_path / "x.safetensors"), FLOAT)
