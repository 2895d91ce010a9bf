"""The parts of a request as the page's lists can show them: under the names that things have here."""

from __future__ import annotations

from typing import Any

from webui.domain.request import GenerationRequest
from webui.errors import EaselError
from webui.studio import Studio
from webui.ui.groups import PARTS


def shown_parts(studio: Studio, request: GenerationRequest) -> tuple[dict[str, Any], list[str]]:
    """Return the request's parts for the page's groups, and what nothing here answers to.

    Names lose hashes, endings and old spellings. What is not found is left blank; a refiner that is not found is off.
    """
    parts: dict[str, Any] = request.model_dump(mode="json", include={*PARTS, "modules"})
    notes: list[str] = []
    names = _Names(studio, notes)
    parts["vae"] = names.find("vae", "vae", parts["vae"])
    found = [names.find("modules", "module", name) for name in parts["modules"] or ()]
    parts["modules"] = [name for name in found if name is not None]
    if (hires := parts["hires"]) is not None:
        hires["upscaler"] = names.find("hires.upscaler", "upscaler", hires["upscaler"]) or "Latent"
        hires["model"] = names.find("hires.model", "checkpoint", hires["model"])
        hires["sampler"] = names.find("hires.sampler", "sampler", hires["sampler"])
        hires["schedule"] = names.find("hires.schedule", "schedule", hires["schedule"])
    if (refiner := parts["refiner"]) is not None:
        refiner["model"] = names.find("refiner.model", "checkpoint", refiner["model"])
        parts["refiner"] = refiner if refiner["model"] else None
    if parts["script"] is not None and not any(parts["script"]["name"] == script.name for script in studio.scripts()):
        notes.append(f"script: there is no {parts['script']['name']!r}")
        parts["script"] = None
    panels = {api.name for api in studio.features.apis if api.panel}
    gone = [name for name in parts["extensions"] if name not in panels]
    notes += [f"extensions.{name}: there is no such extension" for name in gone]
    parts["extensions"] = {name: options for name, options in parts["extensions"].items() if name in panels}
    if parts["guiding"]["minimum"] == studio.settings().guidance_minimum:
        parts["guiding"]["minimum"] = None
    return parts, notes


class _Names:
    def __init__(self, studio: Studio, notes: list[str]) -> None:
        self._studio = studio
        self._notes = notes

    def find(self, field: str, kind: Any, name: str | None) -> str | None:
        if not name:
            return None
        try:
            return self._studio.proper_name(kind, name)
        except EaselError as error:
            self._notes.append(f"{field}: {error}")
            return None
