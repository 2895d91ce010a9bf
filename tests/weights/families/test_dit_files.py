"""Folders of the families whose network is a transformer: told by their configurations, refused in a sentence."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.tiny_dits import KINDS, SCHEDULERS, make_folder
from tests.tiny_models import write_json
from webui.domain.models import Family
from webui.errors import BadFile
from webui.weights.checkpoint import FlowSchedule, NoiseSchedule
from webui.weights.loading.load import load
from webui.weights.recognition.identify import identify

Break = Callable[[Path], None]


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


def _config(part: str, **changes: Any) -> Break:
    def change(folder: Path) -> None:
        file = folder / part
        file = file / "config.json" if file.is_dir() else file
        write_json(file, {**json.loads(file.read_text("utf-8")), **changes})

    return change


def _without(name: str) -> Break:
    return lambda folder: (folder / name).unlink()


BREAKAGES: dict[str, tuple[str, Break, str]] = {
    "other latents": ("pixart_alpha", _config("vae", latent_channels=16), "its latents do not have 4 channels"),
    "other text encoder": ("pixart_alpha", _config("text_encoder", d_model=41), "do not fit together"),
    "no width of texts": ("pixart_sigma", _config("transformer", caption_channels=None), "do not fit together"),
    "another norm": ("pixart_alpha", _config("transformer", norm_type="ada_norm_zero"), "not that of a usable network"),
    "heads": ("pixart_alpha", _config("transformer", num_attention_heads="2"), "not that of a usable network"),
    "scale": ("pixart_sigma", _config("vae", scaling_factor=0), "not that of a usable network"),
    "levels": ("pixart_sigma", _config("vae", block_out_channels=[8, 8, 8]), "does not shrink images 8 times"),
    "no tokenizer": ("pixart_sigma", _without("tokenizer/tokenizer.json"), "tokenizer/tokenizer.json is missing"),
    "noise": ("pixart_alpha", _config("scheduler/scheduler_config.json", prediction_type="sample"), "not supported"),
    "patches": ("auraflow", _config("transformer", patch_size=4), "not that of a usable network"),
    "width": ("auraflow", _config("transformer", caption_projection_dim=33), "not that of a usable network"),
    "wrong text encoder": ("auraflow", _config("transformer", joint_attention_dim=41), "do not fit together"),
    "guided": ("sana", _config("transformer", guidance_embeds=True), "not that of a usable network"),
    "fewer levels": ("sana", _config("vae", decoder_block_out_channels=[8] * 5), "does not shrink images 32 times"),
    "no flow": ("sana", _config("scheduler/scheduler_config.json", use_flow_sigmas=False), "not supported"),
    "places": ("lumina2", _config("transformer", axes_dim_rope=[4, 4, 2]), "not that of a usable network"),
    "odd places": ("lumina2", _config("transformer", axes_dim_rope=[3, 3, 6]), "not that of a usable network"),
    "other states": ("lumina2", _config("transformer", cap_feat_dim=41), "do not fit together"),
    "no word pieces": ("lumina2", _without("tokenizer/tokenizer.json"), "tokenizer/tokenizer.json is missing"),
    "heads of places": ("hunyuan_dit", _config("transformer", attention_head_dim=6), "not that of a usable network"),
    "no words": ("hunyuan_dit", _config("text_encoder", hidden_size=34), "and its text_encoder do not fit together"),
    "no second words": ("hunyuan_dit", _config("text_encoder_2", d_model=41), "its text_encoder_2 do not fit together"),
    "shift": ("auraflow", _config("scheduler/scheduler_config.json", shift=0), "not supported"),
}


@pytest.mark.parametrize("case", BREAKAGES)
def test_broken_folders_say_what_is_wrong(case: str, folders: dict[str, Path], tmp_path: Path) -> None:
    kind, break_it, words = BREAKAGES[case]
    folder = Path(shutil.copytree(folders[kind], tmp_path / "model"))
    break_it(folder)
    with pytest.raises(BadFile) as caught:
        identify(folder)
    assert words in str(caught.value)


def test_the_class_that_folders_of_2023_name(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(folders["pixart_alpha"], tmp_path / "model"))
    _config("model_index.json", transformer=["diffusers", "Transformer2DModel"])(folder)
    checkpoint = identify(folder)
    networks = load(checkpoint, dict.fromkeys(checkpoint.components, torch.float32))
    assert type(networks.networks["transformer"]).__name__ == "PixArtTransformer2DModel"
