"""Models: lists of every kind with their cards, changes of a card, and the pictures on them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Body, Header, Query
from starlette.responses import Response

from webui.api.errors import PlainJSONResponse
from webui.domain.cards import CardChange, ListedModel, ModelPage, ModelQuery
from webui.domain.models import Kind, ModelInfo
from webui.domain.upscaling import LATENT_UPSCALERS, PLAIN_UPSCALERS
from webui.studio import Studio

PREVIEW_SIDE = 512  # pixels

_IMAGE_HEADERS: Mapping[str, str] = {
    "Cache-Control": "private, no-cache",  # kept, but asked about each time: a picture can be replaced
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "X-Content-Type-Options": "nosniff",
}


def add_models(router: APIRouter, studio: Studio) -> None:
    _add_lists(router, studio)
    _add_previews(router, studio)  # before the cards: their addresses begin alike
    _add_cards(router, studio)


def _add_lists(router: APIRouter, studio: Studio) -> None:
    @router.get("/models")
    def list_models(query: Annotated[ModelQuery, Query()]) -> PlainJSONResponse:
        """Return the models of a kind, unusable ones with their problem, how many agree with the query in all, the
        folders they lie in, and which checkpoint is the current one."""
        current = studio.current_model()
        found = studio.find_models(query)
        return PlainJSONResponse(
            {
                "current": current.name if current else None,
                "total": found.total,
                "folders": found.folders,
                "models": [_listed(each) for each in found.models],
            }
        )

    @router.get("/vaes")
    def list_vaes() -> list[dict[str, Any]]:
        """Return all VAE files, unusable ones with their problem. A request also takes "Automatic" and "None"."""
        return [_shown(model) for model in studio.vaes()]

    @router.get("/upscalers")
    def list_upscalers() -> list[dict[str, str]]:
        """Return the usable upscalers; those of kind "latent" work in the second pass alone."""
        return [{"name": name, "kind": _kind(name)} for name in studio.names("upscaler")]


def _add_previews(router: APIRouter, studio: Studio) -> None:
    @router.get("/models/{kind}/{name:path}/preview", response_class=Response)
    def show_preview(
        kind: Kind,
        name: str,
        side: Annotated[int, Query(ge=16, le=1024)] = PREVIEW_SIDE,
        if_none_match: Annotated[str | None, Header()] = None,
    ) -> Response:
        """Return the picture of a model (WebP) that fits into a square of `side` pixels."""
        model = studio.model(kind, name)
        tag = f'"{studio.model_preview_tag(model)}-{side}"'
        headers = {**_IMAGE_HEADERS, "ETag": tag}
        if if_none_match is not None and tag in if_none_match:
            return Response(status_code=304, headers=headers)
        return Response(studio.model_preview(model, side), media_type="image/webp", headers=headers)

    @router.put("/models/{kind}/{name:path}/preview")
    def set_preview(kind: Kind, name: str, image: Annotated[str, Body(embed=True, max_length=200)]) -> dict[str, Any]:
        """Make a picture that was stored with `POST inputs` the model's. It is written beside the model, or into the
        data folder where the model is another program's."""
        studio.set_model_preview(studio.model(kind, name), image)
        return {}


def _add_cards(router: APIRouter, studio: Studio) -> None:
    @router.get("/models/{kind}/{name:path}")
    def show_model(kind: Kind, name: str) -> dict[str, Any]:
        """Return one model with its card and all that is known about it."""
        model = studio.model(kind, name)
        return _with_page(model, studio.model_page(model))

    @router.patch("/models/{kind}/{name:path}")
    def change_card(kind: Kind, name: str, change: CardChange) -> dict[str, Any]:
        """Change what the card of a model says, never the model's own file; what is left out stays."""
        model = studio.change_card(studio.model(kind, name), change)
        return _with_page(model, studio.model_page(model))


def _kind(upscaler: str) -> str:
    return "latent" if upscaler in LATENT_UPSCALERS else "plain" if upscaler in PLAIN_UPSCALERS else "network"


def _shown(model: ModelInfo) -> dict[str, Any]:
    shown = model.model_dump(mode="json", exclude={"path"})
    return {**shown, "filename": model.filename, "title": model.title, "short_hash": model.short_hash}


def _listed(listed: ListedModel) -> dict[str, Any]:
    card = listed.page.card
    told = card.model_dump(include={"trigger_words", "negative_words", "weight", "base_model"})
    return {**_shown(listed.model), **told, "has_preview": listed.page.has_preview}


def _with_page(model: ModelInfo, page: ModelPage) -> dict[str, Any]:
    return {**_shown(model), **page.model_dump(mode="json")}
