"""Folders of the families whose network is a transformer: told by their configurations, refused in a sentence."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from tests.broken_folders import Break, change_config, change_json, change_scheduler, check_refusal
from tests.tiny_dits import KINDS, SCHEDULERS, make_folder
from webui.domain.models import Family
from webui.weights.checkpoint import FlowSchedule, NoiseSchedule
from webui.weights.loading.load import load
from webui.weights.recognition.identify import identify


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    home = tmp_path_factory.mktemp("models")
    return {kind: make_folder(home / kind, kind) for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
def test_folders_are_told_by_their_pipeline(folders: dict[str, Path], kind: str) -> None:
    checkpoint = identify(folders[kind])
    assert (checkpoint.family, checkpoint.denoiser, checkpoint.variant) == (Family(kind), "transformer", "")
    defaults = checkpoint.defaults
    assert defaults.width == defaults.height and defaults.steps and defaults.guidance and defaults.sampler
    scheduler = SCHEDULERS[kind]
    if Family(kind).is_flow:
        assert isinstance(checkpoint.noise, FlowSchedule)
        assert checkpoint.noise.shift == scheduler.get("shift", scheduler.get("flow_shift"))
    else:
        assert checkpoint.noise == NoiseSchedule(
            1000,
            scheduler["beta_start"],
            scheduler["beta_end"],
            scheduler["beta_schedule"],
            scheduler["prediction_type"],
        )


@pytest.mark.parametrize("kind", KINDS)
def test_everything_is_there_after_loading(folders: dict[str, Path], kind: str) -> None:
    checkpoint = identify(folders[kind])
    networks = load(checkpoint, dict.fromkeys(checkpoint.components, torch.float32))
    assert networks.piece_tokenizers.keys() == set(checkpoint.text_encoders)


def _without(name: str) -> Break:
    return lambda folder: (folder / name).unlink()


BREAKAGES: dict[str, tuple[str, Break, str]] = {
    "other latents": ("pixart_alpha", change_config("vae", latent_channels=16), "its latents do not have 4 channels"),
    "other text encoder": ("pixart_alpha", change_config("text_encoder", d_model=41), "do not fit together"),
    "no width of texts": ("pixart_sigma", change_config("transformer", caption_channels=None), "do not fit together"),
    "another norm": (
        "pixart_alpha",
        change_config("transformer", norm_type="ada_norm_zero"),
        "not that of a usable network",
    ),
    "heads": ("pixart_alpha", change_config("transformer", num_attention_heads="2"), "not that of a usable network"),
    "scale": ("pixart_sigma", change_config("vae", scaling_factor=0), "not that of a usable network"),
    "levels": ("pixart_sigma", change_config("vae", block_out_channels=[8, 8, 8]), "does not shrink images 8 times"),
    "no tokenizer": ("pixart_sigma", _without("tokenizer/tokenizer.json"), "tokenizer/tokenizer.json is missing"),
    "noise": ("pixart_alpha", change_scheduler(prediction_type="sample"), "not supported"),
    "patches": ("auraflow", change_config("transformer", patch_size=4), "not that of a usable network"),
    "width": ("auraflow", change_config("transformer", caption_projection_dim=33), "not that of a usable network"),
    "wrong text encoder": ("auraflow", change_config("transformer", joint_attention_dim=41), "do not fit together"),
    "guided": ("sana", change_config("transformer", guidance_embeds=True), "not that of a usable network"),
    "fewer levels": (
        "sana",
        change_config("vae", decoder_block_out_channels=[8] * 5),
        "does not shrink images 32 times",
    ),
    "no flow": ("sana", change_scheduler(use_flow_sigmas=False), "not supported"),
    "places": ("lumina2", change_config("transformer", axes_dim_rope=[4, 4, 2]), "not that of a usable network"),
    "odd places": ("lumina2", change_config("transformer", axes_dim_rope=[3, 3, 6]), "not that of a usable network"),
    "other states": ("lumina2", change_config("transformer", cap_feat_dim=41), "do not fit together"),
    "no word pieces": ("lumina2", _without("tokenizer/tokenizer.json"), "tokenizer/tokenizer.json is missing"),
    "heads of places": (
        "hunyuan_dit",
        change_config("transformer", attention_head_dim=6),
        "not that of a usable network",
    ),
    "no words": (
        "hunyuan_dit",
        change_config("text_encoder", hidden_size=34),
        "and its text_encoder do not fit together",
    ),
    "no second words": (
        "hunyuan_dit",
        change_config("text_encoder_2", d_model=41),
        "its text_encoder_2 do not fit together",
    ),
    "shift": ("auraflow", change_scheduler(shift=0), "not supported"),
}


@pytest.mark.parametrize("case", BREAKAGES)
def test_broken_folders_say_what_is_wrong(case: str, folders: dict[str, Path], tmp_path: Path) -> None:
    kind, break_it, words = BREAKAGES[case]
    check_refusal(Path(shutil.copytree(folders[kind], tmp_path / "model")), break_it, words)


def test_the_class_that_folders_of_2023_name(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(folders["pixart_alpha"], tmp_path / "model"))
    change_json(folder / "model_index.json", transformer=["diffusers", "Transformer2DModel"])
    checkpoint = identify(folder)
    networks = load(checkpoint, dict.fromkeys(checkpoint.components, torch.float32))
    assert type(networks.networks["transformer"]).__name__ == "PixArtTransformer2DModel"
