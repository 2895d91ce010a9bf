"""Puts our scripts and styles first in the page's head, where they run before Gradio, and compresses the page."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping, Sequence
from html import escape

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from webui.ui.static_files import StaticFiles

COMPRESSION = 5


def page_head(
    files: StaticFiles, facts: Mapping[str, object], scripts: Sequence[str] = (), sheets: Sequence[str] = ()
) -> str:
    """Return the tags for the head. `facts` reach the scripts as JSON in `#easel-page`.

    `scripts` and `sheets` are addresses of extensions' files. Their scripts run after ours and before anything else,
    each by itself, so that one that fails stops no other.
    """
    data = json.dumps(facts, ensure_ascii=False).replace("<", "\\u003c")
    styles = "".join(f'<link rel="stylesheet" href="{files.url(name)}">' for name in files.names(".css"))
    preload = "".join(f'<link rel="modulepreload" href="{files.url(name)}">' for name in files.names(".js"))
    return (
        f'<script type="application/json" id="easel-page">{data}</script>'
        f'{styles}{preload}<script type="module" src="{files.url("main.js")}"></script>'
        + "".join(f'<link rel="stylesheet" href="{escape(address)}">' for address in sheets)
        + "".join(_script(address) for address in scripts)
    )


def _script(address: str) -> str:
    """Return the tag of an extension's script. Deferred ones and modules run in the order in which they stand."""
    is_module = address.partition("?")[0].endswith(".mjs")
    return f'<script {"type=module" if is_module else "defer"} src="{escape(address)}"></script>'


class InjectHead:
    """ASGI middleware: inserts `html` after `<head>` of the page at "/" and gzips it."""

    def __init__(self, app: ASGIApp, html: str) -> None:
        self._app = app
        self._html = html.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_page = scope["type"] == "http" and scope["method"] == "GET" and scope["path"] in ("", "/")
        if not is_page:
            await self._app(scope, receive, send)
            return
        accepts_gzip = any(name == b"accept-encoding" and b"gzip" in value for name, value in scope["headers"])
        start: Message = {}
        body = bytearray()

        async def collect(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start":
                start = message
                return
            body.extend(message.get("body", b""))
            if not message.get("more_body", False):
                headers, content = self._rewrite(dict(start["headers"]), bytes(body), accepts_gzip)
                await send({**start, "headers": list(headers.items())})
                await send({"type": "http.response.body", "body": content})

        await self._app(scope, receive, collect)

    def _rewrite(self, headers: dict[bytes, bytes], body: bytes, gzipped: bool) -> tuple[dict[bytes, bytes], bytes]:
        headers = {name.lower(): value for name, value in headers.items()}
        if headers.get(b"content-type", b"").startswith(b"text/html") and b"content-encoding" not in headers:
            body = body.replace(b"<head>", b"<head>" + self._html, 1)
            headers[b"cache-control"] = b"no-cache"
            headers[b"vary"] = b"accept-encoding"
            if gzipped:
                body = gzip.compress(body, COMPRESSION)
                headers[b"content-encoding"] = b"gzip"
            headers[b"content-length"] = str(len(body)).encode()
        return headers, body
