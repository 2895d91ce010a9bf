from __future__ import annotations

import threading

import pytest

from tests.jobs_parts import make_plan, wait_until
from webui.domain.events import ImageSkipped, Loading, Stepped
from webui.errors import WorkerDied
from webui.images.open import open_image, read_infotext
from webui.jobs.runner import ImageEncoded, Message, Preview
from webui.jobs.stub_runner import StubRunner


def images(messages: list[Message]) -> list[ImageEncoded]:
    return [message for message in messages if isinstance(message, ImageEncoded)]


def test_a_run_tells_what_a_worker_would() -> None:
    runner = StubRunner()
    messages = list(runner.run("job", make_plan(images=3, batch_size=2)))
    assert messages[0] == Loading(model="stub")
    steps = [(message.batch, message.step) for message in messages if isinstance(message, Stepped)]
    assert steps == [(batch, step) for batch in (0, 1) for step in (1, 2, 3, 4)]
    assert sum(isinstance(message, Preview) for message in messages) == 4
    assert [image.index for image in images(messages)] == [0, 1, 2]
    assert not any(isinstance(message, Loading) for message in runner.run("job", make_plan()))


def test_an_image_depends_on_its_seed_and_not_on_its_batch() -> None:
    together = images(list(StubRunner().run("a", make_plan(images=4, batch_size=4))))
    alone = images(list(StubRunner().run("b", make_plan(images=4))))
    assert [image.content for image in together] == [image.content for image in alone]
    assert len({image.content for image in alone}) == 4


def test_an_image_is_a_png_with_infotext() -> None:
    image = images(list(StubRunner().run("job", make_plan(seed=42))))[0]
    assert open_image(image.content).size == (64, 64)
    assert read_infotext(image.content)[0] == image.infotext and "Seed: 42" in image.infotext


def test_interrupt_and_skip_are_for_the_named_job_only() -> None:
    runner = StubRunner()
    messages: list[Message] = []
    for message in runner.run("job", make_plan(images=3)):
        messages.append(message)
        if isinstance(message, Stepped) and message.step == 1:
            runner.interrupt("another")
            runner.skip("another")
            if message.batch == 0:
                runner.skip("job")
            elif message.batch == 2:
                runner.interrupt("job")
    assert [message.index for message in messages if isinstance(message, ImageSkipped)] == [0]
    assert [image.index for image in images(messages)] == [1]


def test_stop_wakes_a_run_that_waits() -> None:
    runner = StubRunner(delay_per_step=600)
    ends: list[BaseException] = []

    def run() -> None:
        try:
            list(runner.run("job", make_plan()))
        except WorkerDied as death:
            ends.append(death)

    thread = threading.Thread(target=run)
    thread.start()
    wait_until(lambda: runner.state == "busy", "the run")
    runner.stop()
    thread.join(30)
    assert not thread.is_alive() and len(ends) == 1 and runner.state == "dead"


@pytest.mark.parametrize("size", [64, 512])
def test_a_preview_is_no_larger_than_asked(size: int) -> None:
    plan = make_plan(size=size)
    plan = plan.replace(preview=plan.preview.replace(size=128))
    previews = [message for message in StubRunner().run("job", plan) if isinstance(message, Preview)]
    assert {max(open_image(preview.jpeg).size) for preview in previews} == {min(size, 128)}
