"""A runner without torch: a deterministic picture from the seed. For tests and demonstrations of all but the engine."""

from __future__ import annotations

import random
import threading
import zlib
from collections.abc import Callable, Iterator

from PIL import Image, ImageDraw

from webui.domain.events import ImageSkipped, Loading, Stepped
from webui.domain.plan import ImagePlan, Plan
from webui.errors import WorkerDied
from webui.images.encode import encode_jpeg, encode_png
from webui.images.infotext import write
from webui.jobs.runner import ImageEncoded, Message, Preview, RunnerState

BeforeStep = Callable[[str, Plan, int], None]
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

    def run(self, job_id: str, plan: Plan) -> Iterator[Message]:
        """Yield what a worker would; images depend on nothing but the plan."""
        with self._change:
            self._job, self._interrupted = job_id, False
        try:
            if self._model != plan.model.name:
                yield Loading(model=plan.model.name)
                self._model = plan.model.name
            for number, images in enumerate(plan.batches):
                yield from self._run_batch(job_id, plan, number, images)
                if self._interrupted:
                    return
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

    def stop(self) -> None:
        with self._change:
            self._stopped = True
            self._change.notify_all()

    def facts(self) -> dict[str, object]:
        return {"device": "stub", "model": self._model}

    def _run_batch(self, job_id: str, plan: Plan, number: int, images: tuple[ImagePlan, ...]) -> Iterator[Message]:
        self._skipped = False
        for step in range(1, plan.run_steps + 1):
            if self._before_step is not None:
                self._before_step(job_id, plan, step)
            self._wait()
            if self._interrupted:
                return
            if self._skipped:
                yield from (ImageSkipped(index=image.index) for image in images)
                return
            yield Stepped(batch=number, batches=len(plan.batches), step=step, steps=plan.run_steps)
            if plan.preview.every and step % plan.preview.every == 0:
                yield Preview(_preview(plan, images[0], step))
        for image in images:
            yield _encode(plan, image)

    def _wait(self) -> None:
        with self._change:
            self._change.wait_for(lambda: self._interrupted or self._skipped or self._stopped, self._delay)
            if self._stopped:
                raise WorkerDied("The stub runner was stopped.")


def draw(plan: Plan, image: ImagePlan) -> Image.Image:
    """Return the picture of one image: discs whose places and colours follow from the seed and the prompts."""
    words = zlib.crc32(f"{image.prompt}\n{image.negative_prompt}".encode("utf-8", "replace"))
    source = random.Random(image.seed * 2**32 + words)
    picture = Image.new("RGB", (plan.width, plan.height), _colour(source))
    canvas = ImageDraw.Draw(picture)
    for _ in range(12):
        radius = source.uniform(0.05, 0.25) * min(plan.width, plan.height)
        x, y = source.uniform(0, plan.width), source.uniform(0, plan.height)
        canvas.ellipse((x - radius, y - radius, x + radius, y + radius), fill=_colour(source))
    return picture


def _colour(source: random.Random) -> tuple[int, int, int]:
    return source.randrange(256), source.randrange(256), source.randrange(256)


def _encode(plan: Plan, image: ImagePlan) -> ImageEncoded:
    infotext = write(plan, image.index)
    content = encode_png(draw(plan, image), infotext)
    return ImageEncoded(image.index, plan.width, plan.height, infotext, content)


def _preview(plan: Plan, image: ImagePlan, step: int) -> bytes:
    """Return the picture as coarse as it would still be after `step` steps."""
    picture = draw(plan, image)
    picture.thumbnail((plan.preview.size, plan.preview.size))
    detail = max(2, picture.width * step // plan.run_steps // 4), max(2, picture.height * step // plan.run_steps // 4)
    return encode_jpeg(picture.resize(detail).resize(picture.size, Image.Resampling.BILINEAR), quality=75)
