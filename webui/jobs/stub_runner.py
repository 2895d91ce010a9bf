"""A runner without torch: a deterministic picture from the seed. For tests and demonstrations of all but the engine."""

from __future__ import annotations

import random
import threading
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw

from webui.domain.events import ImageSkipped, Loading, Stepped
from webui.domain.plan import AnyPlan, ImagePlan, Plan, PreprocessPlan, SeriesPlan, UpscaleImage, UpscalePlan
from webui.errors import WorkerDied
from webui.jobs.encoding import Encoder
from webui.jobs.runner import Message, RunnerState

BeforeStep = Callable[[str, AnyPlan, int], None]
"""Called with (job id, plan, step from 1) before each step; may raise to play a fault."""


class StubRunner:
    """Draws instead of generating. `delay_per_step` in seconds."""

    def __init__(self, delay_per_step: float = 0.0, before_step: BeforeStep | None = None) -> None:
        self._delay = delay_per_step
        self._before_step = before_step
        self._change = threading.Condition()
        self._job: str | None = None
        self._model: str | None = None
        self._interrupted = False
        self._skipped = False
        self._stopped = False

    @property
    def state(self) -> RunnerState:
        if self._stopped:
            return "dead"
        return "busy" if self._job else "ready"

    def start(self) -> None:
        self._stopped = False

    def run(self, job_id: str, plan: AnyPlan) -> Iterator[Message]:
        """Yield what a worker would; images depend on nothing but the plan."""
        with self._change:
            self._job, self._interrupted = job_id, False
        encoder = Encoder(plan)
        try:
            yield from map(encoder.encode, self._run_all(job_id, plan))
            yield from encoder.finish()
        finally:
            with self._change:
                self._job = None

    def interrupt(self, job_id: str) -> None:
        with self._change:
            self._interrupted = self._interrupted or job_id == self._job
            self._change.notify_all()

    def skip(self, job_id: str) -> None:
        with self._change:
            self._skipped = self._skipped or job_id == self._job
            self._change.notify_all()

    def unload(self) -> None:
        self._model = None

    def stop(self) -> None:
        with self._change:
            self._stopped = True
            self._change.notify_all()

    def facts(self) -> dict[str, object]:
        return {"device": "stub", "model": self._model}

    def _run_all(self, job_id: str, plan: AnyPlan) -> Iterator[object]:
        """Yield what an engine would, part by part."""
        number = 0
        for part in plan.parts if isinstance(plan, SeriesPlan) else (plan,):
            if isinstance(part, Plan) and self._model != part.model.name:
                yield Loading(model=part.model.name)
                self._model = part.model.name
            for images in part.batches:
                yield from self._run_batch(job_id, part, images, number, len(plan.batches))
                if self._interrupted:
                    return
                number += 1

    def _run_batch(
        self,
        job_id: str,
        plan: Plan | UpscalePlan | PreprocessPlan,
        images: Sequence[ImagePlan | UpscaleImage],
        number: int,
        count: int,
    ) -> Iterator[object]:
        self._skipped = False
        steps = plan.total_steps
        pictures = [Picture(image.index, draw(plan, image)) for image in images]
        for step in range(1, steps + 1):
            if self._before_step is not None:
                self._before_step(job_id, plan, step)
            self._wait()
            if self._interrupted:
                return
            if self._skipped:
                yield from (ImageSkipped(index=image.index) for image in images)
                return
            yield Stepped(batch=number, batches=count, step=step, steps=steps)
            if isinstance(plan, Plan) and plan.preview.every and step % plan.preview.every == 0:
                yield PreviewPicture(_coarse(pictures[0].image, plan.preview.size, step / steps))
        yield from pictures

    def _wait(self) -> None:
        with self._change:
            self._change.wait_for(lambda: self._interrupted or self._skipped or self._stopped, self._delay)
            if self._stopped:
                raise WorkerDied("The stub runner was stopped.")


@dataclass(frozen=True)
class Picture:
    """A finished image."""

    index: int
    image: Image.Image


@dataclass(frozen=True)
class PreviewPicture:
    """An unfinished one."""

    image: Image.Image


def draw(plan: Plan | UpscalePlan | PreprocessPlan, image: ImagePlan | UpscaleImage) -> Image.Image:
    """Return the picture of one image: discs whose places and colours follow from the seed and the prompts."""
    about = f"{image.prompt}\n{image.negative_prompt}" if isinstance(image, ImagePlan) else image.picture
    source = random.Random(image.seed * 2**32 + zlib.crc32(about.encode("utf-8", "replace")))
    match plan:
        case Plan():
            width, height = plan.size
        case UpscalePlan():
            width, height = _size_of_enlarged(plan)
        case _:
            width = height = 64
    picture = Image.new("RGB", (width, height), _colour(source))
    canvas = ImageDraw.Draw(picture)
    for _ in range(12):
        radius = source.uniform(0.05, 0.25) * min(width, height)
        x, y = source.uniform(0, width), source.uniform(0, height)
        canvas.ellipse((x - radius, y - radius, x + radius, y + radius), fill=_colour(source))
    return picture


def _size_of_enlarged(plan: UpscalePlan) -> tuple[int, int]:
    """The stub never opens a picture: every one counts as 64 × 64."""
    side = max(8, round(64 * plan.scale))
    return plan.width or side, plan.height or side


def _colour(source: random.Random) -> tuple[int, int, int]:
    return source.randrange(256), source.randrange(256), source.randrange(256)


def _coarse(picture: Image.Image, size: int, share: float) -> Image.Image:
    """Return the picture as it would still be after that share of the steps, at most `size` pixels large."""
    small = picture.copy()
    small.thumbnail((size, size))
    detail = max(2, round(small.width * share / 4)), max(2, round(small.height * share / 4))
    return small.resize(detail).resize(small.size, Image.Resampling.BILINEAR)
