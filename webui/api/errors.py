"""Errors as JSON: A1111's four keys, with `detail` saying what was wrong and what to do. Nothing of the inside."""

from __future__ import annotations

import json
import logging
import math
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from webui.api.gate import internal_error
from webui.config import Config
from webui.domain.events import Failed
from webui.errors import Busy, EaselError, error_called

log = logging.getLogger("easel.api")

RETRY_AFTER = "5"  # seconds
MAX_SHOWN_INPUT = 200  # characters of a wrong value that are sent back

NO_FIELDS = ("body", "generate", "upscale")
"""Parts of a place that no sender wrote: where the value came from, and which kind of request it was taken for."""


class PlainJSONResponse(JSONResponse):
    """JSON for anything a client may have sent: half a surrogate pair becomes `?`, not an error of our own."""

    def render(self, content: Any) -> bytes:
        return json.dumps(content, allow_nan=False, ensure_ascii=False, separators=(",", ":")).encode(
            "utf-8", "replace"
        )


def add_error_handlers(app: FastAPI, config: Config) -> None:
    """Make `app` answer every error as JSON. Paths below the data folder are shown relative to it."""
    prefix = f"{config.data_dir}/"

    async def answer_easel_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, EaselError)
        if error.status >= 500 and not isinstance(error, Busy):
            return _logged(error, prefix)
        headers = {"Retry-After": RETRY_AFTER} if isinstance(error, Busy) else None
        return _answer(error.status, type(error).__name__, describe(error, prefix), error.message, headers)

    async def answer_http_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return _answer(error.status_code, "HTTPException", error.detail, "", error.headers)

    async def answer_invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        problems = [_shown_problem(problem) for problem in error.errors()]
        text = "; ".join(describe_problem(problem) for problem in problems)
        # A1111's clients expect FastAPI's list; ours read text everywhere.
        detail = problems if request.url.path.startswith("/sdapi/") else text
        return _answer(422, "RequestValidationError", detail, text)

    async def answer_unforeseen(request: Request, error: Exception) -> Response:
        error_id = secrets.token_hex(4)
        request.scope["easel.error_id"] = error_id
        log.error("Error %s: %s %s", error_id, request.method, request.url.path, exc_info=error)
        return internal_error(error_id)

    app.add_exception_handler(EaselError, answer_easel_error)
    app.add_exception_handler(HTTPException, answer_http_error)
    app.add_exception_handler(RequestValidationError, answer_invalid)
    app.add_exception_handler(Exception, answer_unforeseen)


def describe(error: EaselError, prefix: str = "") -> str:
    """Return what was wrong, at which field, and what to do."""
    text = str(error)
    if error.field and error.field.lower() not in error.message.lower():
        text = f"{error.field}: {text}"
    return text.replace(prefix, "") if prefix else text


def failure_of_job(failed: Failed) -> EaselError:
    """Return the error that ended a job, as it was raised in the worker."""
    return error_called(failed.code)(failed.message, hint=failed.hint)


def describe_problem(problem: Mapping[str, Any]) -> str:
    """Return one of FastAPI's problems as `field: what is wrong`."""
    where = ".".join(str(part) for part in problem["loc"] if part not in NO_FIELDS)
    return f"{where or 'body'}: {problem['msg']}"


def _logged(error: EaselError, prefix: str) -> Response:
    error_id = secrets.token_hex(4)
    log.error("Error %s: %s: %s", error_id, type(error).__name__, error, exc_info=error.__cause__)
    return _answer(error.status, type(error).__name__, describe(error, prefix), f"The log has more under {error_id}.")


def _answer(
    status: int, kind: str, detail: object, summary: str, headers: Mapping[str, str] | None = None
) -> PlainJSONResponse:
    body = {"error": kind, "detail": detail, "body": "", "errors": summary}
    return PlainJSONResponse(body, status, dict(headers) if headers else None)


def _shown_problem(problem: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parts of a problem that are safe and short enough to send back."""
    loc: Sequence[Any] = problem["loc"]
    message = str(problem["msg"])
    if problem["type"] == "json_invalid":
        message = f"{message}: {problem.get('ctx', {}).get('error', '')}"
    shown: dict[str, Any] = {
        "type": problem["type"],
        "loc": [part if isinstance(part, int) else str(part)[:MAX_SHOWN_INPUT] for part in loc],
        "msg": message[: 5 * MAX_SHOWN_INPUT],
    }
    wrong = problem.get("input")
    if isinstance(wrong, str):
        shown["input"] = wrong[:MAX_SHOWN_INPUT]
    elif wrong is None or isinstance(wrong, bool) or (isinstance(wrong, int | float) and abs(wrong) < 1e18):
        shown["input"] = wrong if not isinstance(wrong, float) or math.isfinite(wrong) else str(wrong)
    return shown
