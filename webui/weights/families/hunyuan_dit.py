"""The files of HunyuanDiT."""

from __future__ import annotations

from pathlib import Path

from webui.domain.models import Family, ModelDefaults
from webui.weights.families.checks import Configs, unusable
from webui.weights.families.family import BERT_TOKENIZERS, T5_TOKENIZERS, FamilyFiles
from webui.weights.families.schedules import read_noise_schedule
from webui.weights.families.transformers import check_latents, check_numbers, check_text

WORDS = "a HunyuanDiT"
_NUMBERS = "num_layers", "num_attention_heads", "attention_head_dim", "hidden_size", "text_len", "text_len_t5"


def _check(path: Path, configs: Configs) -> None:
    check_latents(path, WORDS, configs, 4)
    transformer = configs["transformer"]
    check_numbers(path, "transformer", transformer, *_NUMBERS)
    head = transformer.get("attention_head_dim", 88)
    wide = transformer.get("num_attention_heads", 16) * head == transformer.get("hidden_size", 1152) and head % 4 == 0
    halves = transformer.get("num_layers", 28) % 2 == 0  # the later ones are told what the earlier ones saw
    if not (wide and halves and transformer.get("patch_size") == 2):
        raise unusable(path, "transformer")
    check_text(path, configs, transformer.get("cross_attention_dim", 1024))
    check_text(path, configs, transformer.get("cross_attention_dim_t5", 2048), "text_encoder_2")


def _defaults(configs: Configs) -> ModelDefaults:
    return ModelDefaults(width=1024, height=1024, steps=30, guidance=5.0, sampler="DPM++ 2M", schedule="Automatic")


FILES = FamilyFiles(
    family=Family.HUNYUAN_DIT,
    words=WORDS,
    pipelines=frozenset({"HunyuanDiTPipeline", "HunyuanDiTPAGPipeline"}),
    classes={
        "transformer": frozenset({"HunyuanDiT2DModel"}),
        "vae": frozenset({"AutoencoderKL"}),
        "text_encoder": frozenset({"BertModel"}),
        "tokenizer": BERT_TOKENIZERS,
        "text_encoder_2": frozenset({"T5EncoderModel"}),
        "tokenizer_2": T5_TOKENIZERS,
    },
    read_noise=read_noise_schedule,
    check=_check,
    defaults=_defaults,
)
