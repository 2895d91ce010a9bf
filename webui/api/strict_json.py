"""Request bodies as strict JSON: no NaN, no Infinity, no number that becomes one, no text too deep to read."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response


def read_json(text: str) -> Any:
    """Return the value of a JSON text; raise `json.JSONDecodeError` for everything that JSON does not allow."""

    def read_float(digits: str) -> float:
        number = float(digits)
        if not math.isfinite(number):
            raise json.JSONDecodeError(f"the number {digits[:40]} is too large", text, 0)
        return number

    def read_int(digits: str) -> int:
        if len(digits) > 400:  # Python refuses more than 4300 with an error of another kind
            raise json.JSONDecodeError("a number has too many digits", text, 0)
        return int(digits)

    def refuse(name: str) -> float:
        raise json.JSONDecodeError(f"{name} is not JSON", text, 0)

    try:
        return json.loads(text, parse_float=read_float, parse_int=read_int, parse_constant=refuse)
    except RecursionError:
        raise json.JSONDecodeError("the text is nested too deeply", text, 0) from None


class StrictRequest(Request):
    async def json(self) -> Any:
        if not hasattr(self, "_strict_json"):
            body = await self.body()
            try:
                text = body.decode("utf-8-sig")
            except UnicodeDecodeError as error:
                raise json.JSONDecodeError("the text is not UTF-8", "", error.start) from None
            self._strict_json = read_json(text)
        return self._strict_json


class StrictRoute(APIRoute):
    """A route whose body is read by `StrictRequest`."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handle_strictly(request: Request) -> Response:
            return await handle(StrictRequest(request.scope, request.receive))

        return handle_strictly
