"""Tensors that stand in place of a network's own for a while."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from webui.weights.loading.quantised import is_quantised

Tensors = Mapping[str, Tensor] | Iterable[tuple[str, Tensor]]


@dataclass(eq=False)
class Alteration:
    """`tensors` stand in place of others; `key` tells what they make of the component.

    `covered` are those that they stand in place of on the device, as far as these stayed there.
    """

    key: str
    tensors: dict[str, Tensor] = field(default_factory=dict)
    covered: dict[str, Tensor] = field(default_factory=dict)


class Weights:
    """A network's own weights, on the CPU, and what stands in their place, the latest last."""

    def __init__(self, own: Mapping[str, Tensor]) -> None:
        self.own = own
        self.alterations: list[Alteration] = []

    @property
    def now(self) -> Mapping[str, Tensor]:
        """What the network computes with."""
        if not self.alterations:
            return self.own
        return {**self.own, **{name: tensor for each in self.alterations for name, tensor in each.tensors.items()}}

    @property
    def size(self) -> int:
        """The bytes of its own weights."""
        return sum(tensor.numel() * tensor.itemsize for tensor in self.own.values())

    def fit(self, name: str, tensor: Tensor) -> Tensor:
        """Return `tensor` in the precision of the one called `name`, whose place it takes.

        Raises `ValueError` when there is none, it has another shape, or is quantised.
        """
        own = self.own.get(name)
        if own is None:
            raise ValueError(f"there is no tensor {name}")
        if is_quantised(own):
            raise ValueError(f"{name} is quantised and cannot be altered")
        if own.shape != tensor.shape:
            raise ValueError(f"{name} has the shape {list(own.shape)}, not {list(tensor.shape)}")
        with torch.inference_mode(False):  # a tensor of inference mode could not be moved outside of it
            return (tensor.clone() if tensor.is_inference() else tensor).to(own.dtype)

    def take_home(self) -> None:
        """Let nothing be on another device than the CPU."""
        for each in self.alterations:
            each.covered.clear()
            each.tensors = {name: tensor.cpu() for name, tensor in each.tensors.items()}


def give(network: nn.Module, name: str, tensor: Tensor) -> None:
    """Let `tensor` be the one called `name`, without a copy."""
    place, _, leaf = name.rpartition(".")
    network.get_submodule(place).load_state_dict({leaf: tensor}, strict=False, assign=True)


def take(network: nn.Module, name: str) -> Tensor:
    """Return the tensor called `name`, where it is now."""
    place, _, leaf = name.rpartition(".")
    tensor = getattr(network.get_submodule(place), leaf)
    assert isinstance(tensor, Tensor)
    return tensor.detach()
