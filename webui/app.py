"""The composition root: builds every concrete object, joins them, serves, and closes them again."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
import time
import webbrowser
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

import uvicorn
from starlette.types import ASGIApp

from webui.api.app import build_api
from webui.api.gate import Gate
from webui.config import Config, parse, prepare
from webui.errors import Busy, EaselError
from webui.extending import startup
from webui.extending.features import Features
from webui.extending.in_worker import engine_factory
from webui.extending.installing.guard import refusal
from webui.extending.installing.installer import Installer
from webui.extending.loader import Extensions
from webui.extending.startup import Started
from webui.jobs.inputs import InputStore
from webui.jobs.instance import lock_data_folder
from webui.jobs.output import OutputFolder
from webui.jobs.queue import JobQueue
from webui.jobs.runner import Runner
from webui.jobs.store import JobStore
from webui.jobs.stub_runner import StubRunner
from webui.jobs.worker import ProcessRunner
from webui.prompt.styles import Styles
from webui.prompt.wildcards import Wildcards
from webui.settings import SettingsStore
from webui.shelf import Shelf
from webui.studio import Studio
from webui.weights.catalog.files import ModelFiles
from webui.weights.catalog.index import ModelIndex
from webui.weights.catalog.places import find_folders

log = logging.getLogger("easel")

PORTS_TO_TRY = 100
RESTART = -1  # what `serve` returns when the program is to be started anew
PATIENCE = 1.0  # seconds that a start or a refresh spends on new model files; what is left is read in the background
EXTENSIONS = Path(__file__).resolve().parent.parent / "extensions"


def main(arguments: Sequence[str]) -> int:
    """Run the server until it is told to stop; return the exit code."""
    began = time.monotonic()
    config = parse(arguments, os.environ)
    logging.basicConfig(
        level=config.log_level.upper(), format="%(asctime)s %(name)s %(levelname)s %(message)s", stream=sys.stderr
    )
    try:
        prepare(config)
        with bind(config) as listener:
            url = address(config, listener)
            with lock_data_folder(config.state_dir, url):
                code = serve(config, listener, url, began)
    except EaselError as error:
        print(f"Easel cannot start: {error}", file=sys.stderr)
        return 1
    if code == RESTART:
        words = [word for word in arguments if word != "--autolaunch"]  # the page is open already
        os.execv(sys.executable, [sys.executable, "-m", "webui", *words])
    return code


def bind(config: Config) -> socket.socket:
    """Return a socket that listens on the wanted port, or on the next free one when the user did not insist."""
    listener, reason = None, ""
    for port in range(config.port, min(65535, config.port + PORTS_TO_TRY) + 1):
        try:
            listener = _listen(config.host, port)
            break
        except OSError as error:
            reason = reason or error.strerror or str(error)
    if listener is not None and (port == config.port or not config.port_is_fixed):
        if port != config.port:
            log.warning("Port %d is taken; using the next free one, %d.", config.port, port)
        return listener
    if listener is not None:
        listener.close()
    free = f"--port {port}, which is free, or " if listener is not None else ""
    raise Busy(
        f"Port {config.port} on {config.host} cannot be used: {reason}.",
        hint=f"Start with {free}without --port, and the next free one is taken.",
    )


def _listen(host: str, port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        if os.name == "posix":  # on Windows the option would let two programs share the port
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(2048)
    except OSError:
        listener.close()
        raise
    return listener


def address(config: Config, listener: socket.socket) -> str:
    """Return the URL to type into a browser on this machine."""
    port = listener.getsockname()[1]
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(config.host, config.host)
    return f"http://{host}:{port}"


def start_extensions(config: Config) -> Started:
    """Load the program's extensions and, after a trial in processes of their own, the user's."""
    return startup.start_extensions(extension_homes(config), config.extensions)


def extension_homes(config: Config) -> startup.Homes:
    return startup.Homes(EXTENSIONS, config.extensions_dir, config.state_dir / "extensions")


def build_runner(config: Config, extensions: Extensions) -> Runner:
    """Build what carries jobs out; the worker loads those extensions again that went well here."""
    if config.runner == "stub":
        return StubRunner()
    return ProcessRunner(engine_factory(config, extensions.places), inputs_folder(config))


def inputs_folder(config: Config) -> Path:
    return config.state_dir / "inputs"


def build_studio(config: Config, runner: Runner, started: Started) -> Studio:
    """Build everything below the doors. Nothing is started yet."""
    extensions = started.extensions
    settings = SettingsStore(config.state_dir / "settings.json")
    index = ModelIndex(config.state_dir / "models.db")
    store = JobStore(f"sqlite:///{config.state_dir / 'easel.db'}")
    output = OutputFolder(config.outputs_dir, config.state_dir / "temporary")
    queue = JobQueue(store, runner, output)
    inputs = InputStore(inputs_folder(config))
    styles, wildcards = Styles(config.data_dir), Wildcards(config.data_dir / "wildcards")
    shelf = Shelf(
        ModelFiles.find(find_folders(config), index, config.state_dir / "cards", PATIENCE),
        inputs,
        styles,
        lambda: extensions.scripts,
        hint=f"Put a .safetensors file into {config.checkpoint_dirs[0]} and refresh.",
        features=Features(extensions.apis),
    )
    installer = Installer(started, refusal=refusal(config))
    studio = Studio(config, settings, shelf, queue, runner, inputs, styles, wildcards, extensions, installer)
    if config.checkpoint:
        studio.select_model(config.checkpoint)
    return studio


def build_site(config: Config, studio: Studio) -> Gate:
    """Join API and UI behind the gate."""
    site: ASGIApp = build_api(studio, config)
    if config.webui:
        from webui.ui.app import mount_ui  # importing gradio takes two seconds that an API-only server need not spend

        site = mount_ui(site, studio, config)
    return Gate(site, config)


def serve(config: Config, listener: socket.socket, url: str, began: float) -> int:
    """Serve until SIGINT or SIGTERM, then join the worker."""
    started = start_extensions(config)
    runner = build_runner(config, started.extensions)
    studio = build_studio(config, runner, started)
    studio.start()  # first of all: the worker imports torch while this process builds the site
    try:
        gate = build_site(config, studio)
        server = Server(
            uvicorn.Config(
                gate,
                limit_concurrency=1000,  # sockets that send their headers forever must not eat all memory
                log_level="warning",
                timeout_graceful_shutdown=3,
                server_header=False,
                lifespan="on",
            ),
            studio,
            gate,
        )
        if os.name == "posix":  # on Windows a new program cannot take the place of this one in its console
            studio.offer_restart(server.restart)
        log.info("Easel is ready at %s (%.1f s)", url, time.monotonic() - began)
        print(f"Easel is ready: {url}", flush=True)
        if config.autolaunch:
            webbrowser.open(url)
        server.run(sockets=[listener])
        return RESTART if server.is_restart_wanted else 0
    finally:
        studio.stop()


class Server(uvicorn.Server):
    """Ends followers, streams and the running job before the sockets close: Ctrl-C takes a second, not a minute."""

    def __init__(self, config: uvicorn.Config, studio: Studio, gate: Gate) -> None:
        super().__init__(config)
        self._studio = studio
        self._gate = gate
        self.is_restart_wanted = False

    def restart(self) -> None:
        """End, so that the program can be started anew."""
        self.is_restart_wanted = True
        self.handle_exit(signal.SIGTERM, None)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._gate.close()
        await super().shutdown(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        # without super(): uvicorn raises the signal again once it is done, before the worker could be joined
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = True
        # in a thread: this runs inside a signal handler, which may have interrupted the holder of the queue's lock
        threading.Thread(target=self._studio.release_followers, name="release-followers").start()
