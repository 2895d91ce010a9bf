from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.engines import crashing_at_start, missing_library, scripted, slow_to_import
from tests.jobs_parts import NO_INPUTS, make_plan, wait_until
from webui.domain.events import ImageSkipped, Loading, Stepped
from webui.domain.plan import ImagePlan, Plan
from webui.errors import GenerationError, OutOfMemory, WorkerDied
from webui.images.open import read_infotext
from webui.jobs.runner import ImageEncoded, Message, Preview
from webui.jobs.worker import ProcessRunner, describe_exit

posix = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")


@pytest.fixture(scope="module")
def shared_runner() -> Iterator[ProcessRunner]:
    """One process for the tests that leave it well."""
    runner = ProcessRunner(scripted(), NO_INPUTS)
    runner.start()
    yield runner
    runner.stop()


@pytest.fixture
def runner() -> Iterator[ProcessRunner]:
    runner = ProcessRunner(scripted(delay=0.02), NO_INPUTS, frozen_after=2.0)
    runner.start()
    yield runner
    runner.stop()


def told(prompt: str, images: int = 1, steps: int = 4) -> Plan:
    plan = make_plan(images=images, steps=steps)
    return plan.replace(
        images=tuple(
            ImagePlan(index=image.index, seed=image.seed, prompt=prompt, negative_prompt="") for image in plan.images
        )
    )


def process_of(runner: ProcessRunner) -> psutil.Process:
    process = runner.facts()["process"]
    assert isinstance(process, int)
    return psutil.Process(process)


def run(runner: ProcessRunner, plan: Plan) -> list[Message]:
    return list(runner.run("job", plan))


def test_a_plan_is_run_in_another_process(shared_runner: ProcessRunner) -> None:
    messages = run(shared_runner, make_plan(images=2))
    assert [message.step for message in messages if isinstance(message, Stepped)] == [1, 2, 3, 4] * 2
    assert messages[0] == Loading(model="stub")
    previews = [message for message in messages if isinstance(message, Preview)]
    assert len(previews) == 8 and previews[0].jpeg.startswith(b"\xff\xd8")
    images = [message for message in messages if isinstance(message, ImageEncoded)]
    assert [(image.index, image.width, image.height) for image in images] == [(0, 64, 64), (1, 64, 64)]
    infotext, _ = read_infotext(images[1].content)
    assert infotext == images[1].infotext and "Seed: 2" in images[1].infotext
    assert process_of(shared_runner).pid != os.getpid()


def test_the_worker_tells_about_itself(shared_runner: ProcessRunner) -> None:
    run(shared_runner, make_plan())
    wait_until(lambda: shared_runner.facts().get("memory"), "the first heartbeat")
    facts = shared_runner.facts()
    assert facts["device"] == "fake" and isinstance(facts["memory"], int) and facts["memory"] > 1_000_000
    assert shared_runner.state == "ready"


def test_models_are_let_go_when_the_run_is_done(shared_runner: ProcessRunner) -> None:
    messages = shared_runner.run("job", make_plan())
    next(messages)
    shared_runner.unload()
    assert isinstance(list(messages)[-1], ImageEncoded)
    wait_until(lambda: "model" not in shared_runner.facts(), "the model to be let go")
    run(shared_runner, make_plan())
    assert shared_runner.facts()["model"] == "stub"


def test_the_worker_reports_before_the_engine_is_built_and_runs_wait_for_it() -> None:
    runner = ProcessRunner(slow_to_import, NO_INPUTS)
    runner.start()
    wait_until(lambda: runner.facts().get("memory"), "a sign of life")
    assert runner.state == "starting"
    assert isinstance(run(runner, make_plan())[-1], ImageEncoded)
    runner.stop()


def test_an_error_of_the_engine_arrives_as_it_was(shared_runner: ProcessRunner) -> None:
    before = process_of(shared_runner).pid
    with pytest.raises(OutOfMemory) as caught:
        run(shared_runner, told("too large"))
    error = caught.value
    assert (error.message, error.hint, error.field) == ("Too large for the device.", "Choose a smaller size.", "width")
    assert run(shared_runner, make_plan()) and process_of(shared_runner).pid == before


def test_an_unforeseen_error_is_named_and_its_traceback_is_in_the_log(
    shared_runner: ProcessRunner, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(GenerationError, match="ValueError: the tensor has 5 legs"):
        run(shared_runner, told("raise"))
    assert "Traceback" in caplog.text and "_play" in caplog.text
    assert run(shared_runner, make_plan())


@posix
def test_what_the_worker_prints_is_in_the_log(shared_runner: ProcessRunner, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        run(shared_runner, told("print"))
        wait_until(lambda: "and into the other ear" in caplog.text, "the printed line")
    assert "[worker] spoken into the room" in caplog.text


def test_an_interrupt_ends_the_run_between_steps(runner: ProcessRunner) -> None:
    messages = []
    for message in runner.run("job", make_plan(images=3, steps=50)):
        messages.append(message)
        if isinstance(message, Stepped) and message.step == 3:
            runner.interrupt("another job")
            runner.interrupt("job")
    assert not any(isinstance(message, ImageEncoded) for message in messages)
    assert max(message.step for message in messages if isinstance(message, Stepped)) < 50
    assert isinstance(run(runner, make_plan())[-1], ImageEncoded)


def test_an_interrupt_while_the_worker_starts_is_not_lost() -> None:
    runner = ProcessRunner(slow_to_import, NO_INPUTS)
    results: list[list[Message]] = []
    waiting = threading.Thread(target=lambda: results.append(run(runner, make_plan())))
    waiting.start()
    wait_until(lambda: runner.state == "starting", "the start")
    runner.interrupt("job")
    waiting.join(30)
    assert results == [[]]
    runner.stop()


def test_a_skip_gives_up_one_batch(runner: ProcessRunner) -> None:
    messages = []
    for message in runner.run("job", make_plan(images=2, steps=20)):
        messages.append(message)
        if isinstance(message, Stepped) and (message.batch, message.step) == (0, 2):
            runner.skip("job")
    assert [message.index for message in messages if isinstance(message, ImageSkipped)] == [0]
    assert [message.index for message in messages if isinstance(message, ImageEncoded)] == [1]


def test_a_run_that_was_given_up_leaves_nothing_for_the_next(runner: ProcessRunner) -> None:
    given_up = runner.run("job", make_plan(seed=9, steps=50))
    assert isinstance(next(given_up), Loading)
    given_up.close()  # type: ignore[attr-defined]
    messages = run(runner, make_plan(seed=1))
    assert messages[0] == Loading(model="stub")
    assert [message.step for message in messages if isinstance(message, Stepped)] == [1, 2, 3, 4]


@posix
@pytest.mark.parametrize(
    ("sent", "words"),
    [
        (signal.SIGKILL, "killed by the system, most likely out of memory (SIGKILL)"),
        (signal.SIGTERM, "ended from outside (SIGTERM)"),
    ],
)
def test_a_killed_worker_is_named_and_the_next_run_gets_a_new_one(
    runner: ProcessRunner, sent: signal.Signals, words: str
) -> None:
    with pytest.raises(WorkerDied) as caught:
        for message in runner.run("job", make_plan(steps=500)):
            if isinstance(message, Stepped) and message.step == 2:
                process_of(runner).send_signal(sent)
    assert words in caught.value.message
    assert isinstance(run(runner, make_plan())[-1], ImageEncoded)


@posix
def test_crashes_and_exits_of_the_worker_are_told_apart(shared_runner: ProcessRunner) -> None:
    with pytest.raises(WorkerDied, match=r"crashed \(SIGSEGV\)"):
        run(shared_runner, told("segfault"))
    with pytest.raises(WorkerDied, match="exit code 7"):
        run(shared_runner, told("exit"))
    assert run(shared_runner, make_plan())


@posix
def test_a_worker_that_dies_while_idle_is_started_again(runner: ProcessRunner) -> None:
    wait_until(lambda: runner.state == "ready", "the start")
    first = process_of(runner)
    first.kill()
    wait_until(lambda: runner.state == "ready" and process_of(runner).pid != first.pid, "the new worker")


@posix
def test_a_frozen_worker_is_ended_and_replaced(runner: ProcessRunner) -> None:
    with pytest.raises(WorkerDied, match="did not answer for 2 s"):
        for message in runner.run("job", make_plan(steps=500)):
            if isinstance(message, Stepped) and message.step == 2:
                process_of(runner).suspend()
    assert isinstance(run(runner, make_plan())[-1], ImageEncoded)


def test_a_worker_that_cannot_start_says_why(caplog: pytest.LogCaptureFixture) -> None:
    runner = ProcessRunner(missing_library, NO_INPUTS)
    runner.start()
    with pytest.raises(GenerationError, match="could not start: ImportError: No module named 'torch'"):
        run(runner, make_plan())
    assert "Traceback" in caplog.text
    runner.stop()
    assert runner.state == "dead"


@posix
def test_a_worker_that_crashes_at_start_says_so() -> None:
    runner = ProcessRunner(crashing_at_start, NO_INPUTS)
    with pytest.raises(WorkerDied, match=r"crashed \(SIGABRT\)"):
        run(runner, make_plan())
    runner.stop()


def test_stop_joins_the_worker_in_the_middle_of_a_run(runner: ProcessRunner) -> None:
    wait_until(lambda: runner.state == "ready", "the start")
    process = process_of(runner)
    ends: list[object] = []

    def work() -> None:
        try:
            ends.append(run(runner, make_plan(steps=10_000)))
        except WorkerDied as death:
            ends.append(death)

    running = threading.Thread(target=work)
    running.start()
    wait_until(lambda: runner.state == "busy", "the run")
    runner.stop()
    running.join(30)
    assert not process.is_running() and len(ends) == 1
    with pytest.raises(WorkerDied, match="stopped"):
        run(runner, make_plan())


@posix
def test_stop_ends_a_worker_that_does_not_listen() -> None:
    runner = ProcessRunner(scripted(), NO_INPUTS)
    runner.start()
    wait_until(lambda: runner.state == "ready", "the start")
    process = process_of(runner)
    process.suspend()
    runner.stop()
    assert not process.is_running()


@posix
def test_ctrl_c_does_not_reach_the_worker(runner: ProcessRunner) -> None:
    wait_until(lambda: runner.state == "ready", "the start")
    process = process_of(runner)
    process.send_signal(signal.SIGINT)
    assert isinstance(run(runner, make_plan())[-1], ImageEncoded)
    assert process_of(runner).pid == process.pid


SERVER = """
import time
from tests.engines import scripted
from tests.jobs_parts import NO_INPUTS
from webui.jobs.worker import ProcessRunner

if __name__ == "__main__":
    runner = ProcessRunner(scripted(), NO_INPUTS)
    runner.start()
    while runner.state != "ready":
        time.sleep(0.01)
    print(runner.facts()["process"], flush=True)
    time.sleep(600)
"""


@posix
def test_the_worker_ends_when_the_server_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "server.py"
    script.write_text(SERVER)
    root = Path(__file__).resolve().parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, env=environment) as server:
        assert server.stdout is not None
        worker = psutil.Process(int(server.stdout.readline()))
        server.kill()
        server.wait()
    wait_until(lambda: not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE, "the worker to end")


@pytest.mark.parametrize(
    ("code", "words"),
    [(3, "ended by itself with exit code 3"), (-int(signal.SIGABRT), "crashed (SIGABRT)"), (-250, "signal 250")],
)
def test_exit_codes_are_told_in_words(code: int, words: str) -> None:
    assert words in describe_exit(code)


def test_restarts_wait_longer_after_each_death(caplog: pytest.LogCaptureFixture) -> None:
    runner = ProcessRunner(crashing_at_start, NO_INPUTS)
    for _ in range(2):
        with pytest.raises(WorkerDied):
            run(runner, make_plan())
    wait_until(lambda: runner.state == "dead", "the second death")
    stopping = threading.Timer(0.5, runner.stop)
    stopping.start()
    with pytest.raises(WorkerDied):
        run(runner, make_plan())
    stopping.join()
    assert "The worker died 2 times in a row; it starts again in 1 s." in caplog.text
