"""The files of Chroma."""

from __future__ import annotations

from pathlib import Path

from webui.domain.models import Family, ModelDefaults
from webui.weights.families.checks import Configs, check_levels
from webui.weights.families.family import T5_TOKENIZERS, FamilyFiles
from webui.weights.families.schedules import read_flow_schedule
from webui.weights.families.transformers import check_axes
from webui.weights.formats.headers import bad_model

WORDS = "a Chroma"


def _check(path: Path, configs: Configs) -> None:
    transformer, vae = configs["transformer"], configs["vae"]
    channels = transformer.get("in_channels", 64)
    if (channels, transformer.get("out_channels") or channels, vae.get("latent_channels", 4)) != (64, 64, 16):
        raise bad_model(path, f"not {WORDS} checkpoint: its latents do not have 16 channels")
    check_levels(path, WORDS, vae)
    check_axes(path, transformer.get("axes_dims_rope", (16, 56, 56)), transformer.get("attention_head_dim", 128), 3)
    if transformer.get("joint_attention_dim", 4096) != configs["text_encoder"].get("d_model", 512):
        raise bad_model(path, "its transformer and its text encoder do not fit together")


def _defaults(configs: Configs) -> ModelDefaults:
    return ModelDefaults(width=1024, height=1024, steps=35, guidance=5.0, sampler="Euler", schedule="Simple")


FILES = FamilyFiles(
    family=Family.CHROMA,
    words=WORDS,
    pipelines=frozenset({"ChromaPipeline", "ChromaImg2ImgPipeline", "ChromaInpaintPipeline"}),
    classes={
        "transformer": frozenset({"ChromaTransformer2DModel"}),
        "vae": frozenset({"AutoencoderKL"}),
        "text_encoder": frozenset({"T5EncoderModel"}),
        "tokenizer": T5_TOKENIZERS,
    },
    read_noise=read_flow_schedule,
    check=_check,
    defaults=_defaults,
)
