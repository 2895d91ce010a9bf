"""A1111's list of LoRAs for programs."""

from __future__ import annotations

from typing import Any

from extensions.lora.metadata import alias_of, read_metadata
from webui.extending.api import Call, Kind


def list_loras(call: Call) -> list[dict[str, Any]]:
    """Return what there is, in A1111's form."""
    return [
        {
            "name": model.name,
            "alias": alias_of(model.path) or model.name,
            "path": str(model.path),
            "metadata": dict(read_metadata(model.path)),
        }
        for model in call.tools.models(Kind.LORA)
        if model.problem is None
    ]
