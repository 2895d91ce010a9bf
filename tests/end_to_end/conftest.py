"""Servers shared by the end-to-end tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.serving import RunningServer, run_server


@pytest.fixture(scope="session")
def pocket_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """The real thing: server, worker process, pocket model."""
    with run_server(tmp_path_factory.mktemp("pocket")) as server:
        server.wait_for_worker()
        yield server
