"""The composition root: which port is taken, and what the user is told."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from webui.app import address, bind
from webui.config import parse
from webui.errors import Busy


@pytest.fixture
def taken() -> socket.socket:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        yield holder


def test_a_taken_default_port_leads_to_the_next_free_one(taken: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    port = taken.getsockname()[1]
    monkeypatch.setattr("webui.config.DEFAULT_PORT", port)
    config = parse(["--data-dir", str(Path.cwd())], {})
    assert config.port == port
    with bind(config) as listener:
        assert port < listener.getsockname()[1] <= port + 100
        assert address(config, listener) == f"http://127.0.0.1:{listener.getsockname()[1]}"


def test_a_taken_port_that_was_asked_for_is_an_error_naming_a_free_one(taken: socket.socket) -> None:
    port = taken.getsockname()[1]
    with pytest.raises(Busy, match=f"Port {port} .* cannot be used: .*--port {port + 1}|--port"):
        bind(parse(["--port", str(port)], {}))
