"""The worker process from outside: started beside the server, watched, restarted when it dies."""

from __future__ import annotations

import itertools
import logging
import multiprocessing
import os
import pickle
import queue
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection, wait
from pathlib import Path

from webui.domain.plan import AnyPlan
from webui.errors import EaselError, WorkerDied
from webui.jobs import child
from webui.jobs.child import (
    Alive,
    Ended,
    EngineFactory,
    Interrupt,
    Logged,
    Raised,
    Ready,
    Run,
    Said,
    Setup,
    Skip,
    Unload,
)
from webui.jobs.child import Stop as StopCommand
from webui.jobs.runner import Message, RunnerState

log = logging.getLogger(__name__)

FROZEN_AFTER = 120.0  # seconds without a heartbeat
TICK = 0.5
STOP_GRACE = 2.5  # seconds to end by itself, then SIGTERM, then SIGKILL
KILL_GRACE = 1.0
LONGEST_BACKOFF = 30.0
LONGEST_LINE = 2000

_CRASHES = {"SIGSEGV", "SIGABRT", "SIGBUS", "SIGILL", "SIGFPE"}


class ProcessRunner:
    """Runs plans in a child process. `factory` must be picklable; it is called in the child, which finds the pictures
    that jobs begin with in the input store's folder `inputs`."""

    def __init__(
        self, factory: EngineFactory, inputs: Path, *, frozen_after: float = FROZEN_AFTER, log_level: int = logging.INFO
    ) -> None:
        self._setup = Setup(pickle.dumps(factory), inputs, log_level)
        self._frozen_after = frozen_after
        self._lock = threading.Lock()  # guards the child being replaced
        self._child: _ChildProcess | None = None
        self._deaths = 0  # since the last run that went well
        self._stopped = threading.Event()
        self._numbers = itertools.count(1)
        self._current: tuple[str, int] | None = None  # job id, run number
        self._interrupted: int | None = None  # the run number that was interrupted

    @property
    def state(self) -> RunnerState:
        process = self._child
        if process is None or process.state == "dead":
            return "dead"
        if process.state == "ready" and self._current is not None:
            return "busy"
        return process.state

    def start(self) -> None:
        """Start the process if none lives; return at once."""
        with self._lock:
            alive = self._child is not None and self._child.state != "dead"
            if not alive and not self._stopped.is_set():
                self._child = _ChildProcess(self._setup, self._frozen_after, self._died)

    def run(self, job_id: str, plan: AnyPlan) -> Iterator[Message]:
        """See `Runner.run`."""
        number = next(self._numbers)
        self._current = (job_id, number)
        process: _ChildProcess | None = None
        ended = False
        try:
            process = self._wait_for_process(number)
            if process is None:
                return
            process.send(Run(number, plan))
            if self._interrupted == number:
                process.send(Interrupt(number))
            while True:
                match process.inbox.get():
                    case Said(number=said_by, message=message) if said_by == number:
                        yield message
                    case Ended(number=ended_run) if ended_run == number:
                        ended = True
                        self._deaths = 0
                        return
                    case Raised(number=raised_by, error=error) if raised_by == number:
                        ended = True
                        self._deaths = 0
                        raise error
                    case WorkerDied() as death:
                        ended = True
                        raise death
        finally:
            self._current = None
            if process is not None and not ended:  # the caller gave up; what still comes is of no use
                process.send(Interrupt(number))

    def interrupt(self, job_id: str) -> None:
        """See `Runner.interrupt`."""
        current = self._current
        if current is not None and current[0] == job_id:
            self._interrupted = current[1]
            self._tell(Interrupt(current[1]))

    def skip(self, job_id: str) -> None:
        """See `Runner.skip`."""
        current = self._current
        if current is not None and current[0] == job_id:
            self._tell(Skip(current[1]))

    def unload(self) -> None:
        """See `Runner.unload`."""
        self._tell(Unload())

    def stop(self) -> None:
        """End the process and join it: asked first, forced after a few seconds."""
        self._stopped.set()
        with self._lock:
            process = self._child
        if process is not None:
            process.stop()

    def facts(self) -> dict[str, object]:
        """Return what the worker last said about itself."""
        process = self._child
        return dict(process.facts) if process is not None else {}

    def _tell(self, command: object) -> None:
        process = self._child
        if process is not None and process.state == "ready":  # one that starts has no run yet; `run` looks itself
            process.send(command)

    def _died(self) -> None:
        """Start again after a first death; after further ones only when a job comes, and not at once."""
        self._deaths += 1
        if self._deaths == 1:
            self.start()

    def _wait_for_process(self, number: int) -> _ChildProcess | None:
        """Return a process whose engine is built, or None if run `number` was interrupted while waiting."""
        process = self._child
        if process is None or process.state == "dead":
            if self._deaths > 1:
                backoff = min(LONGEST_BACKOFF, 2.0 ** (self._deaths - 2))
                log.warning("The worker died %d times in a row; it starts again in %.0f s.", self._deaths, backoff)
                if not self._wait_out(backoff, number):
                    return None
            self.start()
            process = self._child
        if process is None or self._stopped.is_set():
            raise WorkerDied("The worker was stopped.")
        while not process.settled.wait(TICK):
            if self._interrupted == number:
                return None
        if process.problem is not None:
            raise process.problem
        return process

    def _wait_out(self, seconds: float, number: int) -> bool:
        """Wait; False if run `number` was interrupted meanwhile."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and not self._stopped.wait(TICK):
            if self._interrupted == number:
                return False
        return True


class _ChildProcess:
    """One worker process, its pipes, and the two threads that read and watch them."""

    def __init__(self, setup: Setup, frozen_after: float, died: Callable[[], None]) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._output, their_output = _output_pipe()
        self._process = context.Process(
            target=child.main, args=(theirs, their_output), name="easel-worker", daemon=True
        )
        self._process.start()
        theirs.close()
        if their_output is not None:
            their_output.close()
        self.inbox: queue.SimpleQueue[object] = queue.SimpleQueue()
        self.state: RunnerState = "starting"
        self.facts: dict[str, object] = {"process": self._process.pid}
        self.settled = threading.Event()  # the engine is built, or the start failed
        self.problem: EaselError | None = None  # why it cannot run anything
        self._setup = setup
        self._frozen_after = frozen_after
        self._died = died
        self._sending = threading.Lock()
        self._heard = threading.Event()
        self._gone = threading.Event()
        self._was_asked_to_stop = False
        self._killed_because = ""
        self._partial_line = b""
        self._reader = threading.Thread(target=self._read, name="worker-reader", daemon=True)
        self._watcher = threading.Thread(target=self._watch, name="worker-watcher", daemon=True)
        self._reader.start()
        self._watcher.start()

    def send(self, command: object) -> None:
        """Send a command; to a dead process it goes nowhere, and the reader tells of the death."""
        try:
            with self._sending:
                self._connection.send(command)
        except OSError:
            log.debug("The worker is gone; %s was not delivered.", type(command).__name__)

    def stop(self) -> None:
        self._was_asked_to_stop = True
        self.send(StopCommand())
        self._gone.wait(STOP_GRACE)
        for force in (self._process.terminate, self._process.kill):
            if not self._gone.is_set():
                force()
                self._gone.wait(KILL_GRACE)
        self._reader.join(KILL_GRACE)
        self._watcher.join(KILL_GRACE)

    def _read(self) -> None:
        """Take what the process says until it is gone, then say how it ended."""
        streams: list[Connection | int] = [self._connection, self._process.sentinel]
        if self._output is not None:
            streams.append(self._output)
        while True:
            ready = wait(streams)
            if self._output is not None and self._output in ready and not self._read_output():
                streams.remove(self._output)
            if self._connection in ready:
                try:
                    self._receive(self._connection.recv())
                except Exception as error:  # the end of the pipe, or half a message before it
                    log.debug("The worker's pipe ended: %r", error)
                    break
            elif self._process.sentinel in ready:
                break
        self._bury()

    def _receive(self, message: object) -> None:
        self._heard.set()
        match message:
            case Alive(memory=memory):
                if not memory:
                    self.send(self._setup)
                self.facts = {**self.facts, "memory": memory}
            case Ready(facts=facts):
                self.facts = self._facts_of_process() | facts
                self.state = "ready"
                self.settled.set()
            case Raised(number=None, error=error):
                self.problem = error
            case Logged(level=level, name=name, text=text):
                logging.getLogger(name).log(level, "[worker] %s", text)
            case Ended(facts=facts):
                self.facts = self._facts_of_process() | facts
                self.inbox.put(message)
            case Said() | Raised():
                self.inbox.put(message)

    def _facts_of_process(self) -> dict[str, object]:
        """Return what is known without the engine's word: what it said last may no longer hold."""
        return {name: self.facts[name] for name in ("process", "memory") if name in self.facts}

    def _read_output(self) -> bool:
        """Log what the process printed; False at the end."""
        assert self._output is not None
        content = os.read(self._output.fileno(), 65536)
        *lines, self._partial_line = re.split(rb"[\r\n]+", self._partial_line + content)
        if not content or len(self._partial_line) > LONGEST_LINE:
            lines, self._partial_line = [*lines, self._partial_line], b""
        for line in lines:
            if line.strip():
                log.info("[worker] %s", line[:LONGEST_LINE].decode("utf-8", "replace"))
        return bool(content)

    def _watch(self) -> None:
        """Kill the process when it has not been heard of for too long."""
        silent = 0.0
        while not self._gone.wait(TICK):
            # counted in ticks of this thread: time during which this process itself was stopped does not count
            silent = 0.0 if self._heard.is_set() else silent + TICK
            self._heard.clear()
            if silent > self._frozen_after:
                self._killed_because = f"did not answer for {self._frozen_after:.0f} s and was ended"
                self._process.kill()

    def _bury(self) -> None:
        """Free what belonged to the process and tell everyone that waits for it."""
        self._process.join(KILL_GRACE)
        if self._process.exitcode is None:  # its pipe is closed, so it is of no use any more
            self._process.kill()
            self._process.join()
        while self._output is not None and self._output.poll() and self._read_output():
            pass
        code = self._process.exitcode
        death = WorkerDied(
            f"The worker process {self._killed_because or describe_exit(code if code is not None else 0)}.",
            hint="Try a smaller image, fewer images at once, or another model; the log may say more.",
        )
        with self._sending:
            self._connection.close()
        if self._output is not None:
            self._output.close()
        if self.problem is None:
            self.problem = death
        if not self._was_asked_to_stop:
            log.error("%s", self.problem.message)
        self.state = "dead"
        self.inbox.put(death)
        self.settled.set()
        self._gone.set()
        if not self._was_asked_to_stop:
            self._died()


def describe_exit(code: int) -> str:
    """Return in words how a process with this exit code (negative: signal) ended."""
    if code >= 0:
        return f"ended by itself with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    if name == "SIGKILL":
        return "was killed by the system, most likely out of memory (SIGKILL)"
    return f"crashed ({name})" if name in _CRASHES else f"was ended from outside ({name})"


def _output_pipe() -> tuple[Connection | None, Connection | None]:
    """Return (reader, writer) for what the process prints; on Windows it prints to the server's console itself."""
    if sys.platform == "win32":
        return None, None
    return multiprocessing.get_context("spawn").Pipe(duplex=False)
