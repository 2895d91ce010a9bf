"""The routes of extensions: each in a thread, with JSON in and out, and errors told as those of all other routes."""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from webui.api.errors import PlainJSONResponse
from webui.errors import BadRequest
from webui.studio import Studio

log = logging.getLogger("easel.extensions")

CONTAINED = {"X-Content-Type-Options": "nosniff", "Content-Security-Policy": "sandbox"}
"""What a file of an extension is sent with: it is data, whatever it says it is."""


def add_extension_routes(app: FastAPI, studio: Studio) -> None:
    """Answer the paths that extensions have registered; none of them hides one that is there already."""
    known = [route for route in app.router.routes if isinstance(route, Route)]
    taken = {(method, route.path) for route in known for method in route.methods or ()}
    for number, (name, route) in enumerate(studio.extension_routes()):
        if (route.method, route.path) in taken:
            log.warning("Extension %s: the path %s is taken; its route is left out.", name, route.path)
            continue
        taken.add((route.method, route.path))
        app.add_api_route(
            route.path,
            _endpoint(studio, number),
            methods=[route.method],
            description=route.description or f"A route of the extension {name}.",
            response_model=None,
        )


def _endpoint(studio: Studio, number: int) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        query = {**request.query_params, **request.path_params}
        body = _read_json(await request.body())
        answered = await run_in_threadpool(studio.answer_route, number, query, body)
        if answered.media_type:
            return Response(answered.content, media_type=answered.media_type, headers=CONTAINED)
        return PlainJSONResponse(answered.value)

    return answer


def _read_json(body: bytes) -> Any:
    try:
        return json.loads(body) if body else None
    except (ValueError, RecursionError) as error:
        raise BadRequest("What was sent is not JSON.", hint="Send a JSON object.", field="body") from error
