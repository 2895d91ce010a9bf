"""Serves the files of extensions that browsers may have; which these are is decided in `webui.extending.assets`."""

from __future__ import annotations

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from webui.studio import Studio

ALLOWED = ("GET", "HEAD")


class ExtensionFiles:
    """An ASGI application answering `/<extension>/<path>`."""

    def __init__(self, studio: Studio) -> None:
        self._studio = studio

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        path = scope["path"][len(scope.get("root_path", "")) :]
        response = await run_in_threadpool(self._respond, Request(scope), path)
        await response(scope, receive, send)

    def _respond(self, request: Request, path: str) -> Response:
        if request.method not in ALLOWED:
            return Response(status_code=405, headers={"Allow": ", ".join(ALLOWED)})
        name, _, rest = path.lstrip("/").partition("/")
        asset = self._studio.assets.read(name, rest)
        if asset is None:
            return Response("Not found", status_code=404, media_type="text/plain")
        headers = {"Cache-Control": "no-cache", "ETag": f'"{asset.tag}"', "X-Content-Type-Options": "nosniff"}
        if asset.tag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        return Response(asset.content, media_type=asset.media_type, headers=headers)
