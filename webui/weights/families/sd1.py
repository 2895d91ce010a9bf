"""The files of Stable Diffusion 1."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from webui.domain.models import Family, PartSlot
from webui.weights.checkpoint import Checkpoint
from webui.weights.families.bare_unets import BareUnet, find_bare_unet, vae_slot
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
    make_parts,
    read_configs,
)
from webui.weights.formats.headers import Header, bad_model
from webui.weights.recognition.shapes import Shapes, describe_text, describe_unet, describe_vae

WORDS = "an SD1"
CLASSES = {
    "unet": frozenset({"UNet2DConditionModel"}),
    "vae": frozenset({"AutoencoderKL"}),
    "text_encoder": frozenset({"CLIPTextModel"}),
    "tokenizer": CLIP_TOKENIZERS,
}
SD2_WIDTH = 1024  # of its text encoder
# The second is that of some early files.
_TEXTS = ("cond_stage_model.transformer.text_model.", "cond_stage_model.transformer.")


def _check(path: Path, configs: Configs) -> None:
    check_unet(path, WORDS, configs)


def _slots(unet: Mapping[str, Any]) -> tuple[PartSlot, ...]:
    text = PartSlot(component="text_encoder", role="clip", width=unet["cross_attention_dim"], words="CLIP-L")
    return vae_slot(), text


def _read_bare(path: Path, header: Header, bare: BareUnet) -> Checkpoint | None:
    """Return what a UNet in a file of its own is, None when it is one of SD2 or SDXL."""
    try:
        unet = describe_unet(bare.shapes)
    except (KeyError, IndexError, ValueError) as error:
        raise bad_model(path, f"not {WORDS} UNet: {error}") from error
    if unet["cross_attention_dim"] == SD2_WIDTH or "label_emb.0.0.weight" in bare.shapes:
        return None
    check_size(path, "unet", unet)
    _check(path, {"unet": unet})
    parts, noise = bare.part(path, unet), read_marks(path, header)
    return Checkpoint(path, Family.SD1, "original", parts, noise=noise, slots=_slots(unet))


def _read_single_file(path: Path, header: Header) -> Checkpoint | None:
    bare = find_bare_unet(header)
    if bare is not None:
        return _read_bare(path, header, bare)
    if not any(name.startswith((UNET, VAE, "cond_stage_model.")) for name in header):
        return None
    prefix = next((prefix for prefix in _TEXTS if f"{prefix}{CLIP_MARK}" in header), _TEXTS[0])
    text = Place("CLIPTextModel", prefix, CLIP_MARK, "text encoder")
    places = {"unet": UNET_PLACE, "vae": VAE_PLACE, "text_encoder": text}
    configs = read_configs(path, header, WORDS, places, _describe)
    _check(path, configs)
    return Checkpoint(path, Family.SD1, "original", make_parts(path, places, configs), noise=read_marks(path, header))


def _describe(shapes: Mapping[str, Shapes]) -> Configs:
    return {
        "unet": describe_unet(shapes["unet"]),
        "vae": describe_vae(shapes["vae"]),
        "text_encoder": describe_text(shapes["text_encoder"]),
    }


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
    classes=CLASSES,
    read_noise=read_noise_schedule,
    check=_check,
    single_file=_read_single_file,
)
