"""What whoever made a safetensors file wrote into its header: texts by name, never needed to use the weights.

Names: kohya-ss/sd-scripts (`ss_…`) and Stability-AI/ModelSpec (`modelspec.…`).
"""

from __future__ import annotations

import base64
import binascii
import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from webui.domain.cards import ModelCard
from webui.weights.formats.headers import MAX_HEADER

THUMBNAIL = "modelspec.thumbnail"
_MAX_LINE, _MAX_TEXT = 1000, 20_000  # characters
_MOST_TAGS = 24
_MAX_THUMBNAIL = 4 * 2**20  # characters
_BEGINNING = '{"__metadata__":'

_DETAILS: Mapping[str, tuple[str, ...]] = {
    "author": ("modelspec.author",),
    "license": ("modelspec.license",),
    "date": ("modelspec.date",),
    "architecture": ("modelspec.architecture",),
    "resolution": ("modelspec.resolution", "ss_resolution"),
    "tags": ("modelspec.tags",),
    "training_name": ("ss_output_name",),
    "training_base": ("ss_sd_model_name",),
    "training_images": ("ss_num_train_images",),
    "training_steps": ("ss_steps", "ss_max_train_steps"),
    "clip_skip": ("ss_clip_skip",),
    "network": ("ss_network_module",),
}
"""Our names of details → those in metadata, the best first."""


def read_metadata(path: Path) -> Mapping[str, str]:
    """Return the texts in a safetensors file's header; nothing for other files, damaged or not."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if not 2 <= length <= MAX_HEADER:
                return {}
            header = file.read(length).decode("utf-8")
        content = _metadata_of(header)
    except (OSError, ValueError, RecursionError):  # the header's own reader says what is wrong with the file
        return {}
    if not isinstance(content, dict):
        return {}
    return {printable(str(name)): printable(text) for name, text in content.items() if isinstance(text, str)}


def printable(text: str) -> str:
    """Return `text` without the halves of characters that JSON can hold and no file can."""
    return text.encode("utf-8", "replace").decode()


def _metadata_of(header: str) -> Any:
    if header.startswith(_BEGINNING):  # as nearly all files begin: the tensors need not be parsed once more
        return json.JSONDecoder().raw_decode(header, len(_BEGINNING))[0]
    whole = json.loads(header)
    return whole.get("__metadata__") if isinstance(whole, dict) else None


def told_card(metadata: Mapping[str, str]) -> ModelCard:
    """Return what metadata says, as a card."""
    if not metadata:
        return ModelCard()
    base = metadata.get("ss_base_model_version") or metadata.get("modelspec.architecture", "")
    return ModelCard(
        title=_line(metadata.get("modelspec.title", "")),
        description=metadata.get("modelspec.description", "")[:_MAX_TEXT],
        notes=metadata.get("modelspec.usage_hint", "")[:_MAX_TEXT],
        trigger_words=_line(metadata.get("modelspec.trigger_phrase", "")),
        base_model=_line(base),
    )


def told_details(metadata: Mapping[str, str]) -> dict[str, str | int | float]:
    """Return further facts in metadata by our names; `training_tags` are the most frequent words of the captions."""
    found: dict[str, str | int | float] = {}
    for name, sources in _DETAILS.items():
        text = next((metadata[source] for source in sources if metadata.get(source, "None") != "None"), "")
        if text:
            found[name] = _line(text)
    tags = _frequent_tags(metadata.get("ss_tag_frequency", ""))
    if tags:
        found["training_tags"] = tags
    return found


def read_thumbnail(path: Path) -> bytes | None:
    """Return the picture in a file's metadata, as the bytes of an image file; None when there is none."""
    text = read_metadata(path).get(THUMBNAIL, "")
    start, comma, content = text.partition(",")
    if not comma or not start.startswith("data:image/") or len(content) > _MAX_THUMBNAIL:
        return None
    try:
        return base64.b64decode(content, validate=True)
    except (binascii.Error, ValueError):
        return None


def _frequent_tags(text: str) -> str:
    """Return the most frequent tags of all data sets together: `1girl (120), hat (87)`."""
    try:
        sets = json.loads(text) if text else {}
        counts: Counter[str] = Counter()
        for tags in sets.values():
            for tag, count in tags.items():
                counts[_line(str(tag).strip())] += int(count)
    except (ValueError, TypeError, AttributeError, RecursionError, OverflowError):
        return ""
    return ", ".join(f"{tag} ({count})" for tag, count in counts.most_common(_MOST_TAGS))


def _line(text: str) -> str:
    return " ".join(text[:_MAX_LINE].split())
