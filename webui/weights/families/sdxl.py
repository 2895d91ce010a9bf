"""The files of Stable Diffusion XL."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from webui.domain.models import Family, PartSlot
from webui.weights.checkpoint import Checkpoint, Part
from webui.weights.families.bare_unets import CLIP_L, POOLED, BareUnet, find_bare_unet, scale_vae, vae_slot
from webui.weights.families.checks import Configs, check_size
from webui.weights.families.family import CLIP_TOKENIZERS, FamilyFiles
from webui.weights.families.marks import read_marks
from webui.weights.families.schedules import read_noise_schedule
from webui.weights.families.unets import (
    CLIP_MARK,
    OPEN_CLIP,
    OPEN_CLIP_MARK,
    UNET,
    UNET_PLACE,
    VAE_PLACE,
    Place,
    check_told,
    check_unet,
    find_shapes,
    make_parts,
)
from webui.weights.formats.headers import Header, bad_model
from webui.weights.recognition.shapes import describe_open_clip, describe_text, describe_unet_xl, describe_vae
from webui.weights.recognition.text_files import projected

WORDS = "an SDXL"
SCALE = 0.13025  # of its latents
TOLD = 6  # numbers besides the text: the picture's height and width, where it was cropped, what it shall become
_SIZES = f"{UNET}label_emb.0.0.weight"
_TEXT, _TEXT_2 = "conditioner.embedders.0.transformer.text_model.", "conditioner.embedders.1.model."
_PLACES = {
    "unet": UNET_PLACE,
    "vae": VAE_PLACE,
    "text_encoder": Place("CLIPTextModel", _TEXT, CLIP_MARK, "first text encoder"),
    "text_encoder_2": Place("CLIPTextModelWithProjection", _TEXT_2, OPEN_CLIP_MARK, "second text encoder", OPEN_CLIP),
}


def _check(path: Path, configs: Configs) -> None:
    check_unet(path, WORDS, configs)
    if "text_encoder_2" in configs:  # a UNet may be alone in its file
        check_told(path, WORDS, configs, TOLD)


def _fit(slot: PartSlot, part: Part) -> Part:
    match slot.component:
        case "vae":
            return scale_vae(part, SCALE)
        case "text_encoder_2":
            return projected(part, "gelu")
        case _:
            return part


def _slots(unet: Mapping[str, Any]) -> tuple[PartSlot, ...]:
    second = unet["cross_attention_dim"] - CLIP_L
    return (
        vae_slot(),
        PartSlot(component="text_encoder", role="clip", width=CLIP_L, words="CLIP-L"),
        PartSlot(component="text_encoder_2", role="clip", width=second, words="CLIP-G"),
    )


def _read_bare(path: Path, header: Header, bare: BareUnet) -> Checkpoint | None:
    """Return what a UNet in a file of its own is, None when it is not one of SDXL."""
    try:
        unet = describe_unet_xl(bare.shapes, POOLED, TOLD)
    except (KeyError, IndexError, ValueError):
        return None
    check_size(path, "unet", unet)
    _check(path, {"unet": unet})
    parts, noise = bare.part(path, unet), read_marks(path, header)
    return Checkpoint(path, Family.SDXL, "original", parts, noise=noise, zero_negative=True, slots=_slots(unet))


def _read_single_file(path: Path, header: Header) -> Checkpoint | None:
    bare = find_bare_unet(header)
    if bare is not None:
        return _read_bare(path, header, bare)
    if _SIZES not in header and not any(name.startswith("conditioner.embedders.") for name in header):
        return None
    shapes = find_shapes(path, header, _PLACES)
    try:
        second = describe_open_clip(shapes["text_encoder_2"])
        configs = {
            "unet": describe_unet_xl(shapes["unet"], second["projection_dim"], TOLD),
            "vae": describe_vae(shapes["vae"]) | {"scaling_factor": SCALE},
            "text_encoder": describe_text(shapes["text_encoder"]),
            "text_encoder_2": second,
        }
    except (KeyError, IndexError, ValueError) as error:
        raise bad_model(path, f"not {WORDS} checkpoint: {error}") from error
    for part, config in configs.items():
        check_size(path, part, config)
    _check(path, configs)
    return Checkpoint(
        path,
        Family.SDXL,
        "original",
        make_parts(path, _PLACES, configs),
        noise=read_marks(path, header),
        zero_negative=True,
    )


FILES = FamilyFiles(
    family=Family.SDXL,
    words=WORDS,
    pipelines=frozenset(
        {
            "StableDiffusionXLPipeline",
            "StableDiffusionXLImg2ImgPipeline",
            "StableDiffusionXLInpaintPipeline",
            "StableDiffusionXLInstructPix2PixPipeline",
        }
    ),
    classes={
        "unet": frozenset({"UNet2DConditionModel"}),
        "vae": frozenset({"AutoencoderKL"}),
        "text_encoder": frozenset({"CLIPTextModel"}),
        "tokenizer": CLIP_TOKENIZERS,
        "text_encoder_2": frozenset({"CLIPTextModelWithProjection"}),
        "tokenizer_2": CLIP_TOKENIZERS,
    },
    read_noise=read_noise_schedule,
    check=_check,
    zero_negative=lambda facts: facts.index.get("force_zeros_for_empty_prompt", True) is True,
    single_file=_read_single_file,
    fit=_fit,
)
