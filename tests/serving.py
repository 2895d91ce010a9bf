"""A real Easel server in its own process and data folder, for tests that look at it from outside."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx

ROOT = Path(__file__).resolve().parents[1]
POCKET = ROOT / "models" / "Stable-diffusion" / "pocket-sd1"
Result = TypeVar("Result")
PATIENCE = 180.0  # seconds; only ever reached when something is broken


def run_async(coroutine: Coroutine[Any, Any, Result]) -> Result:
    """Run a coroutine in a loop and thread of its own: once Playwright has started, this thread has a loop already."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, coroutine).result()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class RunningServer:
    """One server process. `log` is everything it wrote so far."""

    url: str
    data_dir: Path
    process: subprocess.Popen[bytes]
    log_file: Path

    @property
    def log(self) -> str:
        return self.log_file.read_text(errors="replace")

    @property
    def outputs(self) -> Path:
        return self.data_dir / "outputs"

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=PATIENCE)

    def wait_for_worker(self) -> None:
        """Return once the worker can take a job."""
        with self.client() as client:
            wait_until(lambda: client.get("/api/v2/status").json()["worker"] == "ready", "the worker to be ready", self)

    def stop(self, with_signal: int = signal.SIGTERM) -> int:
        self.process.send_signal(with_signal)
        return self.process.wait(timeout=60)


def wait_until(condition: object, what: str, server: RunningServer | None = None) -> None:
    """Wait until `condition()` is true; fail with the server's log after `PATIENCE` seconds."""
    assert callable(condition)
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if server and server.process.poll() is not None:
            raise AssertionError(f"The server ended while waiting for {what}:\n{server.log}")
        if time.monotonic() > deadline:
            raise AssertionError(f"Waited too long for {what}:\n{server.log if server else ''}")
        time.sleep(0.05)


@contextmanager
def run_server(data_dir: Path, *flags: str, models: Path | None = POCKET.parent) -> Iterator[RunningServer]:
    """Start `python -m webui` with `flags` on a free port; end it (and its worker) afterwards."""
    url = f"http://127.0.0.1:{(port := free_port())}"
    log_file = data_dir / "server.log"
    data_dir.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "webui", "--port", str(port), "--data-dir", str(data_dir), *flags]
    if models:
        command += ["--ckpt-dir", str(models)]
    with log_file.open("ab") as log:
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=log, stderr=log, env={**os.environ, "COMMANDLINE_ARGS": ""}
        )
    server = RunningServer(url, data_dir, process, log_file)
    try:
        wait_until(lambda: _answers(url), "the server to answer", server)
        yield server
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/healthz").status_code == 200
    except httpx.TransportError:
        return False
