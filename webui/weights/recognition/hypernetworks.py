"""Hypernetworks on the disk: what their headers say."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from webui.domain.models import Kind
from webui.errors import BadFile
from webui.weights.catalog.model_facts import ModelFacts
from webui.weights.recognition.kinds import refuse_other_kind, tell_kind
from webui.weights.recognition.lora_files import family_named, read_any

_LAYER = re.compile(r"(\d+)\.[01]\.linear")
_FAMILIES: Mapping[int, str] = {768: "sd1", 1024: "sd2", 2048: "sdxl"}
"""Numbers of a token of the text → the family."""


def identify_hypernetwork(path: Path) -> ModelFacts:
    """Return for which family a hypernetwork is, and which widths of attention it changes; `BadFile` for others."""
    _, header = read_any(path, "hypernetwork")
    if tell_kind(header) is not Kind.HYPERNETWORK:
        refuse_other_kind(path, header, Kind.HYPERNETWORK, field="hypernetwork")
        raise BadFile(f"{path.name}: it holds no layers of a hypernetwork.", field="hypernetwork")
    widths = sorted({int(found[1]) for name in header if (found := _LAYER.match(name))})
    family = next((_FAMILIES[width] for width in widths if width in _FAMILIES), "")
    return ModelFacts(family=family_named(family), details={"widths": ", ".join(map(str, widths))})
