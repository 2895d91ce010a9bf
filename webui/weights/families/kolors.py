"""The files of Kolors."""

from __future__ import annotations

from pathlib import Path

from webui.domain.models import Family, ModelDefaults
from webui.weights.families.checks import Configs, check_levels, unusable
from webui.weights.families.family import FamilyFiles
from webui.weights.families.schedules import read_noise_schedule
from webui.weights.formats.headers import bad_model

WORDS = "a Kolors"


def _check(path: Path, configs: Configs) -> None:
    unet, vae, width = configs["unet"], configs["vae"], configs["text_encoder"].get("hidden_size", 4096)
    if (unet.get("in_channels", 4), unet.get("out_channels", 4), vae.get("latent_channels", 4)) != (4, 4, 4):
        raise bad_model(path, f"not {WORDS} checkpoint: its latents do not have 4 channels")
    check_levels(path, WORDS, vae)
    if (unet.get("addition_embed_type"), unet.get("encoder_hid_dim_type")) != ("text_time", "text_proj"):
        raise bad_model(path, f"not {WORDS} checkpoint: its UNet is not told about text and sizes")
    numbers = width, unet.get("addition_time_embed_dim")
    if not all(type(number) is int and number > 0 for number in numbers):
        raise unusable(path, "unet")
    told = unet.get("projection_class_embeddings_input_dim")
    if unet.get("encoder_hid_dim") != width or told != width + 6 * unet["addition_time_embed_dim"]:
        raise bad_model(path, "its UNet and its text encoder do not fit together")


def _defaults(configs: Configs) -> ModelDefaults:
    return ModelDefaults(width=1024, height=1024, steps=25, guidance=5.0, sampler="DPM++ 2M", schedule="Automatic")


FILES = FamilyFiles(
    family=Family.KOLORS,
    words=WORDS,
    pipelines=frozenset({"KolorsPipeline", "KolorsImg2ImgPipeline", "KolorsPAGPipeline"}),
    classes={
        "unet": frozenset({"UNet2DConditionModel"}),
        "vae": frozenset({"AutoencoderKL"}),
        "text_encoder": frozenset({"ChatGLMModel"}),
        "tokenizer": frozenset({"ChatGLMTokenizer"}),
    },
    read_noise=read_noise_schedule,
    check=_check,
    defaults=_defaults,
    zero_negative=lambda facts: facts.index.get("force_zeros_for_empty_prompt", False) is True,
)
