"""The files of SDXL's refiner: a wider UNet that is told one text encoder's view and how good-looking a picture is."""

from __future__ import annotations

from pathlib import Path

from webui.domain.models import Family, ModelDefaults
from webui.weights.checkpoint import Checkpoint
from webui.weights.families.checks import Configs
from webui.weights.families.family import CLIP_TOKENIZERS, FamilyFiles
from webui.weights.families.marks import read_marks
from webui.weights.families.schedules import read_noise_schedule
from webui.weights.families.sdxl import describe_with_second_text, is_empty_nothing
from webui.weights.families.unets import (
    OPEN_CLIP,
    OPEN_CLIP_MARK,
    UNET_PLACE,
    VAE_PLACE,
    Place,
    check_told,
    check_unet,
    make_parts,
    read_configs,
)
from webui.weights.formats.headers import Header

WORDS = "an SDXL refiner"
TOLD = 5  # numbers besides the text: height and width, where it was cropped, how good-looking it is
_TEXT = "conditioner.embedders.0.model."
_PLACES = {
    "unet": UNET_PLACE,
    "vae": VAE_PLACE,
    "text_encoder_2": Place("CLIPTextModelWithProjection", _TEXT, OPEN_CLIP_MARK, "text encoder", OPEN_CLIP),
}


def _check(path: Path, configs: Configs) -> None:
    check_unet(path, WORDS, configs)
    check_told(path, WORDS, configs, TOLD)


def _defaults(configs: Configs) -> ModelDefaults:
    return ModelDefaults(width=1024, height=1024)


def _read_single_file(path: Path, header: Header) -> Checkpoint | None:
    if not any(name.startswith(_TEXT) for name in header):
        return None
    configs = read_configs(path, header, WORDS, _PLACES, lambda shapes: describe_with_second_text(shapes, TOLD))
    _check(path, configs)
    return Checkpoint(
        path,
        Family.SDXL_REFINER,
        "original",
        make_parts(path, _PLACES, configs),
        noise=read_marks(path, header),
        zero_negative=True,
        defaults=_defaults(configs),
    )


FILES = FamilyFiles(
    family=Family.SDXL_REFINER,
    words=WORDS,
    pipelines=frozenset({"StableDiffusionXLPipeline", "StableDiffusionXLImg2ImgPipeline"}),
    claims=lambda index, read: index.get("requires_aesthetics_score") is True,
    classes={
        "unet": frozenset({"UNet2DConditionModel"}),
        "vae": frozenset({"AutoencoderKL"}),
        "text_encoder_2": frozenset({"CLIPTextModelWithProjection"}),
        "tokenizer_2": CLIP_TOKENIZERS,
    },
    read_noise=read_noise_schedule,
    check=_check,
    defaults=_defaults,
    zero_negative=is_empty_nothing,
    single_file=_read_single_file,
)
