"""The files of Qwen-Image."""

from __future__ import annotations

from pathlib import Path

from webui.domain.models import Family, ModelDefaults
from webui.weights.families.checks import Configs, unusable
from webui.weights.families.family import QWEN_TOKENIZERS, FamilyFiles
from webui.weights.families.schedules import read_stretched_schedule
from webui.weights.families.transformers import check_axes
from webui.weights.formats.headers import bad_model

WORDS = "a Qwen-Image"
_OF_RELATIVES = ("guidance_embeds", "zero_cond_t", "use_additional_t_cond", "use_layer3d_rope")


def _check(path: Path, configs: Configs) -> None:
    transformer, vae = configs["transformer"], configs["vae"]
    channels = transformer.get("in_channels", 64), transformer.get("out_channels", 16), vae.get("z_dim", 16)
    if channels != (64, 16, 16) or transformer.get("patch_size", 2) != 2:
        raise bad_model(path, f"not {WORDS} checkpoint: its latents do not have 16 channels")
    if any(transformer.get(name) for name in _OF_RELATIVES):
        raise bad_model(path, "Qwen-Image checkpoints that edit or layer pictures are not supported yet")
    if len(vae.get("temperal_downsample", (False, True, True))) != 3 or len(vae.get("dim_mult", (1, 2, 4, 4))) != 4:
        raise bad_model(path, f"not {WORDS} checkpoint: its VAE does not shrink images 8 times")
    for name in ("latents_mean", "latents_std"):
        numbers = vae.get(name, (1.0,) * 16)
        if len(numbers) != 16 or not all(isinstance(number, int | float) for number in numbers):
            raise unusable(path, "vae")
    check_axes(path, transformer.get("axes_dims_rope", (16, 56, 56)), transformer.get("attention_head_dim", 128), 3)
    text = configs["text_encoder"]
    width = (text.get("text_config") or text).get("hidden_size", 8192)
    if transformer.get("joint_attention_dim", 3584) != width:
        raise bad_model(path, "its transformer and its text encoder do not fit together")


def _defaults(configs: Configs) -> ModelDefaults:
    return ModelDefaults(width=1328, height=1328, steps=50, guidance=4.0, sampler="Euler", schedule="Simple")


FILES = FamilyFiles(
    family=Family.QWEN_IMAGE,
    words=WORDS,
    pipelines=frozenset({"QwenImagePipeline", "QwenImageImg2ImgPipeline", "QwenImageInpaintPipeline"}),
    classes={
        "transformer": frozenset({"QwenImageTransformer2DModel"}),
        "vae": frozenset({"AutoencoderKLQwenImage"}),
        "text_encoder": frozenset({"Qwen2_5_VLForConditionalGeneration"}),
        "tokenizer": QWEN_TOKENIZERS,
    },
    read_noise=read_stretched_schedule,
    check=_check,
    defaults=_defaults,
)
