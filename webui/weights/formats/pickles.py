"""Pickled weight files (.ckpt, .pt, .pth, .bin), of which a process without any rights tells what they hold.

Nothing in them is ever carried out: see webui/weights/formats/pickle_machine.py.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from functools import lru_cache
from math import prod
from pathlib import Path
from threading import Timer
from typing import Annotated, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from webui.weights.formats.tensor_facts import MAX_TENSORS, PLAIN, Header, TensorFacts, bad_model

SECONDS = 60.0  # until an answer; a slow disk takes its time
_MAX_ANSWER = 32 * 2**20  # bytes
_MOST_VALUES = 64
_ROOT = Path(__file__).resolve().parents[3]
_PROGRAM = "import sys; sys.path.append(sys.argv[1]); from webui.weights.formats.pickle_child import main; main()"
_KEPT = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT")  # without which some Pythons do not start
_ASK_ELSEWHERE = "Only weights are read; look for the model as .safetensors."

Number = Annotated[int, Field(ge=0, le=2**48)]
Value = bool | int | float | Annotated[str, Field(max_length=200)]


class Place(NamedTuple):
    """A tensor in a file: `strides` count numbers, `begin` the bytes before its first one."""

    dtype: str
    shape: tuple[Number, ...]
    strides: tuple[Number, ...]
    begin: Number

    @property
    def reach(self) -> int:
        """How many numbers lie from its first to its last one, both included."""
        if not prod(self.shape):
            return 0
        return 1 + sum((side - 1) * stride for side, stride in zip(self.shape, self.strides, strict=True))


class _Answer(BaseModel):
    model_config = ConfigDict(extra="forbid")

    problem: Annotated[str, Field(max_length=1000)] = ""
    tensors: Annotated[dict[str, Place], Field(max_length=MAX_TENSORS)] = {}
    values: Annotated[dict[str, Value], Field(max_length=_MOST_VALUES)] = {}


def is_pickle(start: bytes) -> bool:
    """Tell whether a file that begins so is a pickle: torch's archive, its older stream, or what came before."""
    if start[4:9] == b"\0\0\0\0{":  # a safetensors file, whose header's length may begin with any byte
        return False
    return start.startswith((b"PK\x03\x04", b"PK\x05\x06", b"\x80")) or b"ustar" in start[257:265]


def read_pickle_header(path: Path) -> Header:
    """Return the tensors of a pickled file. Raises `BadFile` as `find_tensors` does."""
    return {name: TensorFacts(place.dtype, place.shape) for name, place in find_tensors(path).items()}


def find_tensors(path: Path) -> Mapping[str, Place]:
    """Return the tensors of a pickled file and where they stand in it.

    Those in `state_dict`, `params_ema` and the like, if there is such a dictionary; else of all dictionaries. Raises
    `BadFile` for a file that is damaged, holds no weights, or would call something when it is opened (naming it).
    """
    return _look_through(path).tensors


def find_values(path: Path) -> Mapping[str, Value]:
    """Return the plain values beside the tensors of a pickled file, such as the name of what was trained.

    Those of the outermost dictionary, short ones. Raises `BadFile` as `find_tensors` does.
    """
    return _look_through(path).values


def _look_through(path: Path) -> _Answer:
    facts = path.stat()
    return _look_once(path, facts.st_size, facts.st_mtime_ns, facts.st_ino)


@lru_cache(maxsize=32)  # a checkpoint is asked for every component, and again to weigh it
def _look_once(path: Path, size: int, *_signature: int) -> _Answer:
    raw = _ask_child(path)
    if len(raw) > _MAX_ANSWER or not raw:
        raise bad_model(path, "looking through its pickle takes too much memory or time", _ASK_ELSEWHERE)
    try:
        answer = _Answer.model_validate_json(raw)
        sound = all(_fits(place, size) for place in answer.tensors.values())
    except (ValidationError, KeyError, ValueError) as error:
        raise bad_model(path, "its pickle is damaged") from error
    if answer.problem:
        raise bad_model(path, answer.problem, _ASK_ELSEWHERE)
    if not sound:
        raise bad_model(path, "its pickle is damaged: a tensor lies outside the file")
    return answer


def _fits(place: Place, size: int) -> bool:
    return place.begin + place.reach * PLAIN[place.dtype] <= size


def _ask_child(path: Path) -> bytes:
    """Return what the process without rights says about a file; nothing when it died or was stopped."""
    environment = {name: os.environ[name] for name in _KEPT if name in os.environ}
    command = [sys.executable, "-I", "-S", "-B", "-c", _PROGRAM, str(_ROOT)]
    with (
        path.open("rb") as file,
        subprocess.Popen(
            command,
            stdin=file,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        ) as child,
    ):
        assert child.stdout is not None
        timer = Timer(SECONDS, child.kill)
        timer.start()
        try:
            return child.stdout.read(_MAX_ANSWER + 1)
        finally:
            timer.cancel()
            child.kill()
