"""P02 and P10 again, on the real server with Gradio inside: its own routes must not be a second door."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from tests.serving import RunningServer, run_server

PATHS = ["/", "/config", "/gradio_api/info", "/gradio_api/queue/status", "/theme.css", "/gradio_api/startup-events"]
INSIDE = ("ann", "secret")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("whole")
    with run_server(folder, "--stub-runner", "--gradio-auth=ann:secret", models=None) as running:
        yield running


@pytest.mark.parametrize("path", PATHS)
def test_p10_gradios_routes_need_the_password(server: RunningServer, path: str) -> None:
    assert httpx.get(server.url + path).status_code == 401
    assert httpx.get(server.url + path, auth=INSIDE).status_code in (200, 405)


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:99999"])
def test_p02_gradios_upload_takes_nothing_from_other_pages(server: RunningServer, origin: str) -> None:
    def uploaded() -> set[str]:
        return {str(path) for path in server.outputs.rglob("*") if path.name == "canary.txt"}

    url, files = f"{server.url}/gradio_api/upload", {"files": ("canary.txt", origin.encode())}
    before = uploaded()
    assert httpx.post(url, files=files, auth=INSIDE, headers={"Origin": origin}).status_code == 403
    assert uploaded() == before
    assert httpx.post(url, files=files, auth=INSIDE).status_code == 200
    assert len(uploaded()) == len(before) + 1


def test_the_ui_does_not_swallow_the_api(server: RunningServer) -> None:
    missing = httpx.post(f"{server.url}/sdapi/v1/server-stop", auth=INSIDE, json={})
    assert (missing.status_code, missing.json()["detail"]) == (404, "Not Found")
    assert httpx.get(f"{server.url}/sdapi/v1/options/", auth=INSIDE).json()["samples_save"] is True
