"""Flux.2's folders: what is read from them, and what is wrong with broken ones."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.tiny_flux2 import make_folder
from tests.tiny_models import write_json
from webui.domain.models import Family
from webui.errors import BadFile
from webui.weights.checkpoint import FlowSchedule
from webui.weights.recognition.identify import identify


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("models") / "klein")


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
    assert (checkpoint.family, checkpoint.family.latents) == (Family.FLUX2, Family.FLUX2)
    assert set(checkpoint.components) == {"transformer", "vae", "text_encoder"}
    assert checkpoint.noise == FlowSchedule(shift=3.0, dynamic=True, by_steps=True)
    assert (checkpoint.defaults.guidance, checkpoint.defaults.steps) == (4.0, 50)


def test_dev_is_told_its_guidance(tmp_path: Path) -> None:
    checkpoint = identify(make_folder(tmp_path / "dev", "dev"))
    assert checkpoint.family is Family.FLUX2
    assert (checkpoint.defaults.guidance, checkpoint.defaults.distilled_guidance) == (1.0, 4.0)


def test_one_that_was_distilled_takes_few_steps(tmp_path: Path) -> None:
    defaults = identify(make_folder(tmp_path / "distilled", distilled=True)).defaults
    assert (defaults.guidance, defaults.steps) == (1.0, 4)


BREAKAGES: dict[str, tuple[Callable[[Path], None], str]] = {
    "channels": (_config("transformer", in_channels=64), "32 channels"),
    "latents": (_config("vae", latent_channels=16), "32 channels"),
    "neighbours": (_config("vae", patch_size=[1, 1]), "its vae"),
    "levels": (_config("vae", block_out_channels=[16, 16]), "8 times"),
    "axes": (_config("transformer", axes_dims_rope=[4, 6, 6]), "its transformer"),
    "states": (_config("text_encoder", hidden_size=64), "do not fit together"),
    "a shallow text encoder": (_config("text_encoder", num_hidden_layers=12), "its text_encoder"),
    "no tokenizer": (lambda folder: shutil.rmtree(folder / "tokenizer"), "it has no tokenizer"),
}


@pytest.mark.parametrize("case", BREAKAGES)
def test_broken_folders_say_what_is_wrong(case: str, folder: Path) -> None:
    break_it, words = BREAKAGES[case]
    break_it(folder)
    with pytest.raises(BadFile) as caught:
        identify(folder)
    assert words in str(caught.value)
