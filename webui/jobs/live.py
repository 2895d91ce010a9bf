"""What is known about a job only while it runs: the newest step and preview, and how long the rest will take."""

from __future__ import annotations

import threading
import time

from webui.domain.events import Event, Loading, Previewed, Stepped

SMOOTHING = 0.3  # weight of the newest step in the average


class Pace:
    """How long a step takes in this run, and what decoding and saving add to each batch. Seconds, monotonic clock."""

    def __init__(self) -> None:
        self._step: float | None = None
        self._between: float = 0.0  # last step of a batch → its images, beyond one step's time
        self._last: float | None = None  # when the newest step, or the run itself, was seen
        self._batch = 0

    def begin(self, now: float) -> None:
        self._last = now

    def loading(self) -> None:
        """Forget the start: loading a model says nothing about the steps after it."""
        self._last = None

    def stepped(self, event: Stepped, now: float) -> None:
        taken = None if self._last is None else now - self._last
        crossed = event.batch != self._batch
        self._last, self._batch = now, event.batch
        if taken is None:
            return
        if crossed:
            self._between = max(0.0, taken - (self._step or 0.0))
        elif self._step is None:
            self._step = taken
        else:
            self._step += SMOOTHING * (taken - self._step)

    def remaining(self, event: Stepped, now: float) -> float | None:
        """Return the seconds left after `event`, or None while no step time is known."""
        if self._step is None or self._last is None:
            return None
        batches = event.batches - event.batch - 1
        steps = event.steps - event.step + batches * event.steps
        return max(0.0, steps * self._step + batches * self._between - (now - self._last))


class Live:
    """The running state of one job, shared by the dispatcher and all followers of the job."""

    def __init__(self) -> None:
        self._change = threading.Condition()
        self._version = 0
        self._stored = 0  # grows when the stored log or the job's state changed
        self._newest: dict[str, tuple[int, Event]] = {}
        self._pace = Pace()
        self._preview: bytes | None = None
        self._previews = 0

    def begin(self) -> None:
        """A run begins: nothing of an earlier attempt is news any more."""
        with self._change:
            self._newest.clear()
            self._pace = Pace()
            self._pace.begin(time.monotonic())
            self._notify()

    def tell(self, event: Loading | Stepped) -> None:
        with self._change:
            if isinstance(event, Loading):
                self._pace.loading()
            else:
                self._pace.stepped(event, time.monotonic())
                self._newest.pop("loading", None)
            self._put(event)

    def show(self, jpeg: bytes) -> None:
        """Take a new preview."""
        with self._change:
            self._preview = jpeg
            self._previews += 1
            self._put(Previewed(number=self._previews))

    def changed(self) -> None:
        """Wake all followers because the stored log or the job's state changed."""
        with self._change:
            self._stored += 1
            self._notify()

    def wait(self, version: int, timeout: float) -> bool:
        """Wait until something newer than `version` is there; False when `timeout` seconds pass without."""
        with self._change:
            return self._change.wait_for(lambda: self._version > version, timeout)

    @property
    def version(self) -> int:
        return self._version

    @property
    def stored(self) -> int:
        return self._stored

    @property
    def preview(self) -> bytes | None:
        return self._preview

    @property
    def previews(self) -> int:
        return self._previews

    def newer(self, version: int) -> tuple[int, tuple[Event, ...]]:
        """Return the current version and the transient events newer than `version`, oldest first."""
        with self._change:
            fresh = sorted((number, kind) for kind, (number, _) in self._newest.items() if number > version)
            return self._version, tuple(self._newest[kind][1] for _, kind in fresh)

    def step(self) -> Loading | Stepped | None:
        """Return where the run is: loading, at a step, or not yet anywhere (None)."""
        with self._change:
            for kind in ("loading", "stepped"):
                if kind in self._newest:
                    event = self._newest[kind][1]
                    assert isinstance(event, (Loading, Stepped))
                    return event
        return None

    def eta(self) -> float | None:
        """Return the seconds left, or None while that is not known."""
        with self._change:
            event = self._newest["stepped"][1] if "stepped" in self._newest else None
            return self._pace.remaining(event, time.monotonic()) if isinstance(event, Stepped) else None

    def _put(self, event: Event) -> None:
        self._notify()
        self._newest[event.kind] = (self._version, event)

    def _notify(self) -> None:
        self._version += 1
        self._change.notify_all()
