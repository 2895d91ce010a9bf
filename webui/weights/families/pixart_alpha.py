"""The files of PixArt-α."""

from __future__ import annotations

from pathlib import Path

from webui.domain.models import Family, ModelDefaults
from webui.weights.families.checks import Configs, unusable
from webui.weights.families.family import T5_TOKENIZERS, FamilyFiles
from webui.weights.families.schedules import read_noise_schedule
from webui.weights.families.transformers import check_latents, check_numbers, check_text

WORDS = "a PixArt-α"
CLASSES = {
    "transformer": frozenset({"PixArtTransformer2DModel", "Transformer2DModel"}),
    "vae": frozenset({"AutoencoderKL"}),
    "text_encoder": frozenset({"T5EncoderModel"}),
    "tokenizer": T5_TOKENIZERS,
}


def check(path: Path, configs: Configs) -> None:
    """Refuse what no PixArt has; raise `BadFile`."""
    check_latents(path, WORDS, configs, 4)
    transformer = configs["transformer"]
    check_numbers(path, "transformer", transformer, "num_attention_heads", "attention_head_dim", "sample_size")
    width = transformer.get("num_attention_heads", 16) * transformer.get("attention_head_dim", 72)
    told = transformer.get("use_additional_conditions")
    usual = transformer.get("out_channels", 8) in (4, 8) and transformer.get("norm_type") == "ada_norm_single"
    fits = transformer.get("cross_attention_dim", 1152) == width and (not told or width % 3 == 0)
    if not (usual and fits and transformer.get("patch_size", 2) == 2):
        raise unusable(path, "transformer")
    check_text(path, configs, transformer.get("caption_channels"))


def defaults(configs: Configs) -> ModelDefaults:
    """Return what the paper draws with (Chen et al. 2023, arXiv:2310.00426): DPM-Solver in 20 steps."""
    side = 8 * configs["transformer"].get("sample_size", 128)
    return ModelDefaults(width=side, height=side, steps=20, guidance=4.5, sampler="DPM++ 2M", schedule="Automatic")


FILES = FamilyFiles(
    family=Family.PIXART_ALPHA,
    words=WORDS,
    pipelines=frozenset({"PixArtAlphaPipeline"}),
    classes=CLASSES,
    read_noise=read_noise_schedule,
    check=check,
    defaults=defaults,
)
