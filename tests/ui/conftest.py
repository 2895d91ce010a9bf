"""A real server with a page, paced by the test, and one Chromium for all browser tests."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, BrowserContext

from tests.api.site import make_model
from tests.serving import ROOT, free_port, wait_until
from tests.ui.chromium import Screen

POCKET_CARD = {
    "description": "A tiny model of coloured things.",
    "defaults": {
        "width": 128, "height": 128, "steps": 12, "guidance": 5.0, "sampler": "Euler a", "schedule": "Karras",
    },
    "examples": ["a red house under a yellow moon, night sky", "<b>a blue cat</b>"],
}  # fmt: skip
HOSTILE = "<img src=x onerror=window.hacked=1>"


class Site:
    """The server as the tests look behind the page: its API and its pace."""

    def __init__(self, url: str, data_dir: Path) -> None:
        self.url = url
        self.data_dir = data_dir
        self.client = httpx.Client(base_url=url, timeout=60)
        self._hold = data_dir / "hold"

    def hold_at(self, step: int) -> None:
        """Let no step from this one on begin, in any batch."""
        fresh = self._hold.with_suffix(".new")
        fresh.write_text(str(step))
        fresh.replace(self._hold)

    def release(self) -> None:
        self._hold.unlink(missing_ok=True)

    def jobs(self, limit: int = 50) -> list[dict[str, Any]]:
        answer: list[dict[str, Any]] = self.client.get("/api/v2/jobs", params={"limit": limit}).json()
        return answer

    def settings(self) -> dict[str, Any]:
        values: dict[str, Any] = self.client.get("/api/v2/settings").json()["values"]
        return values

    def change_settings(self, **changes: object) -> None:
        self.client.post("/api/v2/settings", json=changes).raise_for_status()

    def finish_all(self) -> None:
        self.release()
        for job in self.jobs():
            if job["state"] in ("queued", "running"):
                self.client.post(f"/api/v2/jobs/{job['id']}/interrupt")
        wait_until(lambda: not any(job["state"] in ("queued", "running") for job in self.jobs()), "the jobs to end")


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    data_dir = tmp_path_factory.mktemp("page")
    models = data_dir / "models" / "Stable-diffusion"
    (make_model(models, "pocket") / "easel.json").write_text(json.dumps(POCKET_CARD))
    make_model(models, "large")
    make_model(models, HOSTILE)
    (models / "broken.safetensors").write_bytes(b"this is no model")
    site, process = start_server(data_dir)
    try:
        yield site
    finally:
        site.client.close()
        process.terminate()
        process.wait(timeout=60)


def start_server(data_dir: Path) -> tuple[Site, subprocess.Popen[bytes]]:
    """Start a paced server over a data folder and wait until it answers."""
    port = free_port()
    command = [sys.executable, "-m", "tests.ui.paced_server", "--data-dir", str(data_dir), "--port", str(port)]
    with (data_dir / "server.log").open("ab") as log:
        process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)
    site = Site(f"http://127.0.0.1:{port}", data_dir)
    wait_until(lambda: _answers(site, process), "the server to answer")
    return site, process


def _answers(site: Site, process: subprocess.Popen[bytes]) -> bool:
    assert process.poll() is None, (site.data_dir / "server.log").read_text()
    try:
        return site.client.get("/healthz").status_code == 200
    except httpx.TransportError:
        return False


@pytest.fixture
def site(served: Site) -> Iterator[Site]:
    """The served site in its first state: pocket model, nothing running."""
    served.change_settings(sd_model_checkpoint="pocket", CLIP_stop_at_last_layers=1, samples_save=True)
    yield served
    served.finish_all()


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    opened = browser.new_context(viewport={"width": 1280, "height": 900}, locale="en-US")
    yield opened
    opened.close()


@pytest.fixture
def screen(site: Site, context: BrowserContext) -> Iterator[Screen]:
    """The page, loaded. At the end: no error on the console and no request to anybody else."""
    opened = Screen(context.new_page(), site.url)
    opened.open()
    yield opened
    opened.assert_clean()
