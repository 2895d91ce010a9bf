"""Processes from outside: start, crash, second instance, clean exit. The worker here is the real one with torch."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.serving import POCKET, ROOT, RunningServer, run_server, wait_until


def workers(server: RunningServer) -> list[psutil.Process]:
    """The children that hold torch (spawn's resource tracker is no worker)."""
    return [
        child
        for child in psutil.Process(server.process.pid).children(recursive=True)
        if "spawn_main" in " ".join(child.cmdline())
    ]


def submit(server: RunningServer, **fields: object) -> str:
    with server.client() as client:
        answer = client.post("/api/v2/jobs", json={"prompt": "a red circle", "steps": 4, **fields})
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def state(server: RunningServer, job_id: str) -> str:
    with server.client() as client:
        return str(client.get(f"/api/v2/jobs/{job_id}").json()["state"])


def test_the_server_answers_while_the_worker_still_imports_torch(tmp_path: Path) -> None:
    with run_server(tmp_path, "--nowebui") as server, server.client() as client:
        assert client.get("/api/v2/status").json()["worker"] == "starting"
        job = submit(server)
        assert client.get("/sdapi/v1/samplers").status_code == 200
        wait_until(lambda: state(server, job) == "finished", "a job sent before the worker was ready", server)


def test_a_killed_worker_is_replaced_and_its_job_runs_again(tmp_path: Path) -> None:
    with run_server(tmp_path, "--nowebui") as server:
        job = submit(server, steps=60, batch_count=2)
        next_job = submit(server)
        wait_until(lambda: state(server, job) == "running" and _stepped(server, job), "the first step", server)
        workers(server)[0].kill()
        wait_until(lambda: state(server, job) == "finished", "the job to be done by a new worker", server)
        wait_until(lambda: state(server, next_job) == "finished", "the next job", server)
        with server.client() as client:
            view = client.get(f"/api/v2/jobs/{job}").json()
        assert view["attempts"] == 2
        assert [image["role"] for image in view["images"]] == ["image", "image", "sheet"]


@pytest.mark.parametrize("with_signal", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_server_and_worker_and_the_job_survives(tmp_path: Path, with_signal: int) -> None:
    with run_server(tmp_path, "--nowebui") as server:
        job = submit(server, steps=150, batch_count=20)
        wait_until(lambda: _stepped(server, job), "the first step", server)
        children = workers(server)
        assert children
        assert server.stop(with_signal) == 0
        assert not any(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in children)
        assert "Traceback" not in server.log
    with run_server(tmp_path, "--nowebui", "--stub-runner") as server:
        wait_until(lambda: state(server, job) == "finished", "the job to go on after the restart", server)


def test_a_signal_ends_the_streams_of_open_pages(tmp_path: Path) -> None:
    with run_server(tmp_path, "--stub-runner") as server, server.client() as client:
        with client.stream("GET", "/gradio_api/heartbeat/somebody") as heartbeat:
            assert heartbeat.status_code == 200
            assert server.stop(signal.SIGINT) == 0
        assert "Traceback" not in server.log and "Cancel" not in server.log, server.log


def test_a_second_instance_is_refused_with_the_address_of_the_first(tmp_path: Path) -> None:
    with run_server(tmp_path, "--nowebui", "--stub-runner") as server:
        second = subprocess.run(
            [sys.executable, "-m", "webui", "--nowebui", "--stub-runner", "--data-dir", str(tmp_path)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert second.returncode == 1
        assert server.url in second.stderr
        assert "Traceback" not in second.stderr


def test_the_server_process_never_holds_torch(tmp_path: Path) -> None:
    with run_server(tmp_path) as server:
        job = submit(server)
        wait_until(lambda: state(server, job) == "finished", "a job", server)
        mapped = {entry.path for entry in psutil.Process(server.process.pid).memory_maps()}
        assert not [path for path in mapped if "libtorch" in path]
        assert [path for child in workers(server) for path in _maps(child) if "libtorch" in path]


def test_without_any_model_a_job_is_refused_and_the_server_lives(tmp_path: Path) -> None:
    with run_server(tmp_path, "--nowebui", "--stub-runner", models=None) as server, server.client() as client:
        answer = client.post("/sdapi/v1/txt2img", json={"prompt": "a cat"})
        assert answer.status_code == 404
        assert "no usable checkpoint" in answer.text
        assert client.get("/healthz").status_code == 200


def test_a_truncated_model_is_refused_by_name_and_the_next_job_runs(tmp_path: Path) -> None:
    folder = tmp_path / "models" / "Stable-diffusion"
    folder.mkdir(parents=True)
    whole = (POCKET / "unet" / "diffusion_pytorch_model.safetensors").read_bytes()
    (folder / "half.safetensors").write_bytes(whole[: len(whole) // 2])
    with run_server(tmp_path, "--nowebui") as server, server.client() as client:
        answer = client.post("/api/v2/jobs", json={"prompt": "a cat", "model": "half"})
        assert answer.status_code == 422
        assert "half" in answer.text
        job = submit(server, model="pocket-sd1")
        wait_until(lambda: state(server, job) == "finished", "a job on the good model", server)


def _maps(process: psutil.Process) -> list[str]:
    return [entry.path for entry in process.memory_maps()]


def _stepped(server: RunningServer, job_id: str) -> bool:
    with server.client() as client:
        progress = client.get("/sdapi/v1/progress").json()
        return state(server, job_id) == "running" and float(progress["progress"]) > 0
