"""A disk that refuses at any single operation: the job fails with a clear message, nothing is left half-written."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.jobs_parts import make_plan, make_request
from webui.images.open import open_image
from webui.jobs.output import OutputFolder
from webui.jobs.queue import JobQueue
from webui.jobs.store import JobStore
from webui.jobs.stub_runner import StubRunner
from webui.storage import PARTIAL_SUFFIX

IMAGES = 2


class Refusal:
    """Makes the n-th call of one operating system function fail, once, while a job is saved."""

    def __init__(self, real: Callable[..., Any], number: int, code: int) -> None:
        self._real = real
        self._number = number
        self._code = code
        self.happened = False

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        self._number -= 1
        if self._number == 0:
            self.happened = True
            raise OSError(self._code, os.strerror(self._code))
        return self._real(*arguments, **options)


@pytest.fixture
def outputs(tmp_path: Path) -> Path:
    return tmp_path / "outputs"


@pytest.fixture
def queue(tmp_path: Path, outputs: Path) -> Iterator[JobQueue]:
    store = JobStore(f"sqlite:///{tmp_path / 'easel.db'}")
    queue = JobQueue(store, StubRunner(), OutputFolder(outputs, outputs / ".easel" / "temporary"))
    queue.start()
    yield queue
    queue.stop()


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize(
    ("operation", "code", "words"),
    [
        ("write", errno.ENOSPC, "disk is full"),
        ("write", errno.EDQUOT, "quota"),
        ("fsync", errno.EIO, "disk reported an error"),
        ("fsync", errno.ENOSPC, "disk is full"),
        ("link", errno.ENOSPC, "disk is full"),
        ("link", errno.EROFS, "read-only"),
    ],
)
def test_a_refusal_at_any_step_of_saving_fails_the_job_and_the_next_one_works(
    queue: JobQueue, outputs: Path, monkeypatch: pytest.MonkeyPatch, operation: str, number: int, code: int, words: str
) -> None:
    refusal = Refusal(getattr(os, operation), number, code)
    monkeypatch.setattr(os, operation, refusal)
    bad = queue.wait(queue.submit(make_request(), make_plan(images=IMAGES)).id)
    good = queue.wait(queue.submit(make_request(), make_plan(images=IMAGES)).id)
    assert refusal.happened
    assert bad.state == "failed" and bad.error is not None
    assert bad.error.code == "StorageError" and words in bad.error.message and bad.error.hint
    assert good.state == "finished" and len(good.images) == IMAGES
    for job in (bad, good):
        for image in job.images:
            open_image((outputs / image.path).read_bytes())
    assert not list(outputs.rglob(f"*{PARTIAL_SUFFIX}"))


def test_an_outputs_folder_that_is_a_file_fails_the_job_clearly(queue: JobQueue, outputs: Path) -> None:
    outputs.touch()
    failed = queue.wait(queue.submit(make_request(), make_plan()).id)
    assert failed.state == "failed" and failed.error is not None and failed.error.code == "StorageError"
    outputs.unlink()
    assert queue.wait(queue.submit(make_request(), make_plan()).id).state == "finished"
