"""Folders of Chroma, Flux.2, Qwen-Image and Z-Image: what is read from them, and what is wrong with broken ones."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests import tiny_chroma, tiny_flux2, tiny_qwen_image, tiny_z_image
from tests.broken_folders import Break, change_config, change_scheduler, check_refusal
from webui.domain.models import Family
from webui.weights.checkpoint import FlowSchedule
from webui.weights.recognition.identify import identify

pytestmark = pytest.mark.filterwarnings("ignore:`FluxPosEmbed` is deprecated:FutureWarning")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[Family, Path]:
    home = tmp_path_factory.mktemp("models")
    return {
        Family.CHROMA: tiny_chroma.make_folder(home / "chroma"),
        Family.FLUX2: tiny_flux2.make_folder(home / "klein"),
        Family.QWEN_IMAGE: tiny_qwen_image.make_folder(home / "qwen-image"),
        Family.Z_IMAGE: tiny_z_image.make_folder(home / "z-image"),
    }


@pytest.mark.parametrize(
    ("family", "latents", "noise", "guidance", "steps"),
    [
        (Family.CHROMA, Family.FLUX, FlowSchedule(shift=3.0, dynamic=True), 5.0, 35),
        (Family.FLUX2, Family.FLUX2, FlowSchedule(shift=3.0, dynamic=True, by_steps=True), 4.0, 50),
        (
            Family.QWEN_IMAGE, Family.QWEN_IMAGE,
            FlowSchedule(dynamic=True, max_shift=0.9, max_tokens=8192, terminal=0.02), 4.0, 50,
        ),
        (Family.Z_IMAGE, Family.FLUX, FlowSchedule(shift=3.0), 1.0, 9),
    ],
)  # fmt: skip
def test_what_is_read(
    folders: dict[Family, Path], family: Family, latents: Family, noise: FlowSchedule, guidance: float, steps: int
) -> None:
    checkpoint = identify(folders[family])
    assert (checkpoint.family, checkpoint.family.latents) == (family, latents)
    assert set(checkpoint.components) == {"transformer", "vae", "text_encoder"}
    assert checkpoint.noise == noise
    assert (checkpoint.defaults.guidance, checkpoint.defaults.steps) == (guidance, steps)


def test_flux2_dev_is_told_its_guidance(tmp_path: Path) -> None:
    checkpoint = identify(tiny_flux2.make_folder(tmp_path / "dev", "dev"))
    assert checkpoint.family is Family.FLUX2
    assert (checkpoint.defaults.guidance, checkpoint.defaults.distilled_guidance) == (1.0, 4.0)


def test_a_flux2_that_was_distilled_takes_few_steps(tmp_path: Path) -> None:
    defaults = identify(tiny_flux2.make_folder(tmp_path / "distilled", distilled=True)).defaults
    assert (defaults.guidance, defaults.steps) == (1.0, 4)


def _without_tokenizer(folder: Path) -> None:
    shutil.rmtree(folder / "tokenizer")


BREAKAGES: dict[Family, dict[str, tuple[Break, str]]] = {
    Family.CHROMA: {
        "channels": (change_config("transformer", in_channels=32), "16 channels"),
        "latents": (change_config("vae", latent_channels=4), "16 channels"),
        "levels": (change_config("vae", block_out_channels=[16, 16]), "8 times"),
        "axes": (change_config("transformer", axes_dims_rope=[4, 6, 8]), "its transformer"),
        "words for axes": (change_config("transformer", axes_dims_rope="many"), "its transformer"),
        "states": (change_config("text_encoder", d_model=64), "do not fit together"),
        "no tokenizer": (_without_tokenizer, "tokenizer/tokenizer.json is missing"),
    },
    Family.FLUX2: {
        "channels": (change_config("transformer", in_channels=64), "32 channels"),
        "latents": (change_config("vae", latent_channels=16), "32 channels"),
        "neighbours": (change_config("vae", patch_size=[1, 1]), "its vae"),
        "levels": (change_config("vae", block_out_channels=[16, 16]), "8 times"),
        "axes": (change_config("transformer", axes_dims_rope=[4, 6, 6]), "its transformer"),
        "states": (change_config("text_encoder", hidden_size=64), "do not fit together"),
        "a shallow text encoder": (change_config("text_encoder", num_hidden_layers=12), "its text_encoder"),
        "no tokenizer": (_without_tokenizer, "it has no tokenizer"),
    },
    Family.QWEN_IMAGE: {
        "channels": (change_config("transformer", in_channels=32), "16 channels"),
        "latents": (change_config("vae", z_dim=8), "16 channels"),
        "layers of pictures": (change_config("transformer", use_layer3d_rope=True), "not supported yet"),
        "levels": (change_config("vae", dim_mult=[1, 2]), "8 times"),
        "numbers of the latents": (change_config("vae", latents_std=[1.0, 2.0]), "its vae"),
        "words for numbers": (change_config("vae", latents_mean=["much"] * 16), "its vae"),
        "axes": (change_config("transformer", axes_dims_rope=[4, 6, 8]), "its transformer"),
        "states": (change_config("transformer", joint_attention_dim=64), "do not fit together"),
        "no tokenizer": (_without_tokenizer, "it has no tokenizer"),
        "terminal": (change_scheduler(shift_terminal=1.5), "not supported"),
        "a word for it": (change_scheduler(shift_terminal="low"), "not supported"),
    },
    Family.Z_IMAGE: {
        "channels": (change_config("transformer", in_channels=32), "16 channels"),
        "latents": (change_config("vae", latent_channels=4), "16 channels"),
        "Omni": (change_config("transformer", siglip_feat_dim=1152), "Omni"),
        "patches": (change_config("transformer", all_patch_size=[4]), "its transformer"),
        "heads": (change_config("transformer", n_heads=0), "its transformer"),
        "axes": (change_config("transformer", axes_dims=[4, 6, 8]), "its transformer"),
        "depth": (change_config("transformer", n_layers=100_000), "its transformer"),
        "states": (change_config("text_encoder", hidden_size=64), "do not fit together"),
        "no tokenizer": (_without_tokenizer, "it has no tokenizer"),
    },
}


@pytest.mark.parametrize(("family", "case"), [(family, case) for family, cases in BREAKAGES.items() for case in cases])
def test_broken_folders_say_what_is_wrong(
    folders: dict[Family, Path], tmp_path: Path, family: Family, case: str
) -> None:
    check_refusal(Path(shutil.copytree(folders[family], tmp_path / "copy")), *BREAKAGES[family][case])
