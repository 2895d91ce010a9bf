"""The files of SDXL's refiner: a wider UNet that is told one text encoder's view and how good-looking a picture is."""

from __future__ import annotations

from pathlib import Path

from webui.domain.models import Family, ModelDefaults
from webui.weights.checkpoint import Checkpoint
from webui.weights.families.checks import Configs, check_size
from webui.weights.families.family import CLIP_TOKENIZERS, FamilyFiles
from webui.weights.families.marks import read_marks
from webui.weights.families.schedules import read_noise_schedule
from webui.weights.families.sdxl import SCALE
from webui.weights.families.unets import (
    OPEN_CLIP,
    OPEN_CLIP_MARK,
    UNET_PLACE,
    VAE_PLACE,
    Place,
    check_told,
    check_unet,
    find_shapes,
    make_parts,
)
from webui.weights.formats.headers import Header, bad_model
from webui.weights.recognition.shapes import describe_open_clip, describe_unet_xl, describe_vae

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
    shapes = find_shapes(path, header, _PLACES)
    try:
        text = describe_open_clip(shapes["text_encoder_2"])
        configs = {
            "unet": describe_unet_xl(shapes["unet"], text["projection_dim"], TOLD),
            "vae": describe_vae(shapes["vae"]) | {"scaling_factor": SCALE},
            "text_encoder_2": text,
        }
    except (KeyError, IndexError, ValueError) as error:
        raise bad_model(path, f"not {WORDS} checkpoint: {error}") from error
    for part, config in configs.items():
        check_size(path, part, config)
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
    zero_negative=lambda facts: facts.index.get("force_zeros_for_empty_prompt", True) is True,
    single_file=_read_single_file,
)
