"""Makes models of models, one after the other, each in a process of its own: memory and faults end with it."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from pydantic import TypeAdapter

from webui.domain.model_work import AskedWork, ExtractWork, ModelWork, QuantiseWork, WorkProgress, WorkView
from webui.domain.models import Kind, ModelInfo
from webui.errors import BadRequest, NotFound
from webui.planner.shelf import about
from webui.storage import check_name

log = logging.getLogger(__name__)

REMEMBERED = 50  # pieces of work
_ROOT = Path(__file__).resolve().parents[1]
_COMMAND = (sys.executable, "-m", "webui.weights.convert", "--json")
_PATIENCE = 10.0  # seconds until a process that was told to end is made to

FindModel = Callable[[Kind, str], ModelInfo]
"""(kind, name) → the usable model of that name; raises `NotFound` or `BadFile`."""


@dataclass
class _Piece:
    """A piece of work and how far it is."""

    work: ModelWork
    view: WorkView
    process: subprocess.Popen[str] | None = field(default=None, repr=False)


class Workshop:
    """Takes work, carries it out in the order in which it came, and tells how far it is. Thread-safe."""

    def __init__(self, find: FindModel, checkpoints: Path, loras: Path, on_made: Callable[[], None]) -> None:
        """What is made goes below the folders `checkpoints` and `loras`; `on_made` is called when something was."""
        self._find = find
        self._checkpoints = checkpoints
        self._loras = loras
        self._on_made = on_made
        self._change = threading.Condition()
        self._pieces: list[_Piece] = []
        self._thread: threading.Thread | None = None
        self._stopped = False

    def submit(self, asked: AskedWork) -> WorkView:
        """Take a piece of work; raise `NotFound`, `BadFile` or `BadRequest` naming its field when it cannot be done."""
        work: ModelWork = TypeAdapter(ModelWork).validate_python(self._resolve(asked))
        view = WorkView(id=uuid.uuid4().hex, kind=work.kind, target=work.target.name)
        with self._change:
            if any(piece.work.target == work.target and _is_open(piece.view) for piece in self._pieces):
                raise BadRequest(f"{work.target.name} is being made already.", field="target")
            settled = [piece for piece in self._pieces if not _is_open(piece.view)]
            forgotten = settled[: max(0, len(self._pieces) + 1 - REMEMBERED)]
            self._pieces = [*(piece for piece in self._pieces if piece not in forgotten), _Piece(work, view)]
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="workshop", daemon=True)
                self._thread.start()
            self._change.notify_all()
        return view

    def views(self) -> Sequence[WorkView]:
        """Return all pieces of work that are remembered, the latest first."""
        with self._change:
            return [piece.view for piece in reversed(self._pieces)]

    def view(self, number: str) -> WorkView:
        """Return one piece of work; raise `NotFound` when there is none of this id."""
        with self._change:
            return self._piece(number).view

    def cancel(self, number: str) -> WorkView:
        """Give up a piece of work; nothing is left of it. One that has ended stays as it is."""
        with self._change:
            piece = self._piece(number)
            if _is_open(piece.view):
                piece.view = piece.view.replace(state="cancelled")
                if piece.process is not None:
                    piece.process.terminate()
            return piece.view

    def stop(self) -> None:
        """Give up everything, and return when no process is left."""
        with self._change:
            self._stopped = True
            for piece in self._pieces:
                if _is_open(piece.view):
                    piece.view = piece.view.replace(state="cancelled")
                    if piece.process is not None:
                        piece.process.terminate()
            self._change.notify_all()
        if self._thread is not None:
            self._thread.join()

    def _piece(self, number: str) -> _Piece:
        for piece in self._pieces:
            if piece.view.id == number:
                return piece
        raise NotFound("There is no such work.")

    def _resolve(self, asked: AskedWork) -> dict[str, Any]:
        """Return the fields of `asked` with files in place of names."""
        fields = dict(asked)
        for name in ("source", "first", "second", "base", "tuned", "vae"):
            if fields.get(name) is not None:
                kind = Kind.VAE if name == "vae" else Kind.CHECKPOINT
                with about(name):
                    fields[name] = self._find(kind, fields[name]).path
        with about("target"):
            fields["target"] = self._target(asked)
        return fields

    def _target(self, asked: AskedWork) -> Path:
        folder = self._loras if isinstance(asked, ExtractWork) else self._checkpoints
        suffix = ".gguf" if isinstance(asked, QuantiseWork) else ".safetensors"
        if getattr(asked, "layout", "original") == "diffusers":
            suffix = ""
        name = asked.target.strip()
        check_name(name)
        target = folder / f"{name.removesuffix(suffix) if suffix else name}{suffix}"
        if target.exists():
            raise BadRequest(f"There is a {target.name} already.", hint="Choose another name.")
        return target

    def _run(self) -> None:
        while (piece := self._next()) is not None:
            self._carry_out(piece)
            if piece.view.state == "finished":
                self._on_made()

    def _next(self) -> _Piece | None:
        with self._change:
            while not self._stopped:
                for piece in self._pieces:
                    if piece.view.state == "waiting":
                        piece.view = piece.view.replace(state="running")
                        return piece
                self._change.wait()
        return None

    def _carry_out(self, piece: _Piece) -> None:
        try:
            process = subprocess.Popen(
                _COMMAND, cwd=_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                encoding="utf-8",
            )  # fmt: skip
        except OSError as error:
            self._end(piece, f"The work cannot be begun: {error.strerror}.")
            return
        with process:
            failure = self._attend(piece, process)
        self._end(piece, **{name: value for name, value in failure.items() if value})

    def _attend(self, piece: _Piece, process: subprocess.Popen[str]) -> dict[str, Any]:
        """Stay with the process until it has ended; return why the work failed, empty if it did not."""
        with self._change:
            piece.process = process
            if not _is_open(piece.view):  # given up before it began
                process.terminate()
        assert process.stdin and process.stdout and process.stderr
        said: list[str] = []
        listener = threading.Thread(target=lambda errors=process.stderr: said.append(errors.read()), daemon=True)
        listener.start()
        _hand_over(process.stdin, piece.work)
        failure = self._follow(piece, process.stdout)
        try:
            status = process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            status = process.wait()
        listener.join()
        if status == 0 or failure or not _is_open(piece.view):
            return failure
        log.error("Making %s ended with %s: %s", piece.view.target, status, "".join(said)[-4000:])
        return {"error": "The process that did the work ended; the log says more. Often memory was too small."}

    def _follow(self, piece: _Piece, lines: IO[str]) -> dict[str, Any]:
        """Note progress as it comes; return why the work failed, empty if it did not."""
        for line in lines:
            said = json.loads(line)
            if "error" in said:
                return dict(said)
            with self._change:
                if _is_open(piece.view):
                    piece.view = piece.view.replace(progress=WorkProgress(**said))
        return {}

    def _end(self, piece: _Piece, error: str = "", hint: str = "", field: str | None = None) -> None:
        with self._change:
            piece.process = None
            if piece.view.state == "running":
                state = "failed" if error else "finished"
                piece.view = piece.view.replace(state=state, error=error, hint=hint, field=field)


def _is_open(view: WorkView) -> bool:
    return view.state in ("waiting", "running")


def _hand_over(pipe: IO[str], work: ModelWork) -> None:
    try:
        pipe.write(work.model_dump_json())
        pipe.close()
    except BrokenPipeError:
        pass  # it ended already; what it said tells why
