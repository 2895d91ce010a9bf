from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from tests.jobs_parts import Folder, make_plan, make_request, wait_until
from webui.domain.events import Failed, Finished, ImageDone, Stepped
from webui.domain.jobs import Entry, JobView
from webui.domain.plan import Plan
from webui.errors import BadRequest, Busy, NotFound, OutOfMemory, StorageError, WorkerDied
from webui.images.open import read_infotext
from webui.jobs.queue import JobQueue
from webui.jobs.runner import ImageEncoded
from webui.jobs.store import MAX_ATTEMPTS, Claim, JobStore
from webui.jobs.stub_runner import StubRunner


class Gate:
    """Holds the runner before a step until the test lets it go; plays faults."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.open = threading.Event()
        self.hold_at = 0  # step; 0: never
        self.faults: dict[int, Exception] = {}  # by seed of the plan's first image
        self.runs: list[str] = []

    def __call__(self, job_id: str, plan: Plan, step: int) -> None:
        if step == 1:
            self.runs.append(job_id)
        if plan.images[0].seed in self.faults:
            raise self.faults[plan.images[0].seed]
        if step == self.hold_at and not self.open.is_set():
            self.reached.set()
            assert self.open.wait(30)

    def release(self) -> None:
        self.open.set()


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.release()


@pytest.fixture
def output(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "outputs")


@pytest.fixture
def queue(store: JobStore, gate: Gate, output: Folder) -> Iterator[JobQueue]:
    queue = JobQueue(store, StubRunner(before_step=gate), output)
    queue.start()
    yield queue
    gate.release()
    queue.stop()


def submit(queue: JobQueue, seed: int = 1, images: int = 1, batch_size: int = 1, **options: object) -> JobView:
    plan = make_plan(images=images, batch_size=batch_size, seed=seed)
    return queue.submit(make_request(seed), plan, **options)  # type: ignore[arg-type]


def hold(queue: JobQueue, gate: Gate, step: int = 3, images: int = 1) -> JobView:
    """Submit a job and return once the runner stands before `step`."""
    gate.hold_at = step
    job = submit(queue, images=images)
    assert gate.reached.wait(30)
    return job


def kinds(entries: list[Entry]) -> list[str]:
    return [entry.event.kind for entry in entries]


def test_a_job_runs_and_its_image_is_on_disk_with_its_infotext(queue: JobQueue, output: Folder) -> None:
    job = queue.wait(submit(queue, seed=5).id)
    assert job.state == "finished" and len(job.images) == 1
    content = (output.root / job.images[0].path).read_bytes()
    assert Image.open(io.BytesIO(content)).size == (64, 64)
    infotext, _ = read_infotext(content)
    assert infotext == job.images[0].infotext and "Seed: 5" in job.images[0].infotext


def test_the_same_plan_gives_the_same_bytes(queue: JobQueue, output: Folder) -> None:
    jobs = [queue.wait(submit(queue, seed=seed).id) for seed in (5, 5, 6)]
    contents = [(output.root / job.images[0].path).read_bytes() for job in jobs]
    assert contents[0] == contents[1] != contents[2]


def test_a_follower_sees_everything_in_order(queue: JobQueue, gate: Gate) -> None:
    job = hold(queue, gate, step=1)
    entries: list[Entry] = []
    for entry in queue.follow(job.id):
        if entry is not None:
            entries.append(entry)
            gate.release()
    stored = [kind for kind in kinds(entries) if kind not in ("loading", "stepped", "previewed")]
    assert stored == ["queued", "started", "image_done", "finished"]
    assert isinstance(entries[-1].event, Finished) and entries[-1].event.images == 1


def test_a_reloaded_page_is_attached_again_in_the_middle(queue: JobQueue, gate: Gate) -> None:
    job = hold(queue, gate, step=3)
    page = queue.follow(job.id, timeout=0.05)
    first = [entry for entry in iter(page.__next__, None) if entry is not None]
    assert kinds(first) == ["queued", "started", "stepped", "previewed"]
    page.close()  # type: ignore[attr-defined]
    reloaded = queue.follow(job.id, after=first[-1].number, timeout=30)
    newest = [next(reloaded), next(reloaded)]
    assert {entry.event.kind for entry in newest if entry is not None} == {"stepped", "previewed"}
    assert all(entry is not None and entry.number == first[-1].number for entry in newest)
    gate.release()
    rest = [entry for entry in reloaded if entry is not None]
    assert [kind for kind in kinds(rest) if kind != "stepped" and kind != "previewed"] == ["image_done", "finished"]


def test_the_log_of_an_ended_job_is_replayed_and_ends(queue: JobQueue) -> None:
    job = queue.wait(submit(queue).id)
    entries = [entry for entry in queue.follow(job.id) if entry is not None]
    assert kinds(entries) == ["queued", "started", "image_done", "finished"]
    assert list(queue.follow(job.id, after=entries[-1].number)) == []


def test_a_follower_without_news_gets_a_sign_of_life(queue: JobQueue, gate: Gate) -> None:
    job = hold(queue, gate, step=1)
    page = queue.follow(job.id, after=2, timeout=0.01)
    assert any(next(page) is None for _ in range(3))


def test_many_followers_all_see_the_end(queue: JobQueue, gate: Gate) -> None:
    job = hold(queue, gate)
    ends: list[str] = []
    threads = [
        threading.Thread(target=lambda: ends.append([entry for entry in queue.follow(job.id) if entry][-1].event.kind))
        for _ in range(10)
    ]
    for thread in threads:
        thread.start()
    gate.release()
    for thread in threads:
        thread.join(30)
    assert ends == ["finished"] * 10


def test_an_unknown_job_cannot_be_followed(queue: JobQueue) -> None:
    with pytest.raises(NotFound):
        queue.follow("nothing")


def test_progress_tells_where_the_run_is(queue: JobQueue, gate: Gate) -> None:
    assert queue.progress().state == "idle"
    job = hold(queue, gate, step=3)
    waiting = submit(queue)
    wait_until(lambda: queue.progress().step == 2, "the second step")
    progress = queue.progress()
    assert (progress.job_id, progress.state, progress.fraction) == (job.id, "running", 0.5)
    assert (progress.steps, progress.batches, progress.queued, progress.preview_number) == (4, 1, 1, 1)
    assert progress.text == "Step 2 of 4" and progress.eta is not None
    assert queue.preview(job.id) is not None
    assert queue.progress(waiting.id).state == "queued" and queue.progress(waiting.id).fraction == 0
    gate.release()
    queue.wait(waiting.id)
    assert queue.progress(job.id).fraction == 1.0 and queue.preview(job.id) is None


def test_no_time_is_promised_before_a_step(queue: JobQueue, gate: Gate) -> None:
    hold(queue, gate, step=1)
    assert queue.progress().eta is None and queue.progress().fraction == 0


def test_interrupting_the_running_job_keeps_its_finished_images(queue: JobQueue, gate: Gate, output: Folder) -> None:
    job = submit(queue, images=5)
    gate.hold_at = 0
    entries = queue.follow(job.id)
    for entry in entries:
        if entry is not None and entry.event.kind == "image_done":
            queue.interrupt()
            break
    ended = queue.wait(job.id)
    assert ended.state in ("cancelled", "finished")  # it may have been faster than the interrupt
    assert 1 <= len(ended.images) <= 5 and len(output.files) == len(ended.images)


def test_interrupt_stops_between_steps(queue: JobQueue, gate: Gate, output: Folder) -> None:
    job = hold(queue, gate, step=2, images=3)
    queue.interrupt(job.id)
    gate.release()
    ended = queue.wait(job.id)
    assert ended.state == "cancelled" and ended.images == () and output.files == []
    assert queue.wait(submit(queue).id).state == "finished"


def test_interrupting_a_waiting_job_cancels_it_at_once(queue: JobQueue, gate: Gate) -> None:
    running = hold(queue, gate)
    waiting = submit(queue)
    queue.interrupt(waiting.id)
    assert queue.wait(waiting.id).state == "cancelled" and queue.job(running.id).state == "running"
    gate.release()
    assert queue.wait(running.id).state == "finished"
    assert gate.runs == [running.id]


def test_interrupting_an_ended_job_or_nothing_does_nothing(queue: JobQueue) -> None:
    job = queue.wait(submit(queue).id)
    queue.interrupt(job.id)
    queue.interrupt()
    assert queue.job(job.id).state == "finished"


def test_skip_gives_up_one_batch_only(queue: JobQueue, gate: Gate) -> None:
    job = hold(queue, gate, step=2, images=3)
    queue.skip()
    gate.release()
    ended = queue.wait(job.id)
    assert ended.state == "finished" and [image.index for image in ended.images] == [1, 2]


@pytest.mark.parametrize("error", [OutOfMemory("Too large.", hint="Smaller."), ValueError("a bug")])
def test_a_failed_run_is_not_repeated_and_the_next_job_runs(queue: JobQueue, gate: Gate, error: Exception) -> None:
    gate.faults[13] = error
    bad, good = submit(queue, seed=13), submit(queue)
    failed = queue.wait(bad.id)
    assert failed.state == "failed" and failed.attempts == 1 and failed.error is not None
    if isinstance(error, OutOfMemory):
        assert (failed.error.code, failed.error.message, failed.error.hint) == ("OutOfMemory", "Too large.", "Smaller.")
    else:
        assert failed.error.code == "GenerationError" and "log" in failed.error.hint
    assert queue.wait(good.id).state == "finished"


def test_a_job_whose_worker_dies_is_run_again(queue: JobQueue, gate: Gate) -> None:
    gate.faults[13] = WorkerDied("The worker crashed.")
    gate.hold_at = 1
    first = submit(queue)
    assert gate.reached.wait(30)
    bad = submit(queue, seed=13)
    page = queue.follow(bad.id)
    gate.release()
    for entry in page:
        if entry is not None and isinstance(entry.event, Failed) and entry.event.will_retry:
            gate.faults.clear()
    ended = queue.wait(bad.id)
    assert queue.wait(first.id).state == "finished"
    assert ended.state == "finished" and ended.attempts in (2, 3)


def test_a_job_that_kills_its_worker_each_time_is_quarantined(queue: JobQueue, gate: Gate) -> None:
    gate.faults[13] = WorkerDied("The worker crashed.")
    bad, good = submit(queue, seed=13), submit(queue)
    ended = queue.wait(bad.id)
    assert ended.state == "quarantined" and ended.attempts == MAX_ATTEMPTS
    assert ended.error is not None and "The worker crashed." in ended.error.message
    assert queue.wait(good.id).state == "finished"


def test_a_rerun_adopts_what_an_earlier_attempt_saved(queue: JobQueue, gate: Gate, output: Folder) -> None:
    class DiesOnce(StubRunner):
        died = False

        def run(self, job_id: str, plan: Plan) -> Iterator[object]:  # type: ignore[override]
            for message in super().run(job_id, plan):
                yield message
                if isinstance(message, ImageEncoded) and message.index == 1 and not self.died:
                    self.died = True
                    raise WorkerDied("The worker crashed.")

    queue._runner = DiesOnce()
    ended = queue.wait(submit(queue, images=4).id)
    assert ended.state == "finished" and ended.attempts == 2
    assert [image.index for image in ended.images] == [0, 1, 2, 3]
    assert sorted(image.path for image in ended.images) == [path.name for path in output.files]


def test_a_file_that_a_crash_left_unlisted_is_adopted(store: JobStore, output: Folder) -> None:
    job = store.enqueue(make_request(), make_plan())
    claim = store.claim("crashing")
    assert claim is not None
    stub = StubRunner()
    saved = next(message for message in stub.run(job.id, job.plan) if isinstance(message, ImageEncoded))
    path = output.place(job.plan, saved)
    store.image_placed(claim, 0, path)
    output.write(job.plan, path, saved)  # and here the server dies
    queue = JobQueue(store, stub, output)
    assert queue.start().requeued == (job.id,)
    ended = queue.wait(job.id)
    queue.stop()
    assert ended.state == "finished" and [image.path for image in ended.images] == [path]
    assert [file.name for file in output.files] == [path]


def test_the_name_of_an_image_is_reserved_before_its_file_is_made(
    queue: JobQueue, store: JobStore, output: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    real_done = store.image_done

    def dies_between_file_and_row(claim: Claim, image: ImageDone) -> bool:
        monkeypatch.setattr(store, "image_done", real_done)
        raise WorkerDied("Everything stopped here.")

    monkeypatch.setattr(store, "image_done", dies_between_file_and_row)
    ended = queue.wait(submit(queue).id)
    assert ended.attempts == 2 and [file.name for file in output.files] == [ended.images[0].path]


def test_a_reserved_name_that_another_job_took_is_not_adopted(store: JobStore, output: Folder) -> None:
    job = store.enqueue(make_request(), make_plan())
    claim = store.claim("crashing")
    assert claim is not None
    store.image_placed(claim, 0, "00000-1.png")  # and here the server dies
    store.recover()
    other = store.enqueue(make_request(), make_plan(), priority=1)
    queue = JobQueue(store, StubRunner(), output)
    queue.start()
    first, second = queue.wait(other.id), queue.wait(job.id)
    queue.stop()
    assert first.images[0].path == "00000-1.png" and second.images[0].path == "00001-1.png"


def test_a_full_disk_fails_the_job_and_the_next_one_works(
    queue: JobQueue, output: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    real_write = output.write

    def write(plan: Plan, path: str, image: ImageEncoded) -> str:
        if image.index == 1:
            monkeypatch.setattr(output, "write", real_write)
            raise StorageError("The image cannot be saved: the disk is full.", hint="Free some space.")
        return real_write(plan, path, image)

    monkeypatch.setattr(output, "write", write)
    bad, good = submit(queue, images=3), submit(queue)
    failed = queue.wait(bad.id)
    assert failed.state == "failed" and failed.error is not None
    assert failed.error.code == "StorageError" and "disk is full" in failed.error.message
    assert [image.index for image in failed.images] == [0]
    assert queue.wait(good.id).state == "finished"
    assert len(output.files) == 2


def test_a_database_that_refuses_for_a_moment_loses_nothing(
    queue: JobQueue, store: JobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    real_claim = store.claim
    refusals = iter([StorageError("The job database cannot be used: database or disk is full.")] * 2)

    def claim(worker: str, lease: float = 60.0) -> object:
        for refusal in refusals:
            raise refusal
        return real_claim(worker, lease)

    monkeypatch.setattr(store, "claim", claim)
    assert queue.wait(submit(queue).id).state == "finished"


def test_a_paused_queue_takes_jobs_but_starts_none(queue: JobQueue, gate: Gate) -> None:
    queue.pause()
    job = submit(queue)
    assert next(iter(queue.follow(job.id))) is not None
    assert queue.paused and queue.job(job.id).state == "queued" and gate.runs == []
    queue.resume()
    assert queue.wait(job.id).state == "finished"


def test_two_crashes_in_a_minute_start_the_queue_paused(store: JobStore, output: Folder) -> None:
    store.enqueue(make_request(), make_plan())
    for _ in range(2):
        assert store.claim("crashing") is not None
        crashed = JobQueue(store, StubRunner(), output)
        crashed.pause()
        recovery = store.recover()
    assert recovery.pause
    assert store.claim("crashing") is not None
    queue = JobQueue(store, StubRunner(), output)
    queue.start()
    assert queue.paused and "crashed twice" in queue.pause_reason
    queue.stop()


def test_a_used_task_id_is_refused(queue: JobQueue) -> None:
    submit(queue, task_id="task(1)")
    with pytest.raises(BadRequest):
        submit(queue, task_id="task(1)")


def test_stopping_puts_the_running_job_back_uncounted(store: JobStore, gate: Gate, output: Folder) -> None:
    runner = StubRunner(delay_per_step=60)
    queue = JobQueue(store, runner, output)
    queue.start()
    job = submit(queue)
    wait_until(lambda: runner.state == "busy", "the run to begin")
    queue.stop()
    found = store.job(job.id)
    assert (found.state, found.attempts, found.error) == ("queued", 0, None)
    with pytest.raises(Busy, match="shutting down"):
        submit(queue)
    again = JobQueue(store, StubRunner(), output)
    assert again.start().requeued == ()
    assert again.wait(job.id).state == "finished"
    again.stop()


def test_stopping_ends_followers_and_waiters(store: JobStore, output: Folder) -> None:
    queue = JobQueue(store, StubRunner(delay_per_step=60), output)
    queue.start()
    job = submit(queue)
    ends: list[object] = []

    def wait() -> None:
        try:
            ends.append(queue.wait(job.id))
        except Busy as error:
            ends.append(error)

    waiters = [threading.Thread(target=wait) for _ in range(10)]
    followers = [threading.Thread(target=lambda: ends.append(list(queue.follow(job.id)))) for _ in range(10)]
    for thread in (*waiters, *followers):
        thread.start()
    queue.release_followers()
    for thread in (*waiters, *followers):
        thread.join(10)
    queue.stop()
    assert len(ends) == 20


def test_a_change_while_a_follower_is_reading_is_not_slept_through(
    queue: JobQueue, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = hold(queue, gate)
    live = queue._live_of(job.id)
    real_newer = live.newer

    def newer(version: int) -> object:
        queue.release_followers()  # just after the follower looked at all it looks at
        return real_newer(version)

    monkeypatch.setattr(live, "newer", newer)
    assert None not in list(queue.follow(job.id, timeout=5))


def test_the_order_of_waiting_jobs_can_be_changed(queue: JobQueue, gate: Gate) -> None:
    running = hold(queue, gate)
    first, second, third = submit(queue), submit(queue), submit(queue)
    queue.reorder(third.id, 0)
    queue.set_priority(second.id, 9)
    assert [queue.position(job.id) for job in (second, third, first)] == [0, 1, 2]
    gate.release()
    queue.wait(first.id)
    assert gate.runs == [running.id, second.id, third.id, first.id]


def test_nothing_is_kept_in_memory_for_ended_jobs(queue: JobQueue) -> None:
    for seed in range(5):
        job = queue.wait(submit(queue, seed=seed).id)
        list(queue.follow(job.id))
        queue.progress(job.id)
        queue.preview(job.id)
    wait_until(lambda: queue.active() is None, "the queue to be idle")
    assert queue._live == {}


def test_stepped_events_have_the_right_numbers(queue: JobQueue, gate: Gate) -> None:
    job = hold(queue, gate, step=2)
    page = queue.follow(job.id, after=2, timeout=30)
    entry = next(page)
    assert entry is not None and entry.event == Stepped(batch=0, batches=1, step=1, steps=4) and entry.number == 2
