"""Which files of a diffusers folder hold a part's weights: whole or sharded, of a variant, as .safetensors or .bin."""

from __future__ import annotations

import re
from pathlib import Path

from webui.weights.checkpoint import is_text_encoder
from webui.weights.formats.tensor_facts import bad_model

# transformers calls them `model.fp16-00001-of-00002.safetensors`, diffusers `model-00001-of-00002.fp16.safetensors`.
_NAME = re.compile(
    r"(?P<stem>diffusion_pytorch_model|pytorch_model|model)(\.(?P<before>\w+))?"
    r"(-(?P<number>\d{5})-of-(?P<count>\d{5}))?(\.(?P<after>\w+))?\.(?P<suffix>safetensors|bin)"
)
_SUFFIXES = ("safetensors", "bin")
_VARIANTS = ("", "fp16", "bf16", "non_ema")  # the best first; training goes on from the last


def find_weight_files(folder: Path, part: str) -> tuple[Path, ...]:
    """Return the weight files of one part: safetensors before pickles, full precision before variants, whole before
    shards. Raises `BadFile` when there are none, or some of them are missing."""
    stems = ("model", "pytorch_model") if is_text_encoder(part) else ("diffusion_pytorch_model",)
    sets: dict[tuple[int, str, int], dict[int, Path]] = {}
    for file in sorted((folder / part).iterdir()):
        match = _NAME.fullmatch(file.name)
        if match is None or match["stem"] not in stems:
            continue
        variant = match["before"] or match["after"] or ""
        group = _SUFFIXES.index(match["suffix"]), variant, int(match["count"] or 1)
        sets.setdefault(group, {})[int(match["number"] or 1)] = file
    complete = [group for group, files in sets.items() if sorted(files) == list(range(1, group[2] + 1))]
    if complete:
        best = min(complete, key=lambda group: (group[0], _rank(group[1]), group[1], group[2]))
        return tuple(file for _, file in sorted(sets[best].items()))
    if sets:
        raise bad_model(folder, f"files of its {part} are missing", "Download them again.")
    raise bad_model(folder, f"it has no {part}: {part}/{stems[0]}.safetensors is missing")


def _rank(variant: str) -> int:
    return _VARIANTS.index(variant) if variant in _VARIANTS else len(_VARIANTS)
