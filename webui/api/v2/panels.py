"""What extensions can be told: for programs that draw it themselves, as the page does."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from webui.api.errors import PlainJSONResponse
from webui.studio import Studio


def add_panels(router: APIRouter, studio: Studio) -> None:
    @router.get("/panels")
    def list_panels() -> PlainJSONResponse:
        """Return what extensions add to the page: `panels` with the JSON schema of the options that a request may carry
        as `extensions`, `preprocessors` with theirs, `networks` (kinds of models with their tags) and `tabs`."""
        return PlainJSONResponse(_shown(studio))


def _shown(studio: Studio) -> dict[str, Any]:
    return studio.shown_extensions().model_dump(mode="json")
