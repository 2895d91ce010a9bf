from __future__ import annotations

from pathlib import Path

import pytest

from webui.errors import BadFile
from webui.weights.recognition.folder_files import find_weight_files

UNET = "diffusion_pytorch_model"


def make(folder: Path, part: str, *names: str) -> None:
    (folder / part).mkdir(exist_ok=True)
    for name in ("config.json", *names):
        (folder / part / name).touch()


CASES: dict[str, tuple[str, tuple[str, ...], tuple[str, ...]]] = {
    "whole": ("unet", (f"{UNET}.safetensors",), (f"{UNET}.safetensors",)),
    "safetensors before pickles": ("vae", (f"{UNET}.bin", f"{UNET}.safetensors"), (f"{UNET}.safetensors",)),
    "a variant before pickles": ("vae", (f"{UNET}.bin", f"{UNET}.fp16.safetensors"), (f"{UNET}.fp16.safetensors",)),
    "full before half": (
        "unet",
        (f"{UNET}.fp16.safetensors", f"{UNET}.safetensors", f"{UNET}.non_ema.safetensors"),
        (f"{UNET}.safetensors",),
    ),
    "half alone": ("text_encoder", ("model.fp16.safetensors",), ("model.fp16.safetensors",)),
    "an unknown variant": ("unet", (f"{UNET}.int8.safetensors",), (f"{UNET}.int8.safetensors",)),
    "pickle": ("unet", (f"{UNET}.bin",), (f"{UNET}.bin",)),
    "pickle of transformers": ("text_encoder", ("pytorch_model.bin",), ("pytorch_model.bin",)),
    "shards": (
        "transformer",
        (f"{UNET}-00002-of-00002.safetensors", f"{UNET}-00001-of-00002.safetensors", f"{UNET}.safetensors.index.json"),
        (f"{UNET}-00001-of-00002.safetensors", f"{UNET}-00002-of-00002.safetensors"),
    ),
    "shards of a variant, as diffusers names them": (
        "transformer",
        (f"{UNET}-00001-of-00002.fp16.safetensors", f"{UNET}-00002-of-00002.fp16.safetensors"),
        (f"{UNET}-00001-of-00002.fp16.safetensors", f"{UNET}-00002-of-00002.fp16.safetensors"),
    ),
    "shards of a variant, as transformers names them": (
        "text_encoder_2",
        ("model.fp16-00001-of-00002.safetensors", "model.fp16-00002-of-00002.safetensors"),
        ("model.fp16-00001-of-00002.safetensors", "model.fp16-00002-of-00002.safetensors"),
    ),
    "pickled shards": (
        "text_encoder_2",
        ("pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin", "pytorch_model.bin.index.json"),
        ("pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin"),
    ),
    "a complete variant before shards with gaps": (
        "unet",
        (f"{UNET}-00001-of-00002.safetensors", f"{UNET}.fp16.safetensors"),
        (f"{UNET}.fp16.safetensors",),
    ),
    "another program's files": ("unet", (f"{UNET}.safetensors", "model.onnx", "x.bin"), (f"{UNET}.safetensors",)),
}


@pytest.mark.parametrize("case", CASES)
def test_the_best_complete_set_is_found(case: str, tmp_path: Path) -> None:
    part, there, expected = CASES[case]
    make(tmp_path, part, *there)
    assert tuple(file.name for file in find_weight_files(tmp_path, part)) == expected


@pytest.mark.parametrize("there", [(f"{UNET}-00001-of-00002.safetensors",), (f"{UNET}-00001-of-00002.fp16.bin",)])
def test_missing_shards_are_told(there: tuple[str, ...], tmp_path: Path) -> None:
    make(tmp_path, "unet", *there)
    with pytest.raises(BadFile, match="files of its unet are missing"):
        find_weight_files(tmp_path, "unet")


@pytest.mark.parametrize("there", [(), ("model.safetensors",), (f"{UNET}.txt",)])
def test_no_weights_at_all_are_told(there: tuple[str, ...], tmp_path: Path) -> None:
    make(tmp_path, "unet", *there)
    with pytest.raises(BadFile, match=f"it has no unet: unet/{UNET}.safetensors is missing"):
        find_weight_files(tmp_path, "unet")
