"""The files of Flux.2, dev and klein."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from webui.domain.models import Family, ModelDefaults
from webui.weights.checkpoint import FlowSchedule
from webui.weights.families.checks import Configs, check_levels, unusable
from webui.weights.families.family import QWEN_TOKENIZERS, FamilyFiles, FolderFacts
from webui.weights.families.schedules import read_flow_schedule
from webui.weights.families.transformers import check_axes
from webui.weights.formats.headers import bad_model

WORDS = "a Flux.2"
_MISTRAL = "Mistral3ForConditionalGeneration"
_FEWEST_LAYERS = 30  # of a language model: so deep the network looks


def _check(path: Path, configs: Configs) -> None:
    transformer, vae, text = configs["transformer"], configs["vae"], _read_text(configs)
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


def _read_text(configs: Configs) -> Mapping[str, Any]:
    """Return the configuration of what reads: Mistral has eyes too, and keeps it in a part of its own."""
    config = configs["text_encoder"]
    nested = config.get("text_config")
    return nested if isinstance(nested, dict) else config


def _read_noise(facts: FolderFacts) -> FlowSchedule:
    schedule = read_flow_schedule(facts)
    return replace(schedule, by_steps=schedule.dynamic)


def _defaults(configs: Configs) -> ModelDefaults:
    distilled = configs["transformer"].get("guidance_embeds", True)
    return ModelDefaults(
        width=1024,
        height=1024,
        steps=50,
        guidance=1.0 if distilled else 4.0,
        distilled_guidance=4.0 if distilled else None,
        sampler="Euler",
        schedule="Simple",
    )


def _adjust(facts: FolderFacts, proposed: ModelDefaults) -> ModelDefaults:
    """Propose few steps where the folder says that the model was distilled to them."""
    return proposed.replace(steps=4, guidance=1.0) if facts.index.get("is_distilled") is True else proposed


FILES = FamilyFiles(
    family=Family.FLUX2,
    words=WORDS,
    pipelines=frozenset({"Flux2Pipeline", "Flux2KleinPipeline", "Flux2KleinInpaintPipeline"}),
    classes={
        "transformer": frozenset({"Flux2Transformer2DModel"}),
        "vae": frozenset({"AutoencoderKLFlux2"}),
        "text_encoder": frozenset({"Qwen3ForCausalLM", "Qwen3Model", _MISTRAL}),
        "tokenizer": QWEN_TOKENIZERS | {"PixtralProcessor"},
    },
    read_noise=_read_noise,
    check=_check,
    defaults=_defaults,
    adjust=_adjust,
)
