"""The whole site in this process: real queue, database, catalog and files; the stub runner in place of a network."""

from __future__ import annotations

import json
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from starlette.testclient import TestClient
from starlette.types import ASGIApp

from webui.api.app import build_api
from webui.api.gate import Gate
from webui.app import EXTENSIONS, build_studio, extension_homes, start_extensions
from webui.config import Config, parse, prepare
from webui.domain.jobs import JobView
from webui.extending.ledger import Ledger
from webui.extending.loader import load_extensions
from webui.extending.startup import Started
from webui.jobs.stub_runner import StubRunner
from webui.studio import Studio

URL = "http://127.0.0.1:7860"
COMPONENT_CONFIGS: dict[str, dict[str, Any]] = {
    "unet": {"in_channels": 4, "out_channels": 4, "cross_attention_dim": 8},
    "vae": {"latent_channels": 4, "block_out_channels": [1, 1, 1, 1]},
    "text_encoder": {"hidden_size": 8},
}


def make_model(folder: Path, name: str) -> Path:
    """Write a diffusers folder that is a valid SD1 model by all its headers and holds almost no weights."""
    model = folder / name
    classes = {"unet": "UNet2DConditionModel", "vae": "AutoencoderKL", "text_encoder": "CLIPTextModel"}
    index = {part: ["diffusers", kind] for part, kind in {**classes, "tokenizer": "CLIPTokenizer"}.items()}
    _write_json(model / "model_index.json", {"_class_name": "StableDiffusionPipeline", **index})
    for part, config in COMPONENT_CONFIGS.items():
        _write_json(model / part / "config.json", config)
        stem = "model" if part == "text_encoder" else "diffusion_pytorch_model"
        _write_tensor(model / part / f"{stem}.safetensors", name)
    _write_json(model / "scheduler" / "scheduler_config.json", {})
    letters = [chr(code) + end for code in range(33, 127) for end in ("", "</w>")]
    tokens = [*letters, "<|startoftext|>", "<|endoftext|>"]  # so each letter is a token
    _write_json(model / "tokenizer" / "vocab.json", {token: number for number, token in enumerate(tokens)})
    (model / "tokenizer" / "merges.txt").write_text("#version: 0.2\n")
    return model


def _write_json(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def _write_tensor(path: Path, name: str) -> None:
    values = name.encode().ljust(64, b"\0")[:64]
    header = json.dumps({"weight": {"dtype": "U8", "shape": [64], "data_offsets": [0, 64]}}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + values)


def configure(data_dir: Path, *flags: str) -> Config:
    return parse(["--data-dir", str(data_dir), "--stub-runner", "--nowebui", *flags], {})


@dataclass
class Site:
    """A running studio behind the gate. `client` speaks to it without a socket."""

    config: Config
    studio: Studio
    app: ASGIApp
    client: TestClient

    def generate(self, **fields: object) -> JobView:
        """Run one small job to its end."""
        body = {"prompt": "a red circle", "width": 64, "height": 64, "steps": 2, "seed": 1, **fields}
        answer = self.client.post("/api/v2/jobs", json=body)
        assert answer.status_code == 202, answer.text
        return self.studio.wait(answer.json()["id"])


@contextmanager
def open_site(
    data_dir: Path,
    *flags: str,
    delay: float = 0.0,
    models: tuple[str, ...] = ("tiny",),
    runner: StubRunner | None = None,
    extensions: Path = EXTENSIONS,
) -> Iterator[Site]:
    """Build a site in `data_dir` with these models; `delay` is the seconds per step of the stub, if no `runner` is
    given. `extensions` is the folder they are loaded from."""
    config = configure(data_dir, *flags)
    prepare(config)
    for name in models:
        make_model(config.checkpoint_dirs[0], name)
    if extensions == EXTENSIONS:
        started = start_extensions(config)
    else:
        homes = extension_homes(config)
        started = Started(homes, Ledger(homes.ledger), load_extensions(extensions))
    studio = build_studio(config, runner or StubRunner(delay), started)
    studio.start()
    app = Gate(build_api(studio, config), config)
    try:
        with TestClient(app, base_url=URL, raise_server_exceptions=False, follow_redirects=False) as client:
            yield Site(config, studio, app, client)
    finally:
        studio.release_followers()
        studio.stop()


@contextmanager
def serve(app: ASGIApp) -> Iterator[str]:
    """Serve `app` by uvicorn on a free loopback port, in a thread; yield its address."""
    server = uvicorn.Server(
        uvicorn.Config(app, port=0, log_level="critical", server_header=False, timeout_graceful_shutdown=2)
    )
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_until(lambda: server.started)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()


def wait_until(condition: Callable[[], object]) -> None:
    """Return once `condition()` is true; fail after a time that only something broken takes."""
    waiting = threading.Event()
    for _ in range(6000):
        if condition():
            return
        waiting.wait(0.01)
    raise AssertionError("waited in vain")


def browser(url: str) -> httpx.Client:
    return httpx.Client(base_url=url, timeout=60)
