"""The outermost ASGI layer: whatever lies behind it, a request passes here first.

In this order: header size, Host (DNS rebinding), Origin and fetch metadata (other web pages), log-in, body size. On
the way out it adds the security headers, and turns what nobody caught into a 500 with an id that is in the log.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import MutableMapping
from dataclasses import dataclass
from typing import Any
from weakref import WeakSet

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from webui.api.access import Accounts
from webui.api.login import Doorkeeper
from webui.api.origins import HostList, is_same_origin, read_authority, read_origin
from webui.config import Config

log = logging.getLogger("easel.api")

MAX_BODY = 64 * 1024 * 1024  # bytes
MAX_HEADERS = 200
MAX_HEADER_BYTES = 64 * 1024
BODY_SILENCE = 60.0  # seconds a sender may pause in the middle of a body

PAGES = frozenset({"/", "/login", "/docs"})  # where a link on another site may lead

CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'self'",
        "script-src 'self' 'unsafe-inline' 'unsafe-eval'",  # Gradio compiles templates in the page
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "media-src 'self' data: blob:",
        "font-src 'self' data:",
        "connect-src 'self' data: blob:",
        "worker-src 'self' blob:",
        "object-src 'none'",
        "base-uri 'self'",
        "form-action 'self'",
        "frame-ancestors 'self'",
    )
)
SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "X-Frame-Options": "SAMEORIGIN",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
}


@dataclass(frozen=True)
class Refusal:
    """Why a request goes no further."""

    status: int
    detail: str
    headers: tuple[tuple[str, str], ...] = ()

    def response(self) -> Response:
        body = {"error": "Refused", "detail": self.detail, "body": "", "errors": ""}
        return JSONResponse(body, self.status, dict(self.headers))


class Gate:
    """Wraps the whole site."""

    def __init__(self, app: ASGIApp, config: Config) -> None:
        self._app = app
        self._hosts = HostList(config.host, config.allowed_hosts)
        self._any_origin = "*" in config.cors_origins
        self._origins = {origin for text in config.cors_origins if (origin := read_origin(text.rstrip("/")))}
        self._doorkeeper = Doorkeeper(Accounts(config.gradio_auth), Accounts(config.api_auth))
        self._bodies: WeakSet[_LimitedBody] = WeakSet()
        self._is_closed = False

    def close(self) -> None:
        """Tell all answers that still stream that nobody listens any more. Call it in the loop that serves."""
        self._is_closed = True
        for body in list(self._bodies):
            body.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        refusal = _check_size(scope) or self._check_host(headers) or self._check_origin(scope, headers)
        send = _finishing(send, self._cross_origin_headers(headers) if refusal is None else {})
        if refusal is not None:
            await _refuse(refusal, scope, receive, send)
        elif _is_preflight(scope, headers):
            await Response(status_code=204)(scope, receive, send)
        elif scope["type"] == "http" and scope["path"] == "/healthz":
            await JSONResponse({"status": "ok"})(scope, receive, send)
        else:
            body = _LimitedBody(scope, headers, receive, send)
            self._bodies.add(body)
            if self._is_closed:
                body.close()
            await self._enter(scope, body)

    async def _enter(self, scope: Scope, body: _LimitedBody) -> None:
        if body.declared_too_large:
            await _refuse(TOO_LARGE, scope, body.receive, body.send)
            return
        answer = await self._doorkeeper.answer(scope, body.receive)
        if isinstance(answer, Response) and scope["type"] == "http":
            await answer(scope, body.receive, body.send)
        elif answer is not None:
            await _refuse(Refusal(401, "Not logged in."), scope, body.receive, body.send)
        else:
            await self._call(scope, body)

    async def _call(self, scope: Scope, body: _LimitedBody) -> None:
        try:
            await self._app(scope, body.receive, body.send)
        except Exception:
            if "easel.error_id" in scope:  # api.errors has logged it and answered
                return
            error_id = secrets.token_hex(4)
            log.exception("Error %s: %s %s", error_id, scope.get("method", "WEBSOCKET"), scope["path"])
            if not body.has_answered and scope["type"] == "http":
                await internal_error(error_id)(scope, body.receive, body.send)
        if body.refusal is not None and not body.has_answered:
            await body.refusal.response()(scope, body.receive, body.pass_on)

    def _check_host(self, headers: Headers) -> Refusal | None:
        hosts = headers.getlist("host")
        if len(hosts) != 1:
            return Refusal(400, "A request must carry one Host header.")
        authority = read_authority(hosts[0])
        if authority is None or not self._hosts.accept(authority):
            return Refusal(
                403, "This server does not answer to that host name. If it should, start it with --allowed-hosts NAME."
            )
        return None

    def _check_origin(self, scope: Scope, headers: Headers) -> Refusal | None:
        origins = headers.getlist("origin")
        if origins:
            return None if all(self._accept_origin(text, headers) for text in origins) else _FOREIGN_PAGE
        site = headers.get("sec-fetch-site", "none")
        if site in ("same-origin", "none") or _is_page_visit(scope, headers):
            return None
        return _FOREIGN_PAGE

    def _accept_origin(self, text: str, headers: Headers) -> bool:
        origin = read_origin(text)  # None for "null": a sandboxed or unreadable origin is a foreign one
        server = read_authority(headers["host"])
        if origin is None or server is None:
            return False
        return is_same_origin(origin, server) or origin in self._origins or self._any_origin

    def _cross_origin_headers(self, headers: Headers) -> dict[str, str]:
        """Return what lets a page of a configured other origin read the answer."""
        text = headers.get("origin", "")
        origin, server = read_origin(text), read_authority(headers.get("host", ""))
        if origin is None or server is None or is_same_origin(origin, server):
            return {}
        allowed = {
            "Access-Control-Allow-Origin": text,
            "Access-Control-Allow-Methods": "GET, POST, OPTIONS",
            "Access-Control-Allow-Headers": headers.get("access-control-request-headers", "Content-Type"),
            "Access-Control-Max-Age": "600",
        }
        if origin in self._origins:  # "*" lets pages in, but never with the user's cookie
            allowed["Access-Control-Allow-Credentials"] = "true"
        return allowed


_FOREIGN_PAGE = Refusal(
    403, "Web pages of another origin may not use this server. To allow one, start it with --cors-allow-origins ORIGIN."
)
TOO_LARGE = Refusal(
    413, f"The request is larger than {MAX_BODY // 1024**2} MB. Send less at once.", (("Connection", "close"),)
)
TOO_SLOW = Refusal(408, f"The request body did not go on for {BODY_SILENCE:.0f} s.", (("Connection", "close"),))


def internal_error(error_id: str) -> Response:
    """Return the answer to what nobody foresaw: an id to find it in the log, and nothing of the inside."""
    detail = f"Something went wrong in the server. The log has the details under {error_id}."
    return JSONResponse({"error": "InternalError", "detail": detail, "body": "", "errors": error_id}, 500)


def _check_size(scope: Scope) -> Refusal | None:
    headers = scope["headers"]
    if len(headers) > MAX_HEADERS or sum(len(name) + len(value) for name, value in headers) > MAX_HEADER_BYTES:
        return Refusal(431, "The request has too many or too long headers.")
    return None


def _is_preflight(scope: Scope, headers: Headers) -> bool:
    return (
        scope["type"] == "http"
        and scope["method"] == "OPTIONS"
        and "origin" in headers
        and "access-control-request-method" in headers
    )


def _is_page_visit(scope: Scope, headers: Headers) -> bool:
    """Return whether the user followed a link from elsewhere to one of the pages."""
    return (
        scope["type"] == "http"
        and scope["method"] in ("GET", "HEAD")
        and scope["path"] in PAGES
        and headers.get("sec-fetch-mode") == "navigate"
        and headers.get("sec-fetch-dest") == "document"
    )


async def _refuse(refusal: Refusal, scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008, "reason": refusal.detail[:100]})
    else:
        await refusal.response()(scope, receive, send)


def _finishing(send: Send, cross_origin: dict[str, str]) -> Send:
    """Return a `send` that adds our headers; of cross-origin permissions only ours remain."""

    async def finish(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=_with_header_list(message))
            for name in [name for name in headers if name.startswith("access-control-")]:
                del headers[name]
            for name, value in SECURITY_HEADERS.items():
                headers.setdefault(name, value)
            if cross_origin:
                headers.update(cross_origin)
                headers.add_vary_header("Origin")
            del headers["server"]
        await send(message)

    return finish


def _with_header_list(message: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    message["headers"] = list(message.get("headers", ()))  # ASGI allows any iterable, Starlette edits a list
    return message


class _LimitedBody:
    """`receive` and `send` of one request, cutting off a body that grows past the limit or stops arriving."""

    def __init__(self, scope: Scope, headers: Headers, receive: Receive, send: Send) -> None:
        length = headers.get("content-length", "0")
        self.declared_too_large = length.isdecimal() and int(length[:20]) > MAX_BODY
        self.refusal: Refusal | None = None
        self.has_answered = False
        self.pass_on = send
        self._receive = receive
        self._closing = asyncio.Event()
        self._received = 0
        self._is_socket = scope["type"] != "http"
        self._is_complete = self._is_socket  # a web socket has no body, and may be silent

    def close(self) -> None:
        self._closing.set()

    async def receive(self) -> Message:
        if self.refusal is not None:
            return {"type": "http.disconnect"}
        message = await self._next()
        if message["type"] == "http.request":
            self._received += len(message.get("body", b""))
            self._is_complete = not message.get("more_body", False)
            if self._received > MAX_BODY:
                self.refusal = TOO_LARGE
        return {"type": "http.disconnect"} if self.refusal is not None else message

    async def _next(self) -> Message:
        if self._is_complete:
            return await self._receive_or_close()
        try:
            return await asyncio.wait_for(self._receive(), BODY_SILENCE)
        except asyncio.TimeoutError:
            self.refusal = TOO_SLOW
            return {"type": "http.disconnect"}

    async def _receive_or_close(self) -> Message:
        """Wait for the other side to go, or for us to: a stream would otherwise outlive the server's patience."""
        receiving = asyncio.ensure_future(self._receive())
        closing = asyncio.ensure_future(self._closing.wait())
        try:
            await asyncio.wait((receiving, closing), return_when=asyncio.FIRST_COMPLETED)
            if receiving.done():
                return receiving.result()
            return {"type": "websocket.disconnect", "code": 1001} if self._is_socket else {"type": "http.disconnect"}
        finally:
            for waiting in (receiving, closing):
                waiting.cancel()

    async def send(self, message: Message) -> None:
        # What the app says about a body we cut off is beside the point; the gate answers then.
        if self.refusal is not None and not self.has_answered:
            return
        if message["type"] == "http.response.start":
            self.has_answered = True
        await self.pass_on(message)
