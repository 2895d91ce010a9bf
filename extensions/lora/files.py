"""A LoRA file → an adapter for each layer of a model that it changes, whatever its layout."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from extensions.lora.algorithms import Adapter, tell_kind
from extensions.lora.metadata import declared_alphas
from extensions.lora.names import Index, Site
from webui.extending.api import BadFile
from webui.extending.computing import read_tensors

_LEAVES: tuple[tuple[str, str], ...] = (
    (r"[._]lora_down(\.weight)?", "down"), (r"[._]lora_up(\.weight)?", "up"), (r"[._]lora_mid(\.weight)?", "mid"),
    (r"\.lora_A(\.default)?(\.weight)?", "down"), (r"\.lora_B(\.default)?(\.weight)?", "up"),
    (r"\.lora_B(\.default)?\.bias", "up_bias"), (r"\.lora_up\.bias", "up_bias"),
    (r"\.lora_magnitude_vector(\.default)?(\.weight)?", "dora_scale"), (r"\.dora_scale", "dora_scale"),
    (r"(?:[._]lora|\.lora_linear_layer)?\.down\.weight", "down"),
    (r"(?:[._]lora|\.lora_linear_layer)?\.up\.weight", "up"),
    (r"[._](?:lora\.)?alpha", "alpha"), (r"\.scalar", "scalar"), (r"\.rescale", "rescale"),
    *((rf"\.{name}", name) for name in (
        "hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b", "hada_t1", "hada_t2", "lokr_w1", "lokr_w1_a", "lokr_w1_b",
        "lokr_w2", "lokr_w2_a", "lokr_w2_b", "lokr_t2", "oft_blocks", "oft_diag", "diff_b", "diff", "w_norm", "b_norm",
        "on_input",
    )),
    *((rf"\.{name}\.weight", name) for name in ("a1", "a2", "b1", "b2")),
    (r"\.weight", "weight"),
)  # fmt: skip
_COMPILED = tuple((re.compile(rf"(.+?){pattern}"), leaf) for pattern, leaf in _LEAVES)


@dataclass(frozen=True)
class Report:
    """How many of a file's tensors have a place in the model, and the names of those that have none."""

    name: str
    found: int
    total: int
    model: str
    lost: tuple[str, ...] = ()

    def __str__(self) -> str:
        if not self.lost:
            return f"{self.name}: {self.found}/{self.total} keys, {self.model} ✓"
        more = f" and {len(self.lost) - 3} more" if len(self.lost) > 3 else ""
        names = ", ".join(self.lost[:3])
        return f"{self.name}: {self.found}/{self.total} keys, {self.model}; no place for {names}{more}"


@dataclass(frozen=True)
class Network:
    """The layers of one file in one model."""

    layers: tuple[tuple[Site, Adapter], ...] = field(repr=False)
    report: Report


def read_network(path: Path, name: str, index: Index, model: str) -> Network:
    """Return what the file (or peft's folder) at `path` changes in the model of `index`, which users call `model`.

    Raises `BadFile` when it cannot be read, or when nothing of it has a place in the model.
    """
    tensors = _read(path)
    layers, lost = _gather(tensors, index, declared_alphas(path))
    report = Report(name, len(tensors) - len(lost), len(tensors), model, tuple(sorted(lost)))
    if not layers:
        raise BadFile(
            f"<lora:{name}>: none of its {len(tensors)} keys has a place in this checkpoint ({model}), the first is "
            f"{min(tensors, default='nothing')[:80]}.",
            hint="Choose a checkpoint of the family that the LoRA was made for.",
            field="prompt",
        )
    return Network(layers, report)


def _read(path: Path) -> dict[str, Tensor]:
    files: Iterable[Path] = sorted(path.glob("*.safetensors")) if path.is_dir() else (path,)
    return {name: tensor for file in files for name, tensor in read_tensors(file).items()}


def _gather(
    tensors: Mapping[str, Tensor], index: Index, declared: Mapping[str, Any]
) -> tuple[tuple[tuple[Site, Adapter], ...], set[str]]:
    """Return the layers, and the names of the tensors that belong to none."""
    places: dict[str, dict[str, str]] = {}  # place → short name → name in the file
    lost: set[str] = set()
    for key in tensors:
        place, leaf = split_key(key)
        if leaf:
            places.setdefault(place, {})[leaf] = key
        else:
            lost.add(key)
    layers: list[tuple[Site, Adapter]] = []
    for place, names in places.items():
        site = index.find(place)
        found = {leaf: tensors[key] for leaf, key in names.items()}
        kind = tell_kind(found)
        if site is None or kind is None:
            lost.update(names.values())
            continue
        alpha = found.pop("alpha", None)
        number = float(alpha) if alpha is not None else _declared_alpha(place, found, declared)
        layers.append((site, Adapter(kind, found, number)))
    return tuple(layers), lost


def split_key(key: str) -> tuple[str, str]:
    """Return the layer that a tensor belongs to, as the file calls it, and the tensor's short name; empty if it has
    none that is known."""
    for pattern, leaf in _COMPILED:
        match = pattern.fullmatch(key)
        if match is not None:
            return match[1], leaf
    return key, ""


def _declared_alpha(place: str, tensors: Mapping[str, Tensor], declared: Mapping[str, Any]) -> float | None:
    """Return the alpha that peft's configuration gives a layer, which without one has its rank; with `use_rslora` it is
    divided by the rank's root."""
    if not declared or "down" not in tensors:
        return None
    component = place.partition(".")[0]
    own = {name.removeprefix(f"{component}."): value for name, value in declared.items()}
    alpha = own.get("lora_alpha")
    for pattern, value in (own.get("alpha_pattern") or {}).items():
        if re.fullmatch(rf"(.*\.)?({pattern})", place):
            alpha = value
    if not isinstance(alpha, int | float):
        return None
    return float(alpha) * (tensors["down"].shape[0] ** 0.5 if own.get("use_rslora") else 1.0)
