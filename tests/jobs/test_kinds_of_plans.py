"""Jobs of every kind go through the same queue: series with sheets, pictures to enlarge, images that fail alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from tests.jobs_parts import make_plan, make_request
from webui.domain.events import Failed, Finished, ImageDone, ImageFailed, Stepped
from webui.domain.jobs import JobView
from webui.domain.plan import AnyPlan, SeriesPlan, SheetPlan, UpscaleImage, UpscalePlan
from webui.domain.request import AnyRequest, UpscaleRequest
from webui.domain.upscaling import UpscalerRef
from webui.jobs.output import OutputFolder
from webui.jobs.queue import JobQueue
from webui.jobs.runner import ImageEncoded, Message
from webui.jobs.store import JobStore
from webui.jobs.stub_runner import StubRunner

ONE, TWO = "1" * 64, "2" * 64


class FailingRunner(StubRunner):
    """A stub whose images named in `broken` do not come."""

    def __init__(self, broken: set[int]) -> None:
        super().__init__()
        self._broken = broken

    def run(self, job_id: str, plan: AnyPlan) -> Iterator[Message]:
        for message in super().run(job_id, plan):
            if isinstance(message, ImageEncoded) and message.index in self._broken:
                yield ImageFailed(index=message.index, message="It is not a number.", hint="Use another VAE.")
            else:
                yield message


def run(store: JobStore, runner: StubRunner, folder: Path, request: AnyRequest, plan: AnyPlan) -> JobView:
    queue = JobQueue(store, runner, OutputFolder(folder, folder / "temporary"))
    queue.start()
    try:
        return queue.wait(queue.submit(request, plan).id)
    finally:
        queue.stop()


def series() -> SeriesPlan:
    first, second = make_plan(images=2, steps=3), make_plan(images=1, steps=5, seed=7)
    moved = second.images[0].replace(index=2)
    return SeriesPlan(
        script="Test",
        parts=(first, second.replace(images=(moved,))),
        sheets=(SheetPlan(columns=3, cells=(0, 1, 2), margin=4),),
    )


def test_a_series_is_one_job_with_a_sheet(store: JobStore, tmp_path: Path) -> None:
    job = run(store, StubRunner(), tmp_path, make_request(), series())
    assert job.state == "finished"
    assert [(image.index, image.role, image.seed) for image in job.images] == [
        (0, "image", 1), (1, "image", 2), (2, "image", 7), (3, "sheet", 7),
    ]  # fmt: skip
    assert [Path(image.path).parent.parts[0] for image in job.images] == ["txt2img-images"] * 3 + ["txt2img-grids"]
    assert Path(job.images[3].path).name == "grid-0000.png"
    with Image.open(tmp_path / job.images[3].path) as sheet:
        assert sheet.size == (3 * 64 + 2 * 4, 64)
    assert "Steps: 3" in job.images[1].infotext and "Steps: 5" in job.images[2].infotext


def test_sheets_are_numbered_on(store: JobStore, tmp_path: Path) -> None:
    for _ in range(2):
        job = run(store, StubRunner(), tmp_path, make_request(), series())
    assert Path(job.images[3].path).name == "grid-0001.png"


def test_the_steps_of_each_part_are_its_own() -> None:
    told = [message for message in StubRunner().run("job", series()) if isinstance(message, Stepped)]
    assert [(each.batch, each.batches, each.step, each.steps) for each in told if each.step == each.steps] == [
        (0, 3, 3, 3), (1, 3, 3, 3), (2, 3, 5, 5),
    ]  # fmt: skip


def test_pictures_to_enlarge_are_a_job_too(store: JobStore, tmp_path: Path) -> None:
    plan = UpscalePlan(
        images=(UpscaleImage(index=0, picture=ONE, infotext="a cat"), UpscaleImage(index=1, picture=TWO)),
        upscaler=UpscalerRef(name="Lanczos", kind="plain"),
        scale=2,
    )
    job = run(store, StubRunner(), tmp_path, UpscaleRequest(images=(ONE, TWO)), plan)
    assert job.state == "finished"
    assert [image.path for image in job.images] == ["extras-images/00000.png", "extras-images/00001.png"]
    assert job.images[0].infotext.startswith("a cat") and "Postprocess upscaler: Lanczos" in job.images[0].infotext
    assert store.inputs_in_use() == {ONE, TWO}


def test_one_image_that_fails_does_not_stop_the_others(store: JobStore, tmp_path: Path) -> None:
    job = run(store, FailingRunner({1}), tmp_path, make_request(), make_plan(images=3))
    assert job.state == "finished"
    assert [image.index for image in job.images] == [0, 2]
    happened = [entry.event for entry in store.events(job.id)]
    assert ImageFailed(index=1, message="It is not a number.", hint="Use another VAE.") in happened
    assert isinstance(happened[-1], Finished) and happened[-1].images == 2


def test_a_job_with_nothing_to_show_has_failed(store: JobStore, tmp_path: Path) -> None:
    job = run(store, FailingRunner({0, 1}), tmp_path, make_request(), make_plan(images=2))
    assert job.state == "failed" and job.images == ()
    assert job.error is not None and (job.error.message, job.error.hint) == ("It is not a number.", "Use another VAE.")
    assert [type(entry.event) for entry in store.events(job.id)][-2:] == [ImageFailed, Failed]


@pytest.mark.parametrize("plan", [make_plan(images=2), series()])
def test_the_role_of_images_comes_back_from_the_store(store: JobStore, plan: AnyPlan) -> None:
    store.enqueue(make_request(), plan, source="test")
    claim = store.claim("test")
    assert claim is not None
    last = plan.images[-1].index
    for index in (last, last + 1):
        done = ImageDone(index=index, seed=1, path=f"{index}.png", width=8, height=8, infotext="")
        assert store.image_done(claim, done)
    assert [image.role for image in store.job(claim.job_id).images] == ["image", "sheet"]


def test_a_job_interrupted_in_its_last_image_was_interrupted(store: JobStore, tmp_path: Path) -> None:
    class Interrupted(StubRunner):
        """Stops in the last image and hands over what there is of it, as the engine does."""

        def run(self, job_id: str, plan: AnyPlan) -> Iterator[Message]:
            for message in super().run(job_id, plan):
                if isinstance(message, ImageEncoded):
                    queue.interrupt(job_id)
                yield message

    queue = JobQueue(store, Interrupted(), OutputFolder(tmp_path, tmp_path / "temporary"))
    queue.start()
    try:
        job = queue.wait(queue.submit(make_request(), make_plan()).id)
    finally:
        queue.stop()
    assert job.state == "cancelled" and len(job.images) == 1
