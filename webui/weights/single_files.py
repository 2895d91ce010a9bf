"""What a checkpoint in one file is, told from the names and shapes in its header: the original layout."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from webui.domain.models import Family
from webui.weights.checkpoint import Checkpoint, NoiseSchedule
from webui.weights.headers import Header, bad_model, read_header
from webui.weights.shapes import (
    describe_open_clip,
    describe_text,
    describe_unet,
    describe_unet_xl,
    describe_vae,
    part_of_header,
)
from webui.weights.supported import check_supported

_UNET = "model.diffusion_model."
_VAE = "first_stage_model."
_SIZES = f"{_UNET}label_emb.0.0.weight"
_CLIP = "embeddings.token_embedding.weight"
_OPEN_CLIP = "token_embedding.weight"
# The second is that of some early files.
_SD1_TEXTS = ("cond_stage_model.transformer.text_model.", "cond_stage_model.transformer.")
_XL_TEXT, _XL_TEXT_2 = "conditioner.embedders.0.transformer.text_model.", "conditioner.embedders.1.model."
_XL_SCALE = 0.13025  # of SDXL's latents

# The first that matches names the file. They are looked for only once the file is known not to be a checkpoint of a
# supported family.
_FOREIGN: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("SDXL refiner checkpoints are not supported yet", ("conditioner.embedders.0.model.",)),
    ("CosXL and Playground checkpoints are not supported yet", ("edm_",)),
    ("SD2 checkpoints are not supported yet", ("cond_stage_model.model.",)),
    ("SD3 checkpoints are not supported yet", ("joint_blocks.", "model.diffusion_model.joint_blocks.")),
    (
        "Flux checkpoints in one file are not supported yet, only diffusers folders",
        ("double_blocks.", "model.diffusion_model.double_blocks."),
    ),
    ("this is a LoRA, not a checkpoint; it belongs into models/Lora", ("lora_unet_", "lora_te", "lora_transformer_")),
    ("this is a ControlNet, not a checkpoint; it belongs into models/ControlNet", ("control_model.", "controlnet_")),
    ("this is a textual inversion, not a checkpoint; it belongs into embeddings", ("emb_params", "string_to_param")),
    ("this is a text encoder, not a checkpoint", ("text_model.", "encoder.block.")),
    ("this is a VAE, not a checkpoint; it belongs into models/VAE", ("encoder.conv_in.", "decoder.conv_in.")),
    ("this is a UNet without VAE and text encoder", ("input_blocks.", "down_blocks.")),
)
_OTHER_CHECKPOINTS = 5  # of these; the others are no checkpoints


def identify_single_file(path: Path) -> Checkpoint:
    """Return what a checkpoint in one file is made of; raise `BadFile` with one sentence on what is wrong with it."""
    header = read_header(path)
    _refuse_other_models(path, header)
    family = Family.SDXL if _is_xl(header) else Family.SD1
    prefixes = _find_parts(path, header, family)
    shapes = {part: part_of_header(header, prefix) for part, prefix in prefixes.items()}
    try:
        configs = _describe_xl(shapes) if family is Family.SDXL else _describe_sd1(shapes)
    except (KeyError, IndexError, ValueError) as error:
        raise bad_model(path, f"not an {family.name} checkpoint: {error}") from error
    check_supported(path, family, configs)
    return Checkpoint(
        path,
        family,
        "original",
        configs,
        dict.fromkeys(configs, (path,)),
        prefixes,
        NoiseSchedule(prediction="v_prediction" if "v_pred" in header else "epsilon", zero_terminal="ztsnr" in header),
        zero_negative=family is Family.SDXL,
    )


def _is_xl(header: Header) -> bool:
    return _SIZES in header or any(name.startswith("conditioner.embedders.") for name in header)


def _find_parts(path: Path, header: Header, family: Family) -> dict[str, str]:
    """Return what the names of each component begin with."""
    wanted = [  # component, its name for users, a tensor of it, its prefix
        ("unet", "UNet", f"{_UNET}input_blocks.0.0.weight", _UNET),
        ("vae", "VAE", f"{_VAE}decoder.conv_in.weight", _VAE),
    ]
    if family is Family.SDXL:
        wanted.append(("text_encoder", "first text encoder", f"{_XL_TEXT}{_CLIP}", _XL_TEXT))
        wanted.append(("text_encoder_2", "second text encoder", f"{_XL_TEXT_2}{_OPEN_CLIP}", _XL_TEXT_2))
    else:
        prefix = next((prefix for prefix in _SD1_TEXTS if f"{prefix}{_CLIP}" in header), _SD1_TEXTS[0])
        wanted.append(("text_encoder", "text encoder", f"{prefix}{_CLIP}", prefix))
    missing = [name for _, name, tensor, _ in wanted if tensor not in header]
    if missing:
        raise bad_model(path, f"it has no {' and no '.join(missing)}", "Choose a complete checkpoint.")
    return {component: prefix for component, _, _, prefix in wanted}


Shapes = Mapping[str, Mapping[str, tuple[int, ...]]]
Configs = dict[str, dict[str, Any]]


def _describe_sd1(shapes: Shapes) -> Configs:
    return {
        "unet": describe_unet(shapes["unet"]),
        "vae": describe_vae(shapes["vae"]),
        "text_encoder": describe_text(shapes["text_encoder"]),
    }


def _describe_xl(shapes: Shapes) -> Configs:
    second = describe_open_clip(shapes["text_encoder_2"])
    return {
        "unet": describe_unet_xl(shapes["unet"], second["projection_dim"]),
        "vae": describe_vae(shapes["vae"]) | {"scaling_factor": _XL_SCALE},
        "text_encoder": describe_text(shapes["text_encoder"]),
        "text_encoder_2": second,
    }


def _refuse_other_models(path: Path, header: Header) -> None:
    if any(name.startswith(_UNET) for name in header):
        probes = _FOREIGN[:_OTHER_CHECKPOINTS]
    elif any(name.startswith((_VAE, "cond_stage_model.", _XL_TEXT, _XL_TEXT_2)) for name in header):
        return
    else:
        probes = _FOREIGN
    for sentence, prefixes in probes:
        if any(name.startswith(prefixes) for name in header):
            raise bad_model(path, sentence)
    if len(probes) == len(_FOREIGN):
        raise bad_model(path, "not a checkpoint of a known kind")
