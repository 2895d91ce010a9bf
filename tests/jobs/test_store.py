from __future__ import annotations

import sqlite3
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
import sqlalchemy

from tests.jobs_parts import make_plan, make_request
from webui.domain.events import Failed, ImageDone, ImageSkipped
from webui.domain.jobs import JobView
from webui.errors import BadRequest, Busy, NotFound, StorageError
from webui.jobs.store import MAX_ATTEMPTS, Claim, ClaimLost, JobStore


def add(store: JobStore, seed: int = 1, images: int = 1, **options: object) -> JobView:
    return store.enqueue(make_request(seed), make_plan(images=images, seed=seed), **options)  # type: ignore[arg-type]


def take(store: JobStore) -> Claim:
    claim = store.claim("test")
    assert claim is not None
    return claim


def image(index: int = 0, path: str = "a.png") -> ImageDone:
    return ImageDone(index=index, seed=1, path=path, width=64, height=64, infotext="a house")


def kinds(store: JobStore, job_id: str) -> list[str]:
    return [entry.event.kind for entry in store.events(job_id)]


def test_a_job_lives_from_queued_to_finished(store: JobStore) -> None:
    job = add(store)
    assert (job.state, job.position) == ("queued", 0)
    claim = take(store)
    assert (claim.job_id, claim.attempt, claim.plan) == (job.id, 1, job.plan)
    assert store.job(job.id).state == "running"
    assert store.image_done(claim, image())
    store.finish(claim)
    ended = store.job(job.id)
    assert ended.state == "finished" and ended.images == (image(),) and ended.attempts == 1
    assert ended.started is not None and ended.ended is not None and ended.created <= ended.started <= ended.ended
    assert kinds(store, job.id) == ["queued", "started", "image_done", "finished"]
    assert [entry.number for entry in store.events(job.id)] == [1, 2, 3, 4]
    assert store.claim("test") is None


def test_what_was_asked_and_resolved_comes_back_as_it_was(store: JobStore) -> None:
    request, plan = make_request(7), make_plan(images=3, seed=7)
    job = store.enqueue(request, plan, source="api", user="ann", task_id="task(1)")
    found = store.job("task(1)")
    assert (found.id, found.request, found.plan, found.source) == (job.id, request, plan, "api")


def test_a_reopened_store_still_has_the_jobs(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'easel.db'}"
    first = JobStore(url)
    job = add(first)
    first.close()
    second = JobStore(url)
    assert second.job(job.id).state == "queued"
    second.close()


def test_jobs_are_taken_in_the_order_they_came(store: JobStore) -> None:
    ids = [add(store, seed).id for seed in range(5)]
    assert [take(store).job_id for _ in ids] == ids


def test_a_higher_priority_goes_first(store: JobStore) -> None:
    low, high = add(store), add(store, priority=1)
    assert high.position == 0 and store.position(low.id) == 1
    assert take(store).job_id == high.id


def test_priority_of_a_waiting_job_can_be_changed(store: JobStore) -> None:
    first, second = add(store), add(store)
    store.set_priority(second.id, 5)
    assert (store.position(second.id), store.position(first.id)) == (0, 1)


@pytest.mark.parametrize(
    ("moved", "position", "expected"),
    [(3, 0, [3, 0, 1, 2]), (0, 2, [1, 2, 0, 3]), (1, 99, [0, 2, 3, 1]), (2, 2, [0, 1, 2, 3])],
)
def test_reorder_moves_one_job_and_keeps_the_rest_in_order(
    store: JobStore, moved: int, position: int, expected: list[int]
) -> None:
    ids = [add(store, seed).id for seed in range(4)]
    store.reorder(ids[moved], position)
    assert [ids.index(take(store).job_id) for _ in ids] == expected


def test_a_running_job_cannot_be_moved(store: JobStore) -> None:
    first, second = add(store), add(store)
    take(store)
    store.reorder(first.id, 1)
    assert take(store).job_id == second.id


def test_a_used_task_id_is_refused_and_names_the_field(store: JobStore) -> None:
    add(store, task_id="task(1)")
    with pytest.raises(BadRequest, match=r"task\(1\)") as caught:
        add(store, task_id="task(1)")
    assert caught.value.field == "force_task_id"
    assert len(store.jobs()) == 1


def test_a_full_queue_says_so_and_takes_jobs_again_later(store: JobStore) -> None:
    add(store, limit=2)
    add(store, limit=2)
    with pytest.raises(Busy, match="2 jobs are waiting"):
        add(store, limit=2)
    take(store)
    add(store, limit=2)


def test_an_unknown_job_is_not_found(store: JobStore) -> None:
    with pytest.raises(NotFound, match="nothing"):
        store.job("nothing")


def test_newest_jobs_come_first_with_their_positions(store: JobStore) -> None:
    ids = [add(store, seed).id for seed in range(4)]
    take(store)
    listed = store.jobs(limit=3)
    assert [job.id for job in listed] == ids[:0:-1]
    assert [job.position for job in listed] == [2, 1, 0]


def test_each_job_is_claimed_once_by_eight_threads(store: JobStore) -> None:
    ids = {add(store, seed).id for seed in range(50)}
    claimed: list[str] = []

    def work() -> None:
        while (claim := store.claim("thread")) is not None:
            claimed.append(claim.job_id)
            store.finish(claim)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Counter(claimed) == Counter(ids)
    assert store.counts() == {"finished": 50}


def test_an_image_is_logged_once_however_often_it_is_reported(store: JobStore) -> None:
    job = add(store)
    claim = take(store)
    assert store.image_done(claim, image())
    assert not store.image_done(claim, image())
    assert kinds(store, job.id).count("image_done") == 1


def test_a_placed_image_is_not_visible_until_it_is_done(store: JobStore) -> None:
    job = add(store)
    claim = take(store)
    store.image_placed(claim, 0, "a.png")
    assert store.job(job.id).images == () and store.image_state(job.id, 0) == ("placed", "a.png")
    store.image_done(claim, image())
    assert store.job(job.id).images == (image(),)


def test_a_skipped_image_is_logged_once_and_not_listed(store: JobStore) -> None:
    job = add(store)
    claim = take(store)
    assert store.image_missing(claim, ImageSkipped(index=0))
    assert not store.image_missing(claim, ImageSkipped(index=0))
    assert store.job(job.id).images == ()


def test_a_run_that_lost_its_job_can_report_nothing(store: JobStore) -> None:
    job = add(store)
    stale = take(store)
    store.requeue(stale)
    current = take(store)
    assert (current.job_id, current.attempt) == (job.id, 2)
    reports = [
        lambda: store.heartbeat(stale),
        lambda: store.image_placed(stale, 0, "b.png"),
        lambda: store.image_done(stale, image()),
        lambda: store.image_missing(stale, ImageSkipped(index=0)),
        lambda: store.finish(stale),
        lambda: store.fail(stale, Failed(code="x", message="x")),
        lambda: store.cancel(stale),
        lambda: store.requeue(stale),
    ]
    for report in reports:
        with pytest.raises(ClaimLost):
            report()
    assert store.job(job.id).state == "running" and store.job(job.id).images == ()
    store.finish(current)


def test_an_ended_job_cannot_end_again(store: JobStore) -> None:
    job = add(store)
    claim = take(store)
    store.cancel(claim)
    with pytest.raises(ClaimLost):
        store.finish(claim)
    assert store.job(job.id).state == "cancelled" and kinds(store, job.id)[-1] == "cancelled"


def test_failure_is_kept_with_its_words(store: JobStore) -> None:
    job = add(store)
    store.fail(take(store), Failed(code="OutOfMemory", message="Too large.", hint="Smaller."))
    ended = store.job(job.id)
    assert ended.state == "failed" and ended.error == Failed(code="OutOfMemory", message="Too large.", hint="Smaller.")


def test_a_job_put_back_keeps_its_place(store: JobStore) -> None:
    first = add(store)
    add(store)
    store.requeue(take(store))
    assert take(store).job_id == first.id


def test_an_uncounted_attempt_is_taken_back(store: JobStore) -> None:
    job = add(store)
    store.requeue(take(store), counted=False)
    assert store.job(job.id).attempts == 0
    assert take(store).attempt == 1


def test_only_a_waiting_job_is_cancelled_at_once(store: JobStore) -> None:
    running, waiting = add(store), add(store)
    take(store)
    assert not store.cancel_queued(running.id)
    assert store.cancel_queued(waiting.id) and not store.cancel_queued(waiting.id)
    assert store.job(waiting.id).state == "cancelled" and kinds(store, waiting.id) == ["queued", "cancelled"]
    assert store.claim("test") is None


def test_events_can_be_read_from_any_number(store: JobStore) -> None:
    job = add(store)
    store.finish(take(store))
    assert [entry.number for entry in store.events(job.id, after=1)] == [2, 3]
    assert store.events(job.id, after=3) == ()


def test_recovery_puts_running_jobs_back_and_says_so(store: JobStore) -> None:
    job, waiting = add(store), add(store)
    take(store)
    recovery = store.recover()
    assert recovery.requeued == (job.id,) and not recovery.quarantined and not recovery.pause
    last = store.events(job.id)[-1].event
    assert isinstance(last, Failed) and last.will_retry
    assert [take(store).job_id, take(store).job_id] == [job.id, waiting.id]


def test_recovery_of_an_orderly_end_changes_nothing(store: JobStore) -> None:
    job = add(store)
    assert store.recover().requeued == ()
    assert kinds(store, job.id) == ["queued"]


def test_a_job_that_brings_the_server_down_each_time_is_quarantined(store: JobStore) -> None:
    job, behind = add(store), add(store)
    pauses = []
    for _ in range(MAX_ATTEMPTS):
        assert take(store).job_id == job.id
        recovery = store.recover()
        pauses.append(recovery.pause)
    assert recovery.quarantined == (job.id,) and pauses == [False, True, True]
    ended = store.job(job.id)
    assert ended.state == "quarantined" and ended.error is not None and "attempt 3 of 3" in ended.error.message
    last = store.events(job.id)[-1].event
    assert isinstance(last, Failed) and not last.will_retry
    assert take(store).job_id == behind.id


def test_a_run_without_heartbeat_loses_its_job(store: JobStore) -> None:
    job = add(store)
    claim = store.claim("test", lease=0.0)
    assert claim is not None
    time.sleep(0.01)
    assert store.release_expired() == (job.id,)
    assert store.release_expired() == ()
    with pytest.raises(ClaimLost):
        store.finish(claim)


def test_a_heartbeat_prolongs_the_lease_whatever_the_wall_clock_says(
    store: JobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(store)
    claim = store.claim("test", lease=0.0)
    assert claim is not None
    store.heartbeat(claim, lease=60.0)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 86_400)
    assert store.release_expired() == ()


def test_images_not_to_be_kept_are_forgotten_after_a_while(store: JobStore) -> None:
    kept = add(store)
    transient = store.enqueue(make_request(), make_plan().replace(keep=False))
    for name in ("kept.png", "transient.png"):
        claim = take(store)
        store.image_done(claim, image(path=name))
        store.finish(claim)
    assert store.prune(time.time() - 3600) == ()
    assert store.prune(time.time() + 1) == ("transient.png",)
    assert store.job(transient.id).images == () and store.job(kept.id).images != ()


def test_reading_does_not_wait_for_a_writer(store: JobStore, tmp_path: Path) -> None:
    job = add(store)
    writer = sqlite3.connect(tmp_path / "easel.db", isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("UPDATE jobs SET state = 'failed'")
    assert store.job(job.id).state == "queued"
    writer.execute("ROLLBACK")
    writer.close()


def test_the_database_is_durable_and_checked(store: JobStore, tmp_path: Path) -> None:
    with store._engine.connect() as connection:
        settings = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
    assert settings == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 5000}


@pytest.mark.parametrize("content", [b"not a database " * 100, b"SQLite format 3\x00" + b"\xff" * 4096])
def test_a_foreign_file_is_refused_and_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "easel.db"
    path.write_bytes(content)
    with pytest.raises(StorageError, match="job database"):
        JobStore(f"sqlite:///{path}")
    assert path.read_bytes() == content


def test_a_database_with_a_torn_page_is_refused_and_not_emptied(tmp_path: Path) -> None:
    path = tmp_path / "easel.db"
    store = JobStore(f"sqlite:///{path}")
    for seed in range(50):
        add(store, seed)
    store.close()
    content = bytearray(path.read_bytes())
    content[4096 * 3 : 4096 * 12] = b"\x5a" * (4096 * 9)
    path.write_bytes(content)
    with pytest.raises(StorageError, match="damaged"):
        JobStore(f"sqlite:///{path}")


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "easel.db"
    JobStore(f"sqlite:///{path}").close()
    with sqlite3.connect(path) as raw:
        raw.execute("UPDATE schema_version SET version = 99")
    raw.close()
    with pytest.raises(StorageError, match="newer Easel"):
        JobStore(f"sqlite:///{path}")


def test_a_folder_that_is_not_there_is_a_storage_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot be used"):
        JobStore(f"sqlite:///{tmp_path / 'missing' / 'easel.db'}")


def test_a_full_disk_refuses_the_job_and_takes_the_next_when_there_is_space(store: JobStore) -> None:
    first = add(store)
    with store._engine.connect() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
    limits = []

    def limit(raw: object, _record: object, _proxy: object) -> None:
        raw.execute(f"PRAGMA max_page_count={limits[-1]}")  # type: ignore[attr-defined]

    sqlalchemy.event.listen(store._engine, "checkout", limit)
    limits.append(pages)
    with pytest.raises(StorageError, match="full"):
        for seed in range(100):
            store.enqueue(make_request(seed), make_plan(images=20))
    limits.append(1_000_000)
    assert first.id in {job.id for job in store.jobs()}
    add(store)
