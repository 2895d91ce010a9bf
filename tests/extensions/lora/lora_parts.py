"""What the tests of LoRAs share: tiny models, files in every layout, and what they should make of the weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from extensions.lora.blocks import BASE
from extensions.lora.files import Network, read_network
from extensions.lora.merging import Part, merged
from extensions.lora.names import index
from webui.weights.loading.load import load
from webui.weights.memory import Placement, Resident
from webui.weights.recognition.identify import identify

CPU = torch.device("cpu")
RANK, ALPHA = 3, 2.0


def load_model(path: Path, mode: str = "normal") -> Resident:
    """Return the model at `path` on the CPU, in float32."""
    checkpoint = identify(path)
    dtypes = dict.fromkeys(checkpoint.parts, torch.float32)
    return Resident(load(checkpoint, dtypes), Placement(CPU, dtypes, mode))  # type: ignore[arg-type]


def draw(*shape: int, seed: int = 0, scale: float = 0.2) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * scale


def write(path: Path, tensors: Mapping[str, Tensor], **metadata: str) -> Path:
    save_file({name: tensor.contiguous().clone() for name, tensor in tensors.items()}, path, metadata or None)
    return path


def low_rank(weight: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Return up and down for a weight, as trainers shape them."""
    rows, inputs = weight.shape[:2]
    if weight.dim() == 4:
        return draw(rows, RANK, 1, 1, seed=seed), draw(RANK, *weight.shape[1:], seed=seed + 1)
    return draw(rows, RANK, seed=seed), draw(RANK, inputs, seed=seed + 1)


def product(up: Tensor, down: Tensor, shape: torch.Size) -> Tensor:
    """Return the full matrix, without alpha."""
    return (up.flatten(1) @ down.flatten(1)).reshape(shape)


def read(path: Path, model: Resident) -> Network:
    return read_network(path, "net", index(model), "tiny")


def parts_of(network: Network, strength: float = 1.0, rank: int | None = None) -> dict[str, list[Part]]:
    parts: dict[str, list[Part]] = {}
    for site, adapter in network.layers:
        parts.setdefault(site.component, []).append(Part("net", site, adapter, strength, rank))
    return parts


def weights_with(model: Resident, network: Network, strength: float = 1.0) -> dict[str, dict[str, Tensor]]:
    """Return the weights of every component while `network` acts on the model."""
    found = {}
    for component, parts in parts_of(network, strength).items():
        with merged(model, component, parts, BASE):
            found[component] = {name: tensor.clone() for name, tensor in model.weights(component).items()}
    return found


def all_weights(model: Resident) -> dict[str, Tensor]:
    return {f"{part}.{name}": tensor.clone() for part in model.parts for name, tensor in model.weights(part).items()}
