"""The files of Flux.2 klein."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from webui.domain.models import Family, ModelDefaults
from webui.weights.checkpoint import FlowSchedule
from webui.weights.families.checks import Configs, check_levels, unusable
from webui.weights.families.chroma import check_axes
from webui.weights.families.family import QWEN_TOKENIZERS, FamilyFiles, FolderFacts
from webui.weights.families.schedules import read_flow_schedule
from webui.weights.headers import bad_model

WORDS = "a Flux.2 klein"
_FEWEST_LAYERS = 27  # of Qwen3: so deep the network looks


def _check(path: Path, configs: Configs) -> None:
    transformer, vae, text = configs["transformer"], configs["vae"], configs["text_encoder"]
    channels = transformer.get("in_channels", 128)
    found = channels, transformer.get("out_channels") or channels, vae.get("latent_channels", 32)
    if found != (128, 128, 32) or transformer.get("patch_size", 1) != 1:
        raise bad_model(path, f"not {WORDS} checkpoint: its latents do not have 32 channels")
    if list(vae.get("patch_size", (2, 2))) != [2, 2]:
        raise unusable(path, "vae")
    check_levels(path, WORDS, vae)
    axes = transformer.get("axes_dims_rope", (32, 32, 32, 32))
    check_axes(path, axes, transformer.get("attention_head_dim", 128), 4)
    if transformer.get("joint_attention_dim", 15360) != 3 * text.get("hidden_size", 4096):
        raise bad_model(path, "its transformer and its text encoder do not fit together")
    if text.get("num_hidden_layers", 32) < _FEWEST_LAYERS:
        raise unusable(path, "text_encoder")


def _read_noise(facts: FolderFacts) -> FlowSchedule:
    schedule = read_flow_schedule(facts)
    return replace(schedule, by_steps=schedule.dynamic)


def _defaults(configs: Configs) -> ModelDefaults:
    return ModelDefaults(width=1024, height=1024, steps=50, guidance=4.0, sampler="Euler", schedule="Simple")


def _adjust(facts: FolderFacts, proposed: ModelDefaults) -> ModelDefaults:
    """Propose few steps where the folder says that the model was distilled to them."""
    return proposed.replace(steps=4, guidance=1.0) if facts.index.get("is_distilled") is True else proposed


FILES = FamilyFiles(
    family=Family.FLUX2,
    words=WORDS,
    pipelines=frozenset({"Flux2KleinPipeline", "Flux2KleinInpaintPipeline"}),
    classes={
        "transformer": frozenset({"Flux2Transformer2DModel"}),
        "vae": frozenset({"AutoencoderKLFlux2"}),
        "text_encoder": frozenset({"Qwen3ForCausalLM", "Qwen3Model"}),
        "tokenizer": QWEN_TOKENIZERS,
    },
    read_noise=_read_noise,
    check=_check,
    defaults=_defaults,
    adjust=_adjust,
)
