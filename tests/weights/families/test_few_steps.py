"""What names and schedulers say about checkpoints that draw in a few steps."""

from __future__ import annotations

from pathlib import Path

import pytest
from safetensors.torch import save_file

from tests import tiny_models, tiny_xl
from tests.tiny_models import SCHEDULER, original_weights, write_json
from webui.domain.models import ModelDefaults
from webui.weights.recognition.identify import identify


@pytest.fixture(scope="module")
def xl_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_xl.make_single_file(tmp_path_factory.mktemp("models") / "xl.safetensors")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("sdxl_lightning_4step", (4, 1.0, "Euler", "SGM Uniform")),
        ("juggernautXL_v9Rdphoto2Lightning", (6, 1.5, "Euler", "SGM Uniform")),
        ("Hyper-SDXL-8steps", (8, 1.0, "Euler", "Simple")),
        ("sd_xl_turbo_1.0_fp16", (4, 1.0, "Euler a", "SGM Uniform")),
        ("dreamshaperXL_turboDPMSDE", (6, 2.0, "DPM++ SDE", "Karras")),
        ("realvisXLTurbo", (6, 2.0, "DPM++ SDE", "Karras")),
        ("dmd2_sdxl_4step_unet", (4, 1.0, "LCM", "Simple")),
        ("someModel-LCM", (6, 1.0, "LCM", "Automatic")),
        ("hyperrealism_v3", (None, None, None, None)),
        ("thousand_20steps", (None, None, None, None)),
    ],
)
def test_names(xl_file: Path, tmp_path: Path, name: str, expected: tuple[object, ...]) -> None:
    file = tmp_path / f"{name}.safetensors"
    file.hardlink_to(xl_file)
    found = identify(file).defaults
    assert (found.steps, found.guidance, found.sampler, found.schedule) == expected
    assert found.distilled_guidance is None


def test_titles(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    save_file(original_weights(), file, metadata={"modelspec.title": "My Lightning, 8 steps"})
    assert (identify(file).defaults.steps, identify(file).defaults.guidance) == (8, 1.0)


@pytest.mark.parametrize(
    ("scheduler", "expected"),
    [
        ({"_class_name": "LCMScheduler"}, ModelDefaults(steps=6, guidance=1.0, sampler="LCM", schedule="Automatic")),
        ({"_class_name": "TCDScheduler"}, ModelDefaults(steps=8, guidance=1.0, sampler="Euler", schedule="Simple")),
        (
            {"_class_name": "EulerAncestralDiscreteScheduler", "timestep_spacing": "trailing"},
            ModelDefaults(steps=4, guidance=1.0, sampler="Euler a", schedule="SGM Uniform", width=512, height=512),
        ),
        ({"_class_name": "EulerDiscreteScheduler", "timestep_spacing": "trailing"}, ModelDefaults()),
    ],
)
def test_schedulers(tmp_path: Path, scheduler: dict[str, str], expected: ModelDefaults) -> None:
    folder = tiny_xl.make_folder(tmp_path / "model", scheduler=SCHEDULER | scheduler)
    assert identify(folder).defaults == expected


def test_a_unet_that_is_told_its_guidance(tmp_path: Path) -> None:
    folder = tiny_models.make_folder(tmp_path / "model", unet_changes={"time_cond_proj_dim": 16})
    found = identify(folder).defaults
    assert (found.distilled_guidance, found.guidance, found.sampler) == (8.5, 1.0, "LCM")
    config = folder / "model_index.json"
    write_json(config, tiny_models.INDEX | {"_class_name": "LatentConsistencyModelPipeline"})
    assert identify(folder).defaults == found
