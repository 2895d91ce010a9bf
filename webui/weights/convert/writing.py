"""Model files as they are written: one file in the original layout, or a diffusers folder. Whole, or not at all."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from safetensors.torch import save_file

from webui.domain.models import Family
from webui.errors import BadFile, BadRequest
from webui.storage import new_file, new_folder, replace_file
from webui.weights.checkpoint import Checkpoint, NoiseSchedule
from webui.weights.convert.folder_texts import write_texts
from webui.weights.convert.original_names import open_clip_names, to_original
from webui.weights.formats.tensors import Weights

_TEXTS = (".json", ".txt", ".model", ".md")  # of a folder: configurations, tokenizers, cards
_UNET, _VAE = "model.diffusion_model.", "first_stage_model."
_XL = "conditioner.embedders."
_PREFIXES: Mapping[Family, Mapping[str, str]] = MappingProxyType(
    {
        Family.SD1: {"unet": _UNET, "vae": _VAE, "text_encoder": "cond_stage_model.transformer."},
        Family.SD2: {"unet": _UNET, "vae": _VAE, "text_encoder": "cond_stage_model.model."},
        Family.SDXL: {
            "unet": _UNET, "vae": _VAE, "text_encoder": f"{_XL}0.transformer.", "text_encoder_2": f"{_XL}1.model.",
        },
        Family.SDXL_REFINER: {"unet": _UNET, "vae": _VAE, "text_encoder_2": f"{_XL}0.model."},
        Family.FLUX: {
            "transformer": _UNET, "vae": "vae.", "text_encoder": "text_encoders.clip_l.transformer.",
            "text_encoder_2": "text_encoders.t5xxl.transformer.",
        },
    }
)  # fmt: skip
_ARCHITECTURES: Mapping[Family, str] = MappingProxyType(  # modelspec's names (github.com/Stability-AI/ModelSpec)
    {
        Family.SD1: "stable-diffusion-v1",
        Family.SD2: "stable-diffusion-v2-768-v",
        Family.SDXL: "stable-diffusion-xl-v1-base",
        Family.SDXL_REFINER: "stable-diffusion-xl-v1-refiner",
        Family.FLUX: "flux-1-dev",
    }
)

Parts = Mapping[str, Weights]


def original_weights(checkpoint: Checkpoint, parts: Parts) -> Weights:
    """Return the weights of all `parts` under the names of the original layout.

    Raises `BadRequest` for a family whose original layout cannot be written here.
    """
    prefixes = _PREFIXES.get(checkpoint.family)
    if prefixes is None or parts.keys() - prefixes.keys():
        raise BadRequest(
            f"A {checkpoint.family.name} model cannot be written as one file in the original layout.",
            hint="Write a diffusers folder.",
            field="layout",
        )
    written: Weights = {}
    for component, weights in parts.items():
        part = checkpoint.parts[component]
        is_open = checkpoint.family is Family.SD2 and component == "text_encoder"
        named = open_clip_names(weights) if is_open else to_original(weights, part)
        written |= {f"{prefixes[component]}{name}": tensor for name, tensor in named.items()}
    return written | _marks(checkpoint)


def _marks(checkpoint: Checkpoint) -> Weights:
    """Return the empty tensors by which a file tells how it was trained to see noise."""
    noise = checkpoint.noise
    if not isinstance(noise, NoiseSchedule):
        return {}
    marks = {"v_pred": noise.prediction == "v_prediction", "ztsnr": noise.zero_terminal}
    return {name: torch.zeros(0) for name, is_so in marks.items() if is_so and checkpoint.family is not Family.SD2}


def write_file(
    path: Path, weights: Weights, family: Family, title: str, facts: Mapping[str, str], *, is_lora: bool = False
) -> None:
    """Write a safetensors file; what it is made of stands in its metadata as `facts`.

    Raises `StorageError` when the disk refuses; then there is no file, or still the old one.
    """
    metadata = {"format": "pt", "modelspec.sai_model_spec": "1.0.0", "modelspec.title": title, **facts}
    if family in _ARCHITECTURES:
        metadata["modelspec.architecture"] = _ARCHITECTURES[family] + ("/lora" if is_lora else "")
    with new_file(path) as temporary:
        save_file({name: tensor.contiguous() for name, tensor in weights.items()}, temporary, metadata)


def write_folder(path: Path, checkpoint: Checkpoint, parts: Parts, facts: Mapping[str, str]) -> None:
    """Write a diffusers folder; what is no weight in it is that of `checkpoint`'s folder, or written out anew.

    Raises `BadRequest` for single files of families of which no such folder is known here.
    """
    with new_folder(path) as temporary:
        if checkpoint.layout == "diffusers":
            _copy_texts(checkpoint.path, temporary)
        else:
            write_texts(temporary, checkpoint)
        for component, weights in parts.items():
            name = "model" if component.startswith("text_encoder") else "diffusion_pytorch_model"
            (temporary / component).mkdir(parents=True, exist_ok=True)
            tensors = {key: tensor.contiguous() for key, tensor in weights.items()}
            save_file(tensors, temporary / component / f"{name}.safetensors", {"format": "pt", **facts})
            _set_dtype(temporary / component / "config.json", weights)


def _copy_texts(source: Path, folder: Path) -> None:
    for entry in sorted(source.rglob("*")):
        if entry.is_file() and entry.suffix in _TEXTS and ".index." not in entry.name:
            target = folder / entry.relative_to(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(entry, target)


def _set_dtype(file: Path, weights: Weights) -> None:
    """Let the configuration tell the precision that was written: transformers reads it there."""
    try:
        config: dict[str, Any] = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise BadFile(f"{file.parent.name}/config.json cannot be read: {error}.", field="model") from error
    said = str(next(iter(weights.values())).dtype).removeprefix("torch.")
    changed = {name: said for name in ("dtype", "torch_dtype") if name in config}
    replace_file(file, json.dumps(config | changed, indent=2).encode())
