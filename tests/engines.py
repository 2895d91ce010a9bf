"""Engines without torch for the worker process of tests: real processes, scripted behaviour.

The prompt of the plan's first image says what happens: `segfault`, `exit`, `raise`, `too large`, `print`, else nothing.
"""

from __future__ import annotations

import functools
import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from webui.domain.events import ImageSkipped, Loading, Stepped
from webui.domain.plan import ImagePlan, Plan
from webui.engine.control import Control
from webui.errors import OutOfMemory


@dataclass(frozen=True)
class PreviewImage:
    image: Image.Image


@dataclass(frozen=True)
class ImageReady:
    index: int
    image: Image.Image


class ScriptedEngine:
    """Does what the prompt says. `delay`: seconds per step."""

    def __init__(self, delay: float) -> None:
        self._delay = delay
        self._model: str | None = None

    def facts(self) -> dict[str, object]:
        return {"device": "fake"} | ({"model": self._model} if self._model else {})

    def release(self) -> None:
        self._model = None

    def run(self, plan: Plan, control: Control, inputs: Mapping[str, Image.Image]) -> Iterator[object]:
        yield Loading(model=plan.model.name)
        self._model = plan.model.name
        for number, images in enumerate(plan.batches):
            control.skipped = False
            yield from self._run_batch(plan, number, images, control)
            if control.interrupted:
                return

    def _run_batch(self, plan: Plan, number: int, images: tuple[ImagePlan, ...], control: Control) -> Iterator[object]:
        for step in range(1, plan.run_steps + 1):
            time.sleep(self._delay)
            if step == 2:
                _play(images[0].prompt)
            if control.interrupted:
                return
            if control.skipped:
                yield from (ImageSkipped(index=image.index) for image in images)
                return
            yield Stepped(batch=number, batches=len(plan.batches), step=step, steps=plan.run_steps)
            yield PreviewImage(Image.new("RGB", (32, 32), "red"))
        for image in images:
            yield ImageReady(image.index, Image.new("RGB", (plan.width, plan.height), (image.seed % 256, 0, 0)))


def _play(prompt: str) -> None:
    match prompt.split(":"):
        case ["segfault"]:
            os.kill(os.getpid(), signal.SIGSEGV)
        case ["exit"]:
            os._exit(7)
        case ["raise"]:
            raise ValueError("the tensor has 5 legs")
        case ["too large"]:
            raise OutOfMemory("Too large for the device.", hint="Choose a smaller size.", field="width")
        case ["print"]:
            print("spoken into the room")
            print("and into the other ear", file=sys.stderr, flush=True)
        case ["once", mark]:
            if not Path(mark).exists():
                Path(mark).touch()
                os.kill(os.getpid(), signal.SIGKILL)


def scripted(delay: float = 0.0) -> functools.partial[ScriptedEngine]:
    return functools.partial(ScriptedEngine, delay)


def slow_to_import() -> ScriptedEngine:
    """Takes as long as importing torch does on a slow disk."""
    time.sleep(1.5)
    return ScriptedEngine(0.0)


def missing_library() -> ScriptedEngine:
    raise ImportError("No module named 'torch'")


def crashing_at_start() -> ScriptedEngine:
    os.kill(os.getpid(), signal.SIGABRT)
    raise AssertionError("unreachable")
