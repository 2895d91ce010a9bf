"""What a diffusers folder holds besides weights, written out for a checkpoint that is one file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from diffusers import ConfigMixin

from webui.domain.models import Family
from webui.errors import BadRequest
from webui.storage import replace_file
from webui.weights.checkpoint import Checkpoint, NoiseSchedule
from webui.weights.loading.networks import build
from webui.weights.loading.tokenizers import OPEN_CLIP_PADDING
from webui.weights.vocabulary import END, START, read_clip_vocabulary

_PIPELINES: Mapping[Family, str] = MappingProxyType(
    {
        Family.SD1: "StableDiffusionPipeline",
        Family.SD2: "StableDiffusionPipeline",
        Family.SDXL: "StableDiffusionXLPipeline",
        Family.SDXL_REFINER: "StableDiffusionXLImg2ImgPipeline",
    }
)
_LENGTH = 77  # tokens that CLIP reads


def write_texts(folder: Path, checkpoint: Checkpoint) -> None:
    """Write model_index.json, every network's configuration, the scheduler's, and CLIP's tokenizers into `folder`.

    Raises `BadRequest` for families of which no such folder is known here.
    """
    noise = checkpoint.noise
    if checkpoint.family not in _PIPELINES or not isinstance(noise, NoiseSchedule):
        raise BadRequest(
            f"A {checkpoint.family.name} model in one file cannot be written as a diffusers folder.",
            hint="Write one file.",
            field="layout",
        )
    index: dict[str, Any] = {"_class_name": _PIPELINES[checkpoint.family], "scheduler": ["diffusers", "DDIMScheduler"]}
    for component, part in checkpoint.parts.items():
        network = build(part)
        index[component] = ["diffusers" if isinstance(network, ConfigMixin) else "transformers", part.network]
        text = network.config if isinstance(network, ConfigMixin) else network.config.to_dict()
        _write(folder / component / "config.json", {**text, "_class_name": part.network})
        if component.startswith("text_encoder"):
            tokenizer = component.replace("text_encoder", "tokenizer")
            index[tokenizer] = ["transformers", "CLIPTokenizer"]
            _write_tokenizer(folder / tokenizer, END if part.layout == "original" else OPEN_CLIP_PADDING)
    if checkpoint.family in (Family.SDXL, Family.SDXL_REFINER):
        index["force_zeros_for_empty_prompt"] = checkpoint.zero_negative
    if checkpoint.family is Family.SDXL_REFINER:
        index |= {"requires_aesthetics_score": True, "text_encoder": [None, None], "tokenizer": [None, None]}
    if checkpoint.family in (Family.SD1, Family.SD2):
        index |= {"safety_checker": [None, None], "feature_extractor": [None, None]}
    _write(folder / "model_index.json", index)
    _write(folder / "scheduler" / "scheduler_config.json", _scheduler(noise))


def _scheduler(noise: NoiseSchedule) -> dict[str, Any]:
    return {
        "_class_name": "DDIMScheduler",
        "num_train_timesteps": noise.train_steps,
        "beta_start": noise.beta_start,
        "beta_end": noise.beta_end,
        "beta_schedule": noise.beta_schedule,
        "prediction_type": noise.prediction,
        "rescale_betas_zero_snr": noise.zero_terminal,
        "timestep_spacing": "leading",
        "steps_offset": 1,
        "clip_sample": False,
        "set_alpha_to_one": False,
    }


def _write_tokenizer(folder: Path, padding: str) -> None:
    vocabulary, merges = read_clip_vocabulary()
    _write(folder / "vocab.json", vocabulary)
    lines = ["#version: 0.2", *(" ".join(pair) for pair in merges)]
    replace_file(folder / "merges.txt", "\n".join([*lines, ""]).encode())
    words = {"bos_token": START, "eos_token": END, "unk_token": END, "pad_token": padding}
    _write(folder / "special_tokens_map.json", words)
    _write(
        folder / "tokenizer_config.json",
        {"tokenizer_class": "CLIPTokenizer", "model_max_length": _LENGTH, "do_lower_case": True, **words},
    )


def _write(file: Path, content: Mapping[str, Any]) -> None:
    replace_file(file, json.dumps(content, indent=2, ensure_ascii=False, default=list).encode())
