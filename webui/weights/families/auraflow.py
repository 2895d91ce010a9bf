"""The files of AuraFlow."""

from __future__ import annotations

from pathlib import Path

from webui.domain.models import Family, ModelDefaults
from webui.weights.families.checks import Configs, unusable
from webui.weights.families.family import T5_TOKENIZERS, FamilyFiles
from webui.weights.families.schedules import read_flow_schedule
from webui.weights.families.transformers import check_latents, check_numbers, check_text

WORDS = "an AuraFlow"
_NUMBERS = "num_attention_heads", "attention_head_dim", "caption_projection_dim", "pos_embed_max_size"


def _check(path: Path, configs: Configs) -> None:
    check_latents(path, WORDS, configs, 4)
    transformer = configs["transformer"]
    check_numbers(path, "transformer", transformer, *_NUMBERS)
    width = transformer.get("num_attention_heads", 12) * transformer.get("attention_head_dim", 256)
    channels = transformer.get("out_channels", 4), transformer.get("patch_size", 2)
    if channels != (4, 2) or transformer.get("caption_projection_dim", 3072) != width:
        raise unusable(path, "transformer")
    check_text(path, configs, transformer.get("joint_attention_dim", 2048))


def _defaults(configs: Configs) -> ModelDefaults:
    return ModelDefaults(width=1024, height=1024, steps=25, guidance=3.5, sampler="Euler", schedule="Normal")


FILES = FamilyFiles(
    family=Family.AURAFLOW,
    words=WORDS,
    pipelines=frozenset({"AuraFlowPipeline"}),
    classes={
        "transformer": frozenset({"AuraFlowTransformer2DModel"}),
        "vae": frozenset({"AutoencoderKL"}),
        "text_encoder": frozenset({"UMT5EncoderModel", "T5EncoderModel"}),
        "tokenizer": T5_TOKENIZERS | {"LlamaTokenizer", "LlamaTokenizerFast"},
    },
    read_noise=read_flow_schedule,
    check=_check,
    defaults=_defaults,
)
