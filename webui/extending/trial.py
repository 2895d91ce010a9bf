"""Has extensions tried in processes of their own, with a limit on time and output, and tells what came of it."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import IO

from pydantic import ValidationError

from webui.config import REPOSITORY
from webui.domain.extensions import Addition, Verdict
from webui.extending.places import Found

SECONDS = 30.0
AT_ONCE = 8  # one that hangs holds no others up
MAX_LOG = 16_000  # bytes kept of the beginning and of the end each
MAX_OUTPUT = 64 * 1024**2  # bytes after which an extension that goes on printing is ended
TIME_TO_ANSWER = 0.5  # seconds
GRACE = 5.0  # seconds until pipes that grandchildren hold open are given up

log = logging.getLogger(__name__)


@dataclass
class _Output:
    """What a pipe delivered: its beginning and its end."""

    limit: int
    head: bytes = b""
    tail: bytes = b""
    total: int = 0
    is_too_much: bool = field(default=False)

    def add(self, chunk: bytes) -> None:
        self.total += len(chunk)
        room = max(0, self.limit - len(self.head))
        self.head += chunk[:room]
        self.tail = (self.tail + chunk[room:])[-self.limit :]

    def text(self) -> str:
        left_out = self.total - len(self.head) - len(self.tail)
        middle = f"\n… {left_out} bytes left out …\n".encode() if left_out else b""
        return (self.head + middle + self.tail).decode("utf-8", "replace")


def try_all(found: Sequence[Found], seconds: float = SECONDS) -> tuple[Verdict, ...]:
    """Return a verdict for each, several being tried at once."""
    if not found:
        return ()
    with ThreadPoolExecutor(min(AT_ONCE, len(found)), "trial") as pool:
        return tuple(pool.map(lambda each: try_one(each, seconds), found))


def try_one(found: Found, seconds: float = SECONDS) -> Verdict:
    """Import an extension and call its `register` in a process that is ended after `seconds`."""
    place = found.place
    command = [sys.executable, "-m", "webui.extending.probe", str(place.folder)]
    if place.overlay is not None:
        command += ["--overlay", str(place.overlay)]
    try:
        process = subprocess.Popen(
            command,
            cwd=REPOSITORY,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,  # so that what it starts itself ends with it
        )
    except OSError as error:
        return Verdict(stamp=found.stamp, problem=f"It cannot be tried in a process of its own: {error.strerror}.")
    answer, printed = _Output(MAX_OUTPUT), _Output(MAX_LOG)
    listeners = [_listen(process, process.stdout, answer), _listen(process, process.stderr, printed)]
    try:
        process.wait(seconds)
        is_late = False
    except subprocess.TimeoutExpired:
        is_late = True
        _ask_where_it_is(process)
    end(process)
    for listener in listeners:
        listener.join(GRACE)
    verdict = _judge(found.stamp, process.returncode, answer, printed, seconds if is_late else 0.0)
    if verdict.problem:
        log.warning("Extension %s is switched off: %s\n%s", place.name, verdict.problem, verdict.log)
    return verdict


def _listen(process: subprocess.Popen[bytes], pipe: IO[bytes] | None, output: _Output) -> threading.Thread:
    assert pipe is not None

    def read() -> None:
        with contextlib.suppress(OSError, ValueError), pipe:
            while chunk := os.read(pipe.fileno(), 65536):
                output.add(chunk)
                if output.total > MAX_OUTPUT:
                    output.is_too_much = True
                    end(process)
                    return

    thread = threading.Thread(target=read, name="trial-output", daemon=True)
    thread.start()
    return thread


def _ask_where_it_is(process: subprocess.Popen[bytes]) -> None:
    """Have the probe print its stack."""
    if os.name == "posix":
        process.send_signal(signal.SIGUSR1)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(TIME_TO_ANSWER)


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process and, where the system can, all that it started."""
    with contextlib.suppress(OSError):
        if os.name == "posix":
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(GRACE)


def _judge(stamp: str, code: int | None, answer: _Output, printed: _Output, late_after: float) -> Verdict:
    said = printed.text().strip()
    if answer.is_too_much or printed.is_too_much:
        return Verdict(stamp=stamp, problem=f"It printed more than {MAX_OUTPUT // 1024**2} MB and was ended.", log=said)
    if late_after:
        problem = f"It had not registered after {late_after:g} s and was ended. The log shows where it was."
        return Verdict(stamp=stamp, problem=problem, log=said)
    try:
        report = json.loads(answer.text())
        if problem := report.get("problem"):
            return Verdict(stamp=stamp, problem=str(problem), log=said)
        additions = tuple(Addition(**each) for each in report["additions"])
        return Verdict(
            stamp=stamp,
            log=said,
            additions=additions,
            notes=_notes(report["heavy"]),
            seconds=report["seconds"],
        )
    except (ValueError, KeyError, TypeError, AttributeError, ValidationError):
        return Verdict(stamp=stamp, problem=f"Its process {_describe(code)} before it had registered.", log=said)


def _notes(heavy: Sequence[str]) -> tuple[str, ...]:
    if not heavy:
        return ()
    return (
        f"It imports {', '.join(heavy)} when it is loaded: that costs the server time and memory. "
        "Its author can import them inside the functions that need them.",
    )


def _describe(code: int | None) -> str:
    if code is None or code >= 0:
        return f"ended by itself with exit code {code}"
    try:
        return f"crashed ({signal.Signals(-code).name})"
    except ValueError:
        return f"was ended by signal {-code}"
