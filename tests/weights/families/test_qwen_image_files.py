"""Qwen-Image's folders: what is read from them, and what is wrong with broken ones."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.tiny_models import write_json
from tests.tiny_qwen_image import make_folder
from webui.domain.models import Family
from webui.errors import BadFile
from webui.weights.checkpoint import FlowSchedule
from webui.weights.recognition.identify import identify


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("models") / "qwen-image")


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "copy"))


def _config(part: str, **changes: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        file = folder / part / "config.json"
        write_json(file, json.loads(file.read_text("utf-8")) | changes)

    return change


def test_what_is_read(made: Path) -> None:
    checkpoint = identify(made)
    assert (checkpoint.family, checkpoint.family.latents) == (Family.QWEN_IMAGE, Family.QWEN_IMAGE)
    assert set(checkpoint.components) == {"transformer", "vae", "text_encoder"}
    assert checkpoint.noise == FlowSchedule(dynamic=True, max_shift=0.9, max_tokens=8192, terminal=0.02)
    assert (checkpoint.defaults.guidance, checkpoint.defaults.steps) == (4.0, 50)


def _scheduler(**changes: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        file = folder / "scheduler" / "scheduler_config.json"
        write_json(file, json.loads(file.read_text("utf-8")) | changes)

    return change


BREAKAGES: dict[str, tuple[Callable[[Path], None], str]] = {
    "channels": (_config("transformer", in_channels=32), "16 channels"),
    "latents": (_config("vae", z_dim=8), "16 channels"),
    "layers of pictures": (_config("transformer", use_layer3d_rope=True), "not supported yet"),
    "levels": (_config("vae", dim_mult=[1, 2]), "8 times"),
    "numbers of the latents": (_config("vae", latents_std=[1.0, 2.0]), "its vae"),
    "words for numbers": (_config("vae", latents_mean=["much"] * 16), "its vae"),
    "axes": (_config("transformer", axes_dims_rope=[4, 6, 8]), "its transformer"),
    "states": (_config("transformer", joint_attention_dim=64), "do not fit together"),
    "no tokenizer": (lambda folder: shutil.rmtree(folder / "tokenizer"), "it has no tokenizer"),
    "terminal": (_scheduler(shift_terminal=1.5), "not supported"),
    "a word for it": (_scheduler(shift_terminal="low"), "not supported"),
}


@pytest.mark.parametrize("case", BREAKAGES)
def test_broken_folders_say_what_is_wrong(case: str, folder: Path) -> None:
    break_it, words = BREAKAGES[case]
    break_it(folder)
    with pytest.raises(BadFile) as caught:
        identify(folder)
    assert words in str(caught.value)
