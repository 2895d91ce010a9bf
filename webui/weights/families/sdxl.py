"""The files of Stable Diffusion XL."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from webui.domain.models import Family, PartSlot
from webui.weights.checkpoint import Checkpoint, Part
from webui.weights.families.bare_unets import CLIP_L, POOLED, BareUnet, find_bare_unet, scale_vae, vae_slot
from webui.weights.families.checks import Configs, check_size
from webui.weights.families.family import CLIP_TOKENIZERS, FamilyFiles, FolderFacts
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
    make_parts,
    read_configs,
)
from webui.weights.formats.headers import Header
from webui.weights.recognition.shapes import Shapes, describe_open_clip, describe_text, describe_unet_xl, describe_vae
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
    configs = read_configs(path, header, WORDS, _PLACES, _describe)
    _check(path, configs)
    return Checkpoint(
        path,
        Family.SDXL,
        "original",
        make_parts(path, _PLACES, configs),
        noise=read_marks(path, header),
        zero_negative=True,
    )


def _describe(shapes: Mapping[str, Shapes]) -> Configs:
    return {
        **describe_with_second_text(shapes, TOLD),
        "text_encoder": describe_text(shapes["text_encoder"]),
    }


def describe_with_second_text(shapes: Mapping[str, Shapes], numbers: int) -> Configs:
    """Return the configurations of VAE, second text encoder, and a UNet told that one's view and so many `numbers`."""
    text = describe_open_clip(shapes["text_encoder_2"])
    return {
        "unet": describe_unet_xl(shapes["unet"], text["projection_dim"], numbers),
        "vae": describe_vae(shapes["vae"]) | {"scaling_factor": SCALE},
        "text_encoder_2": text,
    }


def is_empty_nothing(facts: FolderFacts) -> bool:
    """Tell whether a folder's model is told nothing at all for an empty negative prompt."""
    return facts.index.get("force_zeros_for_empty_prompt", True) is True


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
    zero_negative=is_empty_nothing,
    single_file=_read_single_file,
    fit=_fit,
)
