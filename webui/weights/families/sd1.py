"""The files of Stable Diffusion 1."""

from __future__ import annotations

from pathlib import Path

from webui.domain.models import Family
from webui.weights.checkpoint import Checkpoint
from webui.weights.families.checks import Configs, check_size
from webui.weights.families.family import CLIP_TOKENIZERS, FamilyFiles
from webui.weights.families.marks import read_marks
from webui.weights.families.schedules import read_noise_schedule
from webui.weights.families.unets import (
    CLIP_MARK,
    UNET,
    UNET_PLACE,
    VAE,
    VAE_PLACE,
    Place,
    check_unet,
    find_shapes,
    make_parts,
)
from webui.weights.headers import Header, bad_model
from webui.weights.shapes import describe_text, describe_unet, describe_vae

WORDS = "an SD1"
# The second is that of some early files.
_TEXTS = ("cond_stage_model.transformer.text_model.", "cond_stage_model.transformer.")


def _check(path: Path, configs: Configs) -> None:
    check_unet(path, WORDS, configs)


def _read_single_file(path: Path, header: Header) -> Checkpoint | None:
    if not any(name.startswith((UNET, VAE, "cond_stage_model.")) for name in header):
        return None
    prefix = next((prefix for prefix in _TEXTS if f"{prefix}{CLIP_MARK}" in header), _TEXTS[0])
    text = Place("CLIPTextModel", prefix, CLIP_MARK, "text encoder")
    places = {"unet": UNET_PLACE, "vae": VAE_PLACE, "text_encoder": text}
    shapes = find_shapes(path, header, places)
    try:
        configs = {
            "unet": describe_unet(shapes["unet"]),
            "vae": describe_vae(shapes["vae"]),
            "text_encoder": describe_text(shapes["text_encoder"]),
        }
    except (KeyError, IndexError, ValueError) as error:
        raise bad_model(path, f"not {WORDS} checkpoint: {error}") from error
    for part, config in configs.items():
        check_size(path, part, config)
    _check(path, configs)
    return Checkpoint(path, Family.SD1, "original", make_parts(path, places, configs), noise=read_marks(path, header))


FILES = FamilyFiles(
    family=Family.SD1,
    words=WORDS,
    pipelines=frozenset(
        {
            "StableDiffusionPipeline",
            "StableDiffusionImg2ImgPipeline",
            "StableDiffusionInpaintPipeline",
            "StableDiffusionInstructPix2PixPipeline",
            "LatentConsistencyModelPipeline",
            "LatentConsistencyModelImg2ImgPipeline",
        }
    ),
    classes={
        "unet": frozenset({"UNet2DConditionModel"}),
        "vae": frozenset({"AutoencoderKL"}),
        "text_encoder": frozenset({"CLIPTextModel"}),
        "tokenizer": CLIP_TOKENIZERS,
    },
    read_noise=read_noise_schedule,
    check=_check,
    single_file=_read_single_file,
)
