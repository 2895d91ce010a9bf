"""The files of Z-Image."""

from __future__ import annotations

from pathlib import Path

from webui.domain.models import Family, ModelDefaults
from webui.weights.families.checks import Configs, check_levels, unusable
from webui.weights.families.family import QWEN_TOKENIZERS, FamilyFiles
from webui.weights.families.schedules import read_flow_schedule
from webui.weights.families.transformers import check_axes
from webui.weights.formats.headers import bad_model

WORDS = "a Z-Image"


def _check(path: Path, configs: Configs) -> None:
    transformer, vae = configs["transformer"], configs["vae"]
    if (transformer.get("in_channels", 16), vae.get("latent_channels", 4)) != (16, 16):
        raise bad_model(path, f"not {WORDS} checkpoint: its latents do not have 16 channels")
    if transformer.get("siglip_feat_dim") is not None:
        raise bad_model(path, "Z-Image Omni checkpoints are not supported yet")
    if list(transformer.get("all_patch_size", (2,))) != [2] or list(transformer.get("all_f_patch_size", (1,))) != [1]:
        raise unusable(path, "transformer")
    width, heads = transformer.get("dim", 3840), transformer.get("n_heads", 30)
    if not (isinstance(heads, int) and 0 < heads <= width):
        raise unusable(path, "transformer")
    check_axes(path, transformer.get("axes_dims", (32, 48, 48)), width // heads, 3)
    check_levels(path, WORDS, vae)
    if transformer.get("cap_feat_dim", 2560) != configs["text_encoder"].get("hidden_size", 4096):
        raise bad_model(path, "its transformer and its text encoder do not fit together")


def _defaults(configs: Configs) -> ModelDefaults:
    return ModelDefaults(width=1024, height=1024, steps=9, guidance=1.0, sampler="Euler", schedule="Simple")


FILES = FamilyFiles(
    family=Family.Z_IMAGE,
    words=WORDS,
    pipelines=frozenset({"ZImagePipeline", "ZImageImg2ImgPipeline", "ZImageInpaintPipeline"}),
    classes={
        "transformer": frozenset({"ZImageTransformer2DModel"}),
        "vae": frozenset({"AutoencoderKL"}),
        "text_encoder": frozenset({"Qwen3Model", "Qwen3ForCausalLM"}),
        "tokenizer": QWEN_TOKENIZERS,
    },
    read_noise=read_flow_schedule,
    check=_check,
    defaults=_defaults,
)
