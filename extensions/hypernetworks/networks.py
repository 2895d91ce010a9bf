"""Hypernetworks as networks, built from A1111's files."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import Any

from torch import Tensor, nn

from webui.extending.api import BadFile
from webui.extending.computing import read_tensors, read_values

_LAYER = re.compile(r"(\d+)\.([01])\.linear(\d?)\.?(\d*)\.(weight|bias)")
"""Width, keys (0) or values (1), and the number of the layer: counted from 1 in the oldest files, else from 0."""

_ACTIVATIONS: Mapping[str, Callable[[], nn.Module]] = MappingProxyType(
    {
        "relu": nn.ReLU, "leakyrelu": nn.LeakyReLU, "elu": nn.ELU, "swish": nn.Hardswish, "hardswish": nn.Hardswish,
        "tanh": nn.Tanh, "sigmoid": nn.Sigmoid, "silu": nn.SiLU, "mish": nn.Mish, "gelu": nn.GELU, "selu": nn.SELU,
        "celu": nn.CELU, "softplus": nn.Softplus, "softsign": nn.Softsign, "softshrink": nn.Softshrink,
        "tanhshrink": nn.Tanhshrink, "hardshrink": nn.Hardshrink, "hardtanh": nn.Hardtanh, "relu6": nn.ReLU6,
        "hardsigmoid": nn.Hardsigmoid, "logsigmoid": nn.LogSigmoid,
    }
)  # fmt: skip
"""What A1111's files call activations; its swish is the hard one."""

Layers = Mapping[int, Mapping[str, Tensor]]
"""By their numbers: the weight [out,in] and bias [out] of linear layers, or of norms [n]."""


def load_hypernetwork(path: Path) -> nn.ModuleDict:
    """Return the networks of a file by the width of attention they are for: `ModuleList` of that for keys and that for
    values, each from [B,T,width] to the same.

    Raises `BadFile` for files that hold none, or say too little about how they compute.
    """
    values = read_values(path)
    found: dict[str, dict[str, dict[int, dict[str, Tensor]]]] = {}
    for name, tensor in read_tensors(path).items():
        match = _LAYER.fullmatch(name)
        if match:
            width, branch, old, number, leaf = match.groups()
            layers = found.setdefault(width, {"0": {}, "1": {}})[branch]
            layers.setdefault(int(old) - 1 if old else int(number), {})[leaf] = tensor
    if not found:
        raise BadFile(f"{path.name}: it holds no layers of a hypernetwork.", field="prompt")
    return nn.ModuleDict(
        {
            width: nn.ModuleList(_build(branches[each], values, path, int(width)) for each in "01")
            for width, branches in found.items()
        }
    )


def _build(layers: Layers, values: Mapping[str, Any], path: Path, width: int) -> nn.Sequential:
    """Return the network of `layers`. Activations and dropout, which have no weights, are numbered among them."""
    activation = str(values.get("activation_func") or "linear").lower()
    if activation != "linear" and activation not in _ACTIVATIONS:
        raise BadFile(f"{path.name}: its activation {activation[:40]!r} is not known.", field="prompt")
    numbers = sorted(layers)
    sides = [layers[number]["weight"].shape if "weight" in layers[number] else () for number in numbers]
    if not _fit(sides, width):
        raise BadFile(f"{path.name}: its layers for a width of {width} do not fit together.", field="prompt")
    linear = [number for number in numbers if layers[number]["weight"].dim() == 2]
    activated = set(linear if values.get("activate_output", True) else linear[:-1]) if activation != "linear" else set()
    modules: list[nn.Module] = []
    for number in numbers:
        modules.append(_layer(layers[number]))
        if number in activated:
            modules.append(_ACTIVATIONS[activation]())
    _check(path, numbers, activated, bool(values.get("use_dropout", False)))
    return nn.Sequential(*modules).requires_grad_(False).eval()


def _fit(sides: Sequence[Sequence[int]], width: int) -> bool:
    """Tell whether layers of these shapes, [out,in] or [n] of norms, lead from `width` numbers to as many."""
    now = width
    for shape in sides:
        if len(shape) not in (1, 2) or shape[-1] != now:
            return False
        now = shape[0]
    return now == width and any(len(shape) == 2 for shape in sides)


def _check(path: Path, numbers: Sequence[int], activated: set[int], has_dropout: bool) -> None:
    """Raise `BadFile` where there is a layer without weights of which the file does not say what it does."""
    for number, following in pairwise(numbers):
        missing = following - number - 1 - (number in activated)
        if missing < 0 or (missing > 0 and not has_dropout):
            raise BadFile(
                f"{path.name}: it does not say what stands between its layers {number} and {following}.",
                hint="Look for it as the .pt file that A1111 made.",
                field="prompt",
            )


def _layer(tensors: Mapping[str, Tensor]) -> nn.Module:
    weight = tensors["weight"]
    layer = nn.LayerNorm(len(weight)) if weight.dim() == 1 else nn.Linear(weight.shape[1], weight.shape[0])
    layer.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
    return layer
