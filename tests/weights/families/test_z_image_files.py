"""Z-Image's folders: what is read from them, and what is wrong with broken ones."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.tiny_models import write_json
from tests.tiny_z_image import make_folder
from webui.domain.models import Family
from webui.errors import BadFile
from webui.weights.checkpoint import FlowSchedule
from webui.weights.recognition.identify import identify


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("models") / "z-image")


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
    assert (checkpoint.family, checkpoint.family.latents) == (Family.Z_IMAGE, Family.FLUX)
    assert set(checkpoint.components) == {"transformer", "vae", "text_encoder"}
    assert checkpoint.noise == FlowSchedule(shift=3.0)
    assert (checkpoint.defaults.guidance, checkpoint.defaults.steps) == (1.0, 9)


BREAKAGES: dict[str, tuple[Callable[[Path], None], str]] = {
    "channels": (_config("transformer", in_channels=32), "16 channels"),
    "latents": (_config("vae", latent_channels=4), "16 channels"),
    "Omni": (_config("transformer", siglip_feat_dim=1152), "Omni"),
    "patches": (_config("transformer", all_patch_size=[4]), "its transformer"),
    "heads": (_config("transformer", n_heads=0), "its transformer"),
    "axes": (_config("transformer", axes_dims=[4, 6, 8]), "its transformer"),
    "depth": (_config("transformer", n_layers=100_000), "its transformer"),
    "states": (_config("text_encoder", hidden_size=64), "do not fit together"),
    "no tokenizer": (lambda folder: shutil.rmtree(folder / "tokenizer"), "it has no tokenizer"),
}


@pytest.mark.parametrize("case", BREAKAGES)
def test_broken_folders_say_what_is_wrong(case: str, folder: Path) -> None:
    break_it, words = BREAKAGES[case]
    break_it(folder)
    with pytest.raises(BadFile) as caught:
        identify(folder)
    assert words in str(caught.value)
