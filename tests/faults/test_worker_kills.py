"""Queue and real worker process: whatever happens to the worker, its job ends clearly and the next one runs."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.engines import scripted
from tests.jobs_parts import NO_INPUTS, Folder, make_plan, make_request, wait_until
from webui.domain.jobs import JobView
from webui.domain.plan import Plan
from webui.jobs.queue import JobQueue
from webui.jobs.store import MAX_ATTEMPTS, JobStore
from webui.jobs.worker import ProcessRunner

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")


class Parts:
    """A queue over a worker process that plays what a job's prompt says."""

    def __init__(self, folder: Path) -> None:
        self.store = JobStore(f"sqlite:///{folder / 'easel.db'}")
        self.runner = ProcessRunner(scripted(delay=0.02), NO_INPUTS, frozen_after=2.0)
        self.output = Folder(folder / "outputs")
        self.queue = JobQueue(self.store, self.runner, self.output)
        self.runner.start()
        self.queue.start()

    def submit(self, prompt: str = "a house", images: int = 1, steps: int = 4) -> JobView:
        plan: Plan = make_plan(images=images, steps=steps)
        told = tuple(image.replace(prompt=prompt) for image in plan.images)
        return self.queue.submit(make_request(), plan.replace(images=told))

    @property
    def worker(self) -> psutil.Process:
        process = self.runner.facts()["process"]
        assert isinstance(process, int)
        return psutil.Process(process)

    def wait_for_step(self, job: JobView, step: int = 2) -> None:
        wait_until(
            lambda: (now := self.queue.progress()).job_id == job.id and now.step >= step, f"step {step} of {job.id}"
        )


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[Parts]:
    parts = Parts(tmp_path)
    yield parts
    parts.queue.stop()


def kinds(parts: Parts, job: JobView) -> list[str]:
    return [entry.event.kind for entry in parts.store.events(job.id)]


def test_a_worker_killed_in_the_middle_is_replaced_and_its_job_runs_again(parts: Parts) -> None:
    job, behind = parts.submit(images=2, steps=40), parts.submit()
    wait_until(lambda: parts.queue.job(job.id).images, "the first image")
    parts.worker.kill()
    ended = parts.queue.wait(job.id)
    assert ended.state == "finished" and ended.attempts == 2 and len(ended.images) == 2
    assert kinds(parts, job) == ["queued", "started", "image_done", "failed", "started", "image_done", "finished"]
    assert parts.queue.wait(behind.id).state == "finished"
    assert len(parts.output.files) == 3


def test_a_job_that_crashes_its_worker_each_time_is_set_aside(parts: Parts) -> None:
    bad, good = parts.submit("segfault"), parts.submit()
    ended = parts.queue.wait(bad.id)
    assert ended.state == "quarantined" and ended.attempts == MAX_ATTEMPTS
    assert ended.error is not None and "crashed (SIGSEGV)" in ended.error.message and ended.error.hint
    assert parts.queue.wait(good.id).state == "finished"


def test_a_crash_that_happens_once_costs_one_attempt(parts: Parts, tmp_path: Path) -> None:
    job = parts.submit(f"once:{tmp_path / 'mark'}")
    ended = parts.queue.wait(job.id)
    assert ended.state == "finished" and ended.attempts == 2


def test_a_frozen_worker_is_ended_and_its_job_runs_again(parts: Parts) -> None:
    job, behind = parts.submit(steps=40), parts.submit()
    parts.wait_for_step(job)
    parts.worker.send_signal(signal.SIGSTOP)
    ended = parts.queue.wait(job.id)
    assert ended.state == "finished" and ended.attempts == 2
    assert parts.queue.wait(behind.id).state == "finished"


@pytest.mark.parametrize(("prompt", "code"), [("too large", "OutOfMemory"), ("raise", "GenerationError")])
def test_an_error_in_the_engine_fails_its_job_only_and_keeps_the_worker(parts: Parts, prompt: str, code: str) -> None:
    first = parts.queue.wait(parts.submit().id)
    process = parts.worker.pid
    bad, good = parts.submit(prompt), parts.submit()
    failed = parts.queue.wait(bad.id)
    assert failed.state == "failed" and failed.attempts == 1
    assert failed.error is not None and failed.error.code == code and failed.error.message
    assert [parts.queue.wait(job.id).state for job in (first, good)] == ["finished", "finished"]
    assert parts.worker.pid == process


def test_an_interrupted_job_ends_after_its_step_and_the_next_runs(parts: Parts) -> None:
    job, behind = parts.submit(images=2, steps=500), parts.submit()
    parts.wait_for_step(job)
    parts.queue.interrupt()
    ended = parts.queue.wait(job.id)
    assert ended.state == "cancelled" and ended.images == ()
    assert parts.queue.wait(behind.id).state == "finished"


def test_killing_the_worker_of_an_interrupted_job_cancels_it(parts: Parts) -> None:
    job = parts.submit(steps=500)
    parts.wait_for_step(job)
    process = parts.worker
    process.suspend()  # it can no longer obey
    parts.queue.interrupt(job.id)
    process.kill()
    assert parts.queue.wait(job.id).state == "cancelled"


def test_stopping_in_the_middle_keeps_the_job_for_the_next_start(tmp_path: Path) -> None:
    parts = Parts(tmp_path)
    job = parts.submit(steps=10_000)
    parts.wait_for_step(job)
    worker = parts.worker
    parts.queue.stop()
    assert not worker.is_running()
    store = JobStore(f"sqlite:///{tmp_path / 'easel.db'}")
    found = store.job(job.id)
    assert (found.state, found.attempts) == ("queued", 0) and not store.recover().requeued
    store.close()
