"""Chroma's folders: what is read from them, and what is wrong with broken ones."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.tiny_chroma import make_folder
from tests.tiny_models import write_json
from webui.domain.models import Family
from webui.errors import BadFile
from webui.weights.checkpoint import FlowSchedule
from webui.weights.recognition.identify import identify

pytestmark = pytest.mark.filterwarnings("ignore:`FluxPosEmbed` is deprecated:FutureWarning")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("models") / "chroma")


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
    assert (checkpoint.family, checkpoint.family.latents) == (Family.CHROMA, Family.FLUX)
    assert set(checkpoint.components) == {"transformer", "vae", "text_encoder"}
    assert checkpoint.noise == FlowSchedule(shift=3.0, dynamic=True)
    assert (checkpoint.defaults.guidance, checkpoint.defaults.steps) == (5.0, 35)


BREAKAGES: dict[str, tuple[Callable[[Path], None], str]] = {
    "channels": (_config("transformer", in_channels=32), "16 channels"),
    "latents": (_config("vae", latent_channels=4), "16 channels"),
    "levels": (_config("vae", block_out_channels=[16, 16]), "8 times"),
    "axes": (_config("transformer", axes_dims_rope=[4, 6, 8]), "its transformer"),
    "words for axes": (_config("transformer", axes_dims_rope="many"), "its transformer"),
    "states": (_config("text_encoder", d_model=64), "do not fit together"),
    "no tokenizer": (lambda folder: shutil.rmtree(folder / "tokenizer"), "tokenizer/tokenizer.json is missing"),
}


@pytest.mark.parametrize("case", BREAKAGES)
def test_broken_folders_say_what_is_wrong(case: str, folder: Path) -> None:
    break_it, words = BREAKAGES[case]
    break_it(folder)
    with pytest.raises(BadFile) as caught:
        identify(folder)
    assert words in str(caught.value)
