"""Builds the API as one FastAPI application. The gate goes around it, the UI inside it."""

from __future__ import annotations

import html
from collections.abc import Sequence

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.routing import Match, Route
from starlette.types import ASGIApp, Receive, Scope, Send

import webui
from webui.api.a1111 import router as a1111
from webui.api.errors import PlainJSONResponse, add_error_handlers
from webui.api.extension_routes import add_extension_routes
from webui.api.following import Followers
from webui.api.v2 import routes as v2
from webui.config import Config
from webui.studio import Studio

AREAS = ("/sdapi", "/api", "/internal")
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


def build_api(studio: Studio, config: Config) -> FastAPI:
    """Return the site without its UI: A1111's API, the product's own, and a list of both at /docs."""
    app = FastAPI(
        title="Easel",
        version=webui.__version__,
        docs_url=None,  # FastAPI's own pages load their scripts from the internet
        redoc_url=None,
        default_response_class=PlainJSONResponse,
    )
    followers = Followers(studio)
    add_error_handlers(app, config)
    routers = (a1111.build_router(studio, followers), v2.build_router(studio, followers))
    for router in routers:
        app.include_router(router)
    app.add_api_route("/docs", lambda: HTMLResponse(_list_routes(app)), include_in_schema=False)
    add_extension_routes(app, studio)
    _close_areas(app, [route for router in routers for route in router.routes if isinstance(route, Route)])
    app.add_middleware(_WithoutTrailingSlash)
    return app


def _close_areas(app: FastAPI, known: Sequence[Route]) -> None:
    """Answer for every other path below AREAS, lest it fall through to the UI mounted at `/`."""

    def refuse(request: Request, rest: str) -> None:
        for route in known:
            match, _ = route.matches(request.scope)
            if match is Match.PARTIAL:  # the path exists, the method does not
                raise HTTPException(405, "Method Not Allowed", {"Allow": ", ".join(sorted(route.methods or ()))})
        raise HTTPException(404, "Not Found")

    for area in AREAS:
        app.add_api_route(area + "/{rest:path}", refuse, methods=METHODS, include_in_schema=False)


class _WithoutTrailingSlash:
    """Lets `/sdapi/v1/txt2img/` mean `/sdapi/v1/txt2img`: some clients write it so, and a redirect loses their body."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].startswith(tuple(f"{area}/" for area in AREAS)):
            scope["path"] = scope["path"].rstrip("/")
        await self._app(scope, receive, send)


def _list_routes(app: FastAPI) -> str:
    rows = "\n".join(
        f"<tr><td>{method.upper()}<td><code>{html.escape(path)}</code><td>{html.escape(operation['description'])}"
        for path, operations in app.openapi()["paths"].items()
        for method, operation in operations.items()
    )
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Easel API</title>'
        "<style>:root{color-scheme:light dark;font:16px/1.5 system-ui}td{padding:.2rem 1rem .2rem 0}</style>"
        '<h1>Easel API</h1><p>The full description is in <a href="openapi.json">openapi.json</a>.'
        f"<table>{rows}</table></html>"
    )
