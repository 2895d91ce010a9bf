"""Checkpoints as they are read to make others of them: all weights under the names that diffusers uses."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import torch

from webui.domain.model_work import Precision
from webui.errors import BadFile, BadRequest
from webui.weights.checkpoint import Checkpoint, scaling_of
from webui.weights.formats.tensors import Weights, read_tensors
from webui.weights.loading.load import load_vae
from webui.weights.loading.naming import rename
from webui.weights.loading.networks import build
from webui.weights.recognition.vae_files import identify_vae

DTYPES: Mapping[Precision | None, torch.dtype] = MappingProxyType(
    {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16, "fp8": torch.float8_e4m3fn}
)


def read_part(checkpoint: Checkpoint, component: str) -> Weights:
    """Return the weights that a component's network needs, and no others, still memory-mapped.

    Raises `BadFile` when some are missing, or are quantised.
    """
    part = checkpoint.parts[component]
    network = build(part)
    weights = {name: tensor for file in part.files for name, tensor in read_tensors(file, part.prefix).items()}
    try:
        renamed = rename(weights, part, network)
        needed = _without_aliases({name: renamed[name] for name in network.state_dict()})
    except (KeyError, IndexError) as error:
        raise BadFile(f"{checkpoint.path.name}: its {component} lacks {error}.", field="model") from error
    for name, tensor in needed.items():
        if not tensor.dtype.is_floating_point and network.state_dict()[name].dtype.is_floating_point:
            raise BadFile(
                f"{checkpoint.path.name}: its {component} is quantised.",
                hint="Begin with the file it was made from.",
                field="model",
            )
    return needed


def _without_aliases(weights: Weights) -> Weights:
    """Return each tensor once, under the first of its names: T5's words have two."""
    first = {id(tensor): name for name, tensor in reversed(weights.items())}
    return {name: tensor for name, tensor in weights.items() if first[id(tensor)] == name}


def read_vae(path: Path, checkpoint: Checkpoint) -> Weights:
    """Return the weights of a VAE in a file of its own, for `checkpoint`.

    Raises `BadFile` when it is none, `BadRequest` when its latents are others or its shape is not that of the one the
    checkpoint has.
    """
    own = build(checkpoint.parts["vae"]).state_dict()
    weights = load_vae(identify_vae(path), torch.float32, scaling_of(checkpoint.configs["vae"])).state_dict()
    if {name: tensor.shape for name, tensor in weights.items()} != {name: tensor.shape for name, tensor in own.items()}:
        raise BadRequest(
            f"{path.name} is not a VAE of the kind that {checkpoint.path.name} has.",
            hint="Choose one for models of its family.",
            field="vae",
        )
    return weights


def cast(weights: Weights, dtype: torch.dtype | None) -> Weights:
    """Return floating-point weights in another precision (None: as they are); others stay."""
    if dtype is None:
        return weights
    return {name: tensor.to(dtype) if tensor.dtype.is_floating_point else tensor for name, tensor in weights.items()}
