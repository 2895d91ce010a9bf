"""The names that makers' files have for a UNet's weights, from those of diffusers. Torch is not needed."""

from __future__ import annotations

import re
from collections.abc import Iterable

_RESNET = {
    "norm1": "in_layers.0", "conv1": "in_layers.2", "time_emb_proj": "emb_layers.1", "norm2": "out_layers.0",
    "conv2": "out_layers.3", "conv_shortcut": "skip_connection",
}  # fmt: skip
_ENDS = {
    "time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0", "add_embedding.linear_2": "label_emb.0.2",
    "conv_in": "input_blocks.0.0", "conv_norm_out": "out.0", "conv_out": "out.2",
}  # fmt: skip
_BLOCK = re.compile(r"(down|mid|up)_blocks?(?:\.(\d+))?\.(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.(.*)")


def attending_blocks(names: Iterable[str]) -> frozenset[int]:
    """Return the numbers of the blocks on the way up that have attention."""
    found = (re.match(r"up_blocks\.(\d{1,4})\.attentions\.", name) for name in names)
    return frozenset(int(match[1]) for match in found if match)


def original_name(name: str, layers: int, attending: frozenset[int] = frozenset()) -> str | None:
    """Return the original name of one weight of a UNet with `layers` layers a level; None where there is none."""
    for ours, theirs in _ENDS.items():
        if name.startswith(f"{ours}."):
            return theirs + name[len(ours) :]
    match = _BLOCK.match(name)
    if match is None:
        return None
    side, block, kind, number, rest = match[1], int(match[2] or 0), match[3], int(match[4]), match[5]
    if side == "mid":
        return f"middle_block.{1 if kind == 'attentions' else 2 * number}.{_inner(kind, rest)}"
    if side == "down":
        if kind == "downsamplers":
            return f"input_blocks.{(block + 1) * (layers + 1)}.0.op{rest.removeprefix('conv')}"
        return f"input_blocks.{1 + block * (layers + 1) + number}.{int(kind == 'attentions')}.{_inner(kind, rest)}"
    if kind == "upsamplers":
        return f"output_blocks.{block * (layers + 1) + layers}.{2 if block in attending else 1}.{rest}"
    return f"output_blocks.{block * (layers + 1) + number}.{int(kind == 'attentions')}.{_inner(kind, rest)}"


def _inner(kind: str, rest: str) -> str:
    if kind != "resnets":
        return rest
    layer, _, leaf = rest.partition(".")
    return f"{_RESNET.get(layer, layer)}.{leaf}"
