"""What A1111's clients are told when images cannot be made."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.api.site import Site, open_site
from webui.domain.events import ImageFailed
from webui.domain.plan import ImagePlan, Plan, UpscaleImage, UpscalePlan
from webui.jobs.stub_runner import StubRunner

SMALL = {"prompt": "a cat", "width": 64, "height": 64, "steps": 2, "seed": 5}


class FailsOnEvenSeeds(StubRunner):
    """Makes every image but those with an even seed."""

    def _run_batch(
        self, job_id: str, plan: Plan | UpscalePlan, images: Sequence[ImagePlan | UpscaleImage], number: int, count: int
    ) -> Iterator[object]:
        for image in images:
            if image.seed % 2 == 0:
                yield ImageFailed(index=image.index, message="It overflowed.", hint="Use another VAE.")
        yield from super()._run_batch(job_id, plan, [image for image in images if image.seed % 2], number, count)


@pytest.fixture
def failing(tmp_path: Path) -> Iterator[Site]:
    with open_site(tmp_path, runner=FailsOnEvenSeeds()) as opened:
        yield opened


def test_the_others_are_delivered(failing: Site) -> None:
    answer = failing.client.post("/sdapi/v1/txt2img", json={**SMALL, "batch_size": 3})
    assert answer.status_code == 200
    assert len(answer.json()["images"]) == 2
    seeds = [text.partition("Seed: ")[2].partition(",")[0] for text in json.loads(answer.json()["info"])["infotexts"]]
    assert seeds == ["5", "7"]


def test_no_image_at_all_is_an_error(failing: Site) -> None:
    answer = failing.client.post("/sdapi/v1/txt2img", json={**SMALL, "seed": 6})
    assert answer.status_code == 500
    assert answer.json()["detail"].startswith("It overflowed. Use another VAE.")
    assert failing.client.post("/sdapi/v1/txt2img", json=SMALL).status_code == 200
