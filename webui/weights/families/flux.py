"""The files of Flux.1, dev and schnell."""

from __future__ import annotations

from pathlib import Path

from webui.domain.models import Family, ModelDefaults
from webui.weights.families.checks import Configs, check_levels, unusable
from webui.weights.families.family import CLIP_TOKENIZERS, T5_TOKENIZERS, FamilyFiles
from webui.weights.families.schedules import read_flow_schedule
from webui.weights.headers import bad_model

WORDS = "a Flux"


def _check(path: Path, configs: Configs) -> None:
    transformer, vae = configs["transformer"], configs["vae"]
    channels = transformer.get("in_channels", 64)
    if channels in (128, 384):
        raise bad_model(path, "Flux Fill, Canny and Depth checkpoints are not supported yet")
    outputs = transformer.get("out_channels") or channels
    if (channels, outputs, transformer.get("patch_size", 1), vae.get("latent_channels", 4)) != (64, 64, 1, 16):
        raise bad_model(path, "not a Flux checkpoint: its latents do not have 16 channels")
    check_levels(path, WORDS, vae)
    scales = vae.get("scaling_factor", 0.18215), vae.get("shift_factor") or 0.0
    if not all(isinstance(number, int | float) for number in scales) or scales[0] <= 0:
        raise unusable(path, "vae")
    axes, head = transformer.get("axes_dims_rope", (16, 56, 56)), transformer.get("attention_head_dim", 128)
    even = isinstance(axes, list | tuple) and all(isinstance(axis, int) and axis > 0 and axis % 2 == 0 for axis in axes)
    if not even or len(axes) != 3 or sum(axes) != head:
        raise unusable(path, "transformer")
    if transformer.get("pooled_projection_dim", 768) != configs["text_encoder"].get("hidden_size", 512):
        raise bad_model(path, "its transformer and its first text encoder do not fit together")
    if transformer.get("joint_attention_dim", 4096) != configs["text_encoder_2"].get("d_model", 512):
        raise bad_model(path, "its transformer and its second text encoder do not fit together")


def _defaults(configs: Configs) -> ModelDefaults:
    distilled = configs["transformer"].get("guidance_embeds", False)
    return ModelDefaults(
        width=1024,
        height=1024,
        steps=20 if distilled else 4,
        guidance=1.0,
        distilled_guidance=3.5 if distilled else None,
        sampler="Euler",
        schedule="Simple",
    )


FILES = FamilyFiles(
    family=Family.FLUX,
    words=WORDS,
    pipelines=frozenset({"FluxPipeline", "FluxImg2ImgPipeline", "FluxInpaintPipeline"}),
    classes={
        "transformer": frozenset({"FluxTransformer2DModel"}),
        "vae": frozenset({"AutoencoderKL"}),
        "text_encoder": frozenset({"CLIPTextModel"}),
        "tokenizer": CLIP_TOKENIZERS,
        "text_encoder_2": frozenset({"T5EncoderModel"}),
        "tokenizer_2": T5_TOKENIZERS,
    },
    read_noise=read_flow_schedule,
    check=_check,
    defaults=_defaults,
)
