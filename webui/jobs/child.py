"""The worker process from inside: three threads around one engine. Nothing heavy is imported before it reports alive.

The main thread builds the engine and runs plans; the listener takes commands, also while a step runs; the heart tells
the server that the process is alive. When the server is gone, its end of the pipe closes and the process ends at once.
"""

from __future__ import annotations

import faulthandler
import gc
import logging
import os
import pickle
import queue
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from webui import errors
from webui.domain.plan import AnyPlan, pictures_of
from webui.engine.control import Control
from webui.errors import EaselError, GenerationError
from webui.jobs.runner import Message

if TYPE_CHECKING:
    from PIL.Image import Image

BEAT = 1.0  # seconds between heartbeats

log = logging.getLogger(__name__)


class Engine(Protocol):
    """What this process needs of an engine."""

    def run(self, plan: AnyPlan, control: Control, inputs: Mapping[str, Image]) -> Iterable[object]:
        """Yield `Loading`, `Stepped`, `ImageSkipped`, `ImageFailed`, `Noted`, previews (an `.image`) and images
        (`.index` and `.image`)."""

    def facts(self) -> dict[str, object]: ...

    def release(self) -> None:
        """Give back the memory that models take up."""


EngineFactory = Callable[[], Engine]


# From the server


@dataclass(frozen=True)
class Setup:
    """The first command. `factory` is a pickled `EngineFactory`: reading it may import torch. `inputs` is the folder of
    the input store."""

    factory: bytes
    inputs: Path
    log_level: int


@dataclass(frozen=True)
class Run:
    number: int
    plan: AnyPlan


@dataclass(frozen=True)
class Interrupt:
    number: int


@dataclass(frozen=True)
class Skip:
    number: int


@dataclass(frozen=True)
class Unload:
    pass


@dataclass(frozen=True)
class Stop:
    pass


# To the server


@dataclass(frozen=True)
class Alive:
    """Sent first and then every `BEAT` seconds. `memory`: resident bytes (0 in the first)."""

    memory: int = 0


@dataclass(frozen=True)
class Ready:
    """The engine is built, or has let go of its models."""

    facts: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Said:
    number: int
    message: Message


@dataclass(frozen=True)
class Ended:
    number: int
    facts: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Raised:
    """An error of run `number`, or of building the engine (None)."""

    number: int | None
    error: EaselError


@dataclass(frozen=True)
class Logged:
    level: int
    name: str
    text: str


def main(connection: Connection, output: Connection | None) -> None:
    """Entry point of the process. Whatever is printed goes to `output`."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole process group; the server decides
    if output is not None:
        _redirect(output)
    # Before torch is imported: threads that wait for the next bit of work by spinning made a picture ten times slower
    # on a machine with other work to do (40 s instead of 4 s, measured on two cores).
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    faulthandler.enable()
    _Worker(connection).work()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # torch's own threads and the listener need no farewell, and some abort when they get one


def _redirect(output: Connection) -> None:
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
        os.dup2(output.fileno(), stream.fileno())
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    output.close()


class _Worker:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._sending = threading.Lock()
        self._todo: queue.SimpleQueue[tuple[Run, Control] | Unload | None] = queue.SimpleQueue()
        self._current: tuple[int, Control] = (0, Control())

    def work(self) -> None:
        self._send(Alive())
        try:
            setup = self._connection.recv()
        except (EOFError, OSError):
            return  # the server is gone already
        if not isinstance(setup, Setup):
            return  # it was told to stop before it began
        logging.basicConfig(level=setup.log_level, format="%(message)s", handlers=[_LogSender(self._send)])
        threading.Thread(target=self._listen, name="listener", daemon=True).start()
        threading.Thread(target=self._beat, name="heart", daemon=True).start()
        engine = self._build(setup)
        while engine is not None and (todo := self._todo.get()) is not None:
            if isinstance(todo, Unload):
                engine.release()
                self._send(Ready(engine.facts()))
            else:
                self._run(engine, setup.inputs, *todo)

    def _build(self, setup: Setup) -> Engine | None:
        try:
            engine: Engine = pickle.loads(setup.factory)()
            facts = engine.facts()
        except Exception as error:
            self._send(Raised(None, _explain(error, "The worker could not start")))
            return None
        # What was imported stays: to look through it whenever a model goes or comes takes a quarter of a second.
        gc.collect()
        gc.freeze()
        self._send(Ready(facts))
        return engine

    def _run(self, engine: Engine, inputs: Path, run: Run, control: Control) -> None:
        from webui.jobs.encoding import Encoder
        from webui.jobs.inputs import InputStore

        try:
            encoder = Encoder(run.plan)
            for happened in engine.run(run.plan, control, InputStore(inputs).read(pictures_of(run.plan))):
                self._send(Said(run.number, encoder.encode(happened)))
            for sheet in encoder.finish():
                self._send(Said(run.number, sheet))
        except Exception as error:
            self._send(Raised(run.number, _explain(error, "The generation failed")))
        else:
            self._send(Ended(run.number, engine.facts()))

    def _listen(self) -> None:
        while True:
            try:
                command = self._connection.recv()
            except (EOFError, OSError):
                os._exit(1)  # the server is gone; nobody waits for what is being computed
            number, control = self._current
            match command:
                case Run():
                    self._current = (command.number, Control())
                    self._todo.put((command, self._current[1]))
                case Interrupt(number=wanted) if wanted == number:
                    control.interrupted = True
                case Skip(number=wanted) if wanted == number:
                    control.skipped = True
                case Unload():
                    self._todo.put(command)
                case Stop():
                    control.interrupted = True
                    self._todo.put(None)

    def _beat(self) -> None:
        import psutil

        process = psutil.Process()
        pause = threading.Event()
        while True:
            self._send(Alive(process.memory_info().rss))
            pause.wait(BEAT)

    def _send(self, message: object) -> None:
        try:
            with self._sending:
                self._connection.send(message)
        except OSError:
            os._exit(1)  # the server is gone


class _LogSender(logging.Handler):
    """Hands log records to the server's log."""

    def __init__(self, send: Callable[[object], None]) -> None:
        super().__init__()
        self._send = send

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._send(Logged(record.levelno, record.name, self.format(record)))
        except Exception:
            self.handleError(record)


def _explain(error: Exception, what: str) -> EaselError:
    """Return `error` as one of our own classes, readable without the engine's imports; log it if it is unforeseen."""
    if isinstance(error, EaselError):
        known: type[EaselError] = next(kind for kind in type(error).__mro__ if kind.__module__ == errors.__name__)
        return known(error.message, hint=error.hint, field=error.field)
    log.error("%s: %s", what, "".join(traceback.format_exception(type(error), error, error.__traceback__)).rstrip())
    last_line = traceback.format_exception_only(type(error), error)[-1].strip()
    return GenerationError(f"{what}: {last_line}", hint="The log has the details.")
