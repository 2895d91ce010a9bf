"""A site that does nothing but count who got through the gate."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path

from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient
from starlette.types import Message, Receive, Scope, Send

from tests.api.site import URL, configure
from webui.api.gate import Gate


class Probe:
    """The handler behind the gate: reads the whole body, answers `in`, remembers the call."""

    def __init__(self) -> None:
        self.calls = 0
        self.received = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] != "lifespan", "a probe has no start and no end"
        self.calls += 1
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.accept"})
            await send({"type": "websocket.close", "code": 1000})
            return
        while True:
            message = await receive()
            self.received += len(message.get("body", b""))
            if not message.get("more_body"):
                break
        # A handler that believes in CORS middleware of its own must not open the gate.
        await PlainTextResponse("in", headers={"Access-Control-Allow-Origin": "*"})(scope, receive, send)


def guard(data_dir: Path, *flags: str) -> tuple[Probe, TestClient]:
    """Return a probe and a client that speaks to it through a gate started with `flags`."""
    probe = Probe()
    gate = Gate(probe, configure(data_dir, *flags))
    return probe, TestClient(gate, base_url=URL, follow_redirects=False)


def basic(name: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()}


async def call(app: Gate, scope: Scope, *messages: Message) -> list[Message]:
    """Send raw ASGI messages to `app`; return what it answered."""
    waiting = list(messages)
    sent: list[Message] = []

    async def receive() -> Message:
        return waiting.pop(0) if waiting else {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    await app(scope, receive, send)
    return sent


def scope_of(kind: str, path: str, headers: Mapping[str, str], method: str = "GET") -> Scope:
    return {
        "type": kind,
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": b"",
        "scheme": "ws" if kind == "websocket" else "http",
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 7860),
        "subprotocols": [],
    }
