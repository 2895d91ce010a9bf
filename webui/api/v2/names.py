"""What requests can name besides models: scripts, styles, wildcards; and how long a prompt is."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import Field

from webui.api.errors import PlainJSONResponse
from webui.domain.frozen import Data
from webui.domain.request import MAX_PROMPT, Prompt
from webui.studio import Studio


class StyleToSave(Data):
    """A style under its name. `{prompt}` in a text is where the user's own goes; otherwise it follows it."""

    name: Annotated[str, Field(min_length=1, max_length=1000)]
    prompt: Prompt = ""
    negative_prompt: Prompt = ""


def add_names(router: APIRouter, studio: Studio) -> None:
    _add_scripts(router, studio)
    _add_words(router, studio)


def _add_scripts(router: APIRouter, studio: Studio) -> None:
    @router.get("/scripts")
    def list_scripts() -> list[dict[str, Any]]:
        """Return the scripts with the JSON schema of their options: a request names them as `script`."""
        return [
            {
                "name": script.name,
                "aliases": list(script.aliases),
                "pages": list(script.pages),
                "description": script.description,
                "options": studio.options_schema(script.options),
            }
            for script in studio.scripts()
        ]


def _add_words(router: APIRouter, studio: Studio) -> None:
    @router.get("/tokens")
    def count_tokens(
        text: Annotated[str, Query(max_length=MAX_PROMPT)], model: Annotated[str | None, Query(max_length=1000)] = None
    ) -> dict[str, Any]:
        """Return how many tokens a prompt takes up, and how many fit into the chunks of 75 that it needs."""
        return studio.count_tokens(text, model).model_dump(mode="json")

    @router.get("/styles")
    def list_styles() -> list[dict[str, Any]]:
        """Return the styles of `styles.csv` and other `styles*.csv`."""
        return [style.model_dump(mode="json") for style in studio.styles()]

    @router.post("/styles", status_code=201)
    def save_style(style: StyleToSave) -> PlainJSONResponse:
        """Add a style to `styles.csv`, or replace the one of its name there."""
        saved = studio.save_style(style.name, style.prompt, style.negative_prompt)
        return PlainJSONResponse(saved.model_dump(mode="json"), 201)

    @router.delete("/styles/{name:path}")
    def delete_style(name: str) -> dict[str, Any]:
        """Remove a style from `styles.csv`; the file before it stays beside it as `styles.csv.bak`."""
        studio.delete_style(name)
        return {}

    @router.get("/wildcards")
    def list_wildcards() -> list[str]:
        """Return the names that stand for a line of a file in `wildcards/`: `__name__`."""
        return list(studio.wildcards())
