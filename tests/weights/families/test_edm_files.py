"""CosXL and Playground: told from marks in a file or a folder's configurations, refused where these make no sense."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tests.engine.test_edm import COSXL, PLAYGROUND, VAE
from tests.tiny_xl import make_folder, original_weights
from webui.domain.models import Family
from webui.errors import BadFile
from webui.weights.checkpoint import EdmSchedule
from webui.weights.recognition.identify import identify


def test_cosxl(tmp_path: Path) -> None:
    marks = {"edm_vpred.sigma_max": torch.tensor(100.0), "edm_vpred.sigma_min": torch.tensor(0.5)}
    save_file(original_weights() | marks, tmp_path / "x.safetensors")
    found = identify(tmp_path / "x.safetensors")
    assert (found.family, found.noise) == (Family.SDXL, EdmSchedule(0.5, 100.0, 1.0, "v_prediction"))
    told = identify(make_folder(tmp_path / "x", scheduler=COSXL))
    assert (told.family, told.noise) == (Family.SDXL, EdmSchedule(0.002, 120.0, 1.0, "v_prediction"))


def test_playground(tmp_path: Path) -> None:
    marks = {"edm_mean": torch.zeros(4), "edm_std": torch.ones(4)}
    save_file(original_weights() | marks, tmp_path / "x.safetensors")
    folder = make_folder(tmp_path / "x", scheduler=PLAYGROUND, vae_changes=VAE)
    for found in (identify(tmp_path / "x.safetensors"), identify(folder)):
        assert (found.family, found.noise) == (Family.PLAYGROUND, EdmSchedule())
        assert list(found.configs["vae"]["latents_std"]) == VAE["latents_std"]
        assert (found.defaults.width, found.defaults.guidance, found.defaults.schedule) == (1024, 3.0, "Karras")


@pytest.mark.parametrize("numbers", [(5.0, 1.0), (float("nan"), 1.0), (-1.0, 0.002)])
def test_levels_that_make_no_sense_are_refused(tmp_path: Path, numbers: tuple[float, float]) -> None:
    lowest, highest = (torch.tensor(number) for number in numbers)
    marks = {"edm_vpred.sigma_min": lowest, "edm_vpred.sigma_max": highest}
    save_file(original_weights() | marks, tmp_path / "x.safetensors")
    with pytest.raises(BadFile, match="noise schedule that is not supported"):
        identify(tmp_path / "x.safetensors")


def test_spreads_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    changes = VAE | {"latents_std": [1.0, 2.0, 0.0, 1.0]}
    with pytest.raises(BadFile, match="the configuration of its vae"):
        identify(make_folder(tmp_path / "x", scheduler=PLAYGROUND, vae_changes=changes))
