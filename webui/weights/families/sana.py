"""The files of Sana."""

from __future__ import annotations

from pathlib import Path

from webui.domain.models import Family, ModelDefaults
from webui.weights.families.checks import Configs, unusable
from webui.weights.families.family import GEMMA_TOKENIZERS, FamilyFiles
from webui.weights.families.schedules import read_solver_flow_schedule
from webui.weights.families.transformers import check_latents, check_numbers, check_text
from webui.weights.formats.headers import bad_model

WORDS = "a Sana"
CHANNELS = 32
LEVELS = 6  # of a VAE that shrinks pictures 32 times
SHRINK = 2 ** (LEVELS - 1)


def _check(path: Path, configs: Configs) -> None:
    check_latents(path, WORDS, configs, CHANNELS, shrinks=False)
    transformer, vae = configs["transformer"], configs["vae"]
    levels = [vae.get(f"{half}_block_out_channels", ()) for half in ("encoder", "decoder")]
    if not all(isinstance(each, list | tuple) and len(each) == LEVELS for each in levels):
        raise bad_model(path, f"not {WORDS} checkpoint: its VAE does not shrink images {SHRINK} times")
    check_numbers(path, "transformer", transformer, "sample_size", "patch_size", "caption_channels")
    scale = transformer.get("timestep_scale", 1.0)
    plain = not transformer.get("guidance_embeds") and transformer.get("out_channels") in (None, CHANNELS, 2 * CHANNELS)
    if not (plain and isinstance(scale, int | float) and scale > 0):
        raise unusable(path, "transformer")
    check_text(path, configs, transformer.get("caption_channels", 2304))


def _defaults(configs: Configs) -> ModelDefaults:
    """Return what the paper draws with (Xie et al. 2024, arXiv:2410.10629): a flow solver of second order."""
    side = min(SHRINK * configs["transformer"].get("sample_size", 32), 2048)
    return ModelDefaults(width=side, height=side, steps=20, guidance=4.5, sampler="DPM++ 2M", schedule="Simple")


FILES = FamilyFiles(
    family=Family.SANA,
    words=WORDS,
    pipelines=frozenset({"SanaPipeline", "SanaPAGPipeline"}),
    classes={
        "transformer": frozenset({"SanaTransformer2DModel"}),
        "vae": frozenset({"AutoencoderDC"}),
        "text_encoder": frozenset({"Gemma2Model", "Gemma2ForCausalLM"}),
        "tokenizer": GEMMA_TOKENIZERS,
    },
    read_noise=read_solver_flow_schedule,
    check=_check,
    defaults=_defaults,
)
