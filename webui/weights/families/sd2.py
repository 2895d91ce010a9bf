"""The files of Stable Diffusion 2: OpenCLIP instead of CLIP, attention in heads of one width, often velocities."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from webui.domain.models import Family, ModelDefaults
from webui.weights.checkpoint import Checkpoint
from webui.weights.families.checks import Configs
from webui.weights.families.family import FamilyFiles, Json, ReadJson
from webui.weights.families.marks import read_marks_of_sd2
from webui.weights.families.schedules import read_noise_schedule
from webui.weights.families.sd1 import CLASSES
from webui.weights.families.unets import (
    OPEN_CLIP,
    OPEN_CLIP_MARK,
    UNET_PLACE,
    VAE_PLACE,
    Place,
    check_unet,
    make_parts,
    read_configs,
)
from webui.weights.formats.headers import Header, bad_model
from webui.weights.recognition.shapes import Shapes, count_heads, describe_open_clip_states, describe_unet, describe_vae

WORDS = "an SD2"
_TEXT = "cond_stage_model.model."
_LAYERS = 23  # of the text encoder's 24: texts leave it before the last
_PLACES = {
    "unet": UNET_PLACE,
    "vae": VAE_PLACE,
    "text_encoder": Place("CLIPTextModel", _TEXT, OPEN_CLIP_MARK, "text encoder", OPEN_CLIP),
}


def _check(path: Path, configs: Configs) -> None:
    if configs["unet"].get("in_channels", 4) == 5:
        raise bad_model(path, "SD2 depth checkpoints (5 input channels) are not supported")
    check_unet(path, WORDS, configs)


def _read_single_file(path: Path, header: Header) -> Checkpoint | None:
    if not any(name.startswith(_TEXT) for name in header):
        return None
    configs = read_configs(path, header, WORDS, _PLACES, _describe)
    _check(path, configs)
    noise = read_marks_of_sd2(path, header, configs["unet"]["in_channels"])
    return Checkpoint(
        path,
        Family.SD2,
        "original",
        make_parts(path, _PLACES, configs),
        noise=noise,
        defaults=_defaults_of_size(768 if noise.prediction == "v_prediction" else 512),
    )


def _describe(shapes: Mapping[str, Shapes]) -> Configs:
    unet = describe_unet(shapes["unet"])
    return {
        "unet": unet | {"attention_head_dim": count_heads(unet["block_out_channels"])},
        "vae": describe_vae(shapes["vae"]),
        "text_encoder": _describe_text(shapes["text_encoder"]),
    }


def _describe_text(shapes: Shapes) -> dict[str, object]:
    """Return the configuration without the last layer, which only whole encoders have."""
    config = describe_open_clip_states(shapes)
    layers = config["num_hidden_layers"] - ("text_projection" in shapes)
    return config | {"num_hidden_layers": min(layers, _LAYERS)}


def _claims(index: Json, read: ReadJson) -> bool:
    return read("text_encoder/config.json").get("hidden_act") == "gelu"  # CLIP's own has "quick_gelu"


def _defaults(configs: Configs) -> ModelDefaults:
    """Return the size that the UNet was trained on: 96 latents of 768-v, 64 of 512-base."""
    return _defaults_of_size(768 if configs["unet"].get("sample_size") == 96 else 512)


def _defaults_of_size(side: int) -> ModelDefaults:
    return ModelDefaults(width=side, height=side)


FILES = FamilyFiles(
    family=Family.SD2,
    words=WORDS,
    pipelines=frozenset(
        {"StableDiffusionPipeline", "StableDiffusionImg2ImgPipeline", "StableDiffusionInpaintPipeline"}
    ),
    classes=CLASSES,
    read_noise=read_noise_schedule,
    claims=_claims,
    check=_check,
    defaults=_defaults,
    single_file=_read_single_file,
)
