"""The files of Lumina-Image 2.0."""

from __future__ import annotations

from pathlib import Path

from webui.domain.models import Family, ModelDefaults
from webui.weights.families.checks import Configs, unusable
from webui.weights.families.family import GEMMA_TOKENIZERS, FamilyFiles
from webui.weights.families.schedules import read_flow_schedule
from webui.weights.families.transformers import check_axes, check_latents, check_numbers, check_text

WORDS = "a Lumina 2"
_NUMBERS = "hidden_size", "num_layers", "num_attention_heads", "num_kv_heads"


def _check(path: Path, configs: Configs) -> None:
    check_latents(path, WORDS, configs, 16)
    transformer = configs["transformer"]
    check_numbers(path, "transformer", transformer, *_NUMBERS)
    width, heads = transformer.get("hidden_size", 2304), transformer.get("num_attention_heads", 24)
    check_axes(path, transformer.get("axes_dim_rope", (32, 32, 32)), width / heads, 3)
    if transformer.get("patch_size", 2) != 2:
        raise unusable(path, "transformer")
    check_text(path, configs, transformer.get("cap_feat_dim", 1024))


def _defaults(configs: Configs) -> ModelDefaults:
    return ModelDefaults(width=1024, height=1024, steps=30, guidance=4.0, sampler="Euler", schedule="Simple")


FILES = FamilyFiles(
    family=Family.LUMINA2,
    words=WORDS,
    pipelines=frozenset({"Lumina2Pipeline", "Lumina2Text2ImgPipeline"}),
    classes={
        "transformer": frozenset({"Lumina2Transformer2DModel"}),
        "vae": frozenset({"AutoencoderKL"}),
        "text_encoder": frozenset({"Gemma2Model", "Gemma2ForCausalLM"}),
        "tokenizer": GEMMA_TOKENIZERS,
    },
    read_noise=read_flow_schedule,
    check=_check,
    defaults=_defaults,
)
