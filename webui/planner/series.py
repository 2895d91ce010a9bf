"""What a script makes of a request, planned part by part."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from webui.domain.plan import Plan, SeriesPlan
from webui.domain.request import GenerationRequest
from webui.extending.scripts import Tools, expand_request
from webui.planner.shelf import Shelf

PlanPart = Callable[[GenerationRequest, int, Mapping[str, Any]], Plan]
"""(request, index of its first image, settings for it alone) → its plan."""


def plan_series(request: GenerationRequest, shelf: Shelf, tools: Tools, plan_part: PlanPart) -> SeriesPlan:
    """Return the parts that the script named in `request` makes of it, as one plan."""
    assert request.script is not None
    script = shelf.script(request.script.name)
    expansion = expand_request(request, script, tools)
    parts: list[Plan] = []
    first = 0
    changes = expansion.settings or ({},) * len(expansion.requests)
    for asked, changed in zip(expansion.requests, changes, strict=True):
        part = plan_part(asked, first, changed)
        first = part.images[-1].index + 1
        parts.append(part.replace(sheets=()))
    notes = dict.fromkeys([*expansion.notes, *(note for part in parts for note in part.notes)])
    return SeriesPlan(
        script=script.name,
        parts=tuple(parts),
        chained=expansion.chained,
        sheets=expansion.sheets,
        only_sheets=expansion.only_sheets,
        notes=tuple(notes),
    )
