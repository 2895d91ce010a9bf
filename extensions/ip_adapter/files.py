"""IP-Adapters as networks, built from the files users have (github.com/tencent-ailab/IP-Adapter, XLabs for Flux)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from diffusers.models.embeddings import ImageProjection, IPAdapterFullImageProjection, IPAdapterPlusImageProjection
from torch import Tensor, nn

from extensions.ip_adapter.shapes import FIELD, XLABS
from webui.extending.api import BadFile
from webui.extending.computing import read_tensors

HEAD = 64  # numbers of a head in the resampler of "plus"

_XLABS = re.compile(r"double_blocks\.(\d+)\.processor\.ip_adapter_double_stream_([kv])_proj\.(weight|bias)")
_KEYS = re.compile(r"ip_adapter\.(\d+)\.to_([kv])_ip\.(weight|bias)")
_RESAMPLER = (
    (re.compile(r"^layers\.(\d+)\.0\.norm1\."), r"layers.\1.ln0."),
    (re.compile(r"^layers\.(\d+)\.0\.norm2\."), r"layers.\1.ln1."),
    (re.compile(r"^layers\.(\d+)\.0\.to_out\."), r"layers.\1.attn.to_out.0."),
    (re.compile(r"^layers\.(\d+)\.0\.to_"), r"layers.\1.attn.to_"),
    (re.compile(r"^layers\.(\d+)\.1\.0\."), r"layers.\1.ff.0."),
    (re.compile(r"^layers\.(\d+)\.1\.1\."), r"layers.\1.ff.1.net.0.proj."),
    (re.compile(r"^layers\.(\d+)\.1\.3\."), r"layers.\1.ff.1.net.2."),
)
"""The original names of the resampler's layers → diffusers'."""
_FULL = (("proj.0.", "ff.net.0.proj."), ("proj.2.", "ff.net.2."), ("proj.3.", "norm."))

Tensors = dict[str, Tensor]


@dataclass(frozen=True, eq=False)
class Adapter:
    """`projection` makes tokens [n,T,D] of what the image encoder sees in n pictures; `keys` and `values` are the
    layers that each block's attention to them has, in the order of the blocks."""

    projection: nn.Module
    keys: nn.ModuleList
    values: nn.ModuleList

    @property
    def network(self) -> nn.Module:
        """All of them as one."""
        return nn.ModuleList([self.projection, self.keys, self.values])

    @property
    def reads_states(self) -> bool:
        """Whether it reads each part of a picture, not the whole alone."""
        return not isinstance(self.projection, ImageProjection)


def load_adapter(path: Path) -> Adapter:
    """Return the adapter in a file, float32, on the CPU. Raises `BadFile` when its tensors do not fit together."""
    tensors = read_tensors(path)
    places: dict[int, dict[str, Tensor]] = {}
    projection: Tensors = {}
    for name, tensor in tensors.items():
        found = _KEYS.fullmatch(name) or _XLABS.fullmatch(name)
        if found:
            places.setdefault(int(found[1]), {})[f"{found[2]}.{found[3]}"] = tensor.float()
        elif name.startswith(("image_proj.", XLABS)):
            projection[name.removeprefix("image_proj.").removeprefix(XLABS)] = tensor.float()
    try:
        rows = [places[place] for place in sorted(places)]
        width = rows[0]["k.weight"].shape[1]
        keys, values = (nn.ModuleList(_linear(row, letter) for row in rows) for letter in "kv")
        adapter = Adapter(_project(projection, width), keys, values)
    except (KeyError, IndexError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise BadFile(f"{path.name}: it is no whole IP-Adapter: {reason}.", field=FIELD) from error
    adapter.network.requires_grad_(False).eval()
    return adapter


def _linear(row: Mapping[str, Tensor], letter: str) -> nn.Linear:
    weight, bias = row[f"{letter}.weight"], row.get(f"{letter}.bias")
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    layer.load_state_dict({"weight": weight, **({} if bias is None else {"bias": bias})})
    return layer


def _project(tensors: Tensors, width: int) -> nn.Module:
    """Return diffusers' network for the projection of an adapter whose tokens are `width` numbers."""
    if "proj.weight" in tensors:
        sides = tensors["proj.weight"].shape
        plain = ImageProjection(sides[1], width, sides[0] // width)
        return _filled(plain, {name.replace("proj.", "image_embeds."): each for name, each in tensors.items()})
    if "proj.3.weight" in tensors:
        full = IPAdapterFullImageProjection(tensors["proj.0.weight"].shape[0], tensors["proj.3.weight"].shape[0])
        return _filled(full, {_rename_full(name): each for name, each in tensors.items()})
    return _resampler(tensors)


def _rename_full(name: str) -> str:
    return next((theirs + name.removeprefix(own) for own, theirs in _FULL if name.startswith(own)), name)


def _resampler(tensors: Tensors) -> nn.Module:
    renamed: Tensors = {}
    for name, tensor in tensors.items():
        for pattern, theirs in _RESAMPLER:
            name = pattern.sub(theirs, name)
        if ".to_kv." in name:
            for part, half in zip(("to_k", "to_v"), tensor.chunk(2), strict=True):
                renamed[name.replace("to_kv", part)] = half
        else:
            renamed[name] = tensor
    depth = 1 + max(int(name.split(".")[1]) for name in renamed if name.startswith("layers."))
    network = IPAdapterPlusImageProjection(
        embed_dims=renamed["proj_in.weight"].shape[1],
        output_dims=renamed["proj_out.weight"].shape[0],
        hidden_dims=renamed["latents"].shape[2],
        num_queries=renamed["latents"].shape[1],
        heads=max(renamed["layers.0.attn.to_q.weight"].shape[0] // HEAD, 1),
        dim_head=min(renamed["layers.0.attn.to_q.weight"].shape[0], HEAD),
        depth=depth,
        ffn_ratio=renamed["layers.0.ff.1.net.0.proj.weight"].shape[0] / renamed["latents"].shape[2],
    )
    return _filled(network, renamed)


def _filled(network: nn.Module, tensors: Tensors) -> nn.Module:
    network.load_state_dict(tensors)
    return network
