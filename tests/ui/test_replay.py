"""From a finished image back to the request that makes it again, or goes on from it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.api.site import Site, make_model, open_site
from webui.domain.jobs import JobView
from webui.domain.request import GenerationRequest, UpscaleRequest
from webui.errors import BadRequest, NotFound
from webui.studio import Studio
from webui.ui import actions
from webui.ui.replay import onward_request, request_of, upscale_request

SMALL: dict[str, Any] = {"model": "pocket", "width": 128, "height": 64, "steps": 2}
EVERYTHING: dict[str, Any] = {
    **SMALL,
    "prompt": "a cat",
    "negative_prompt": "rain",
    "batch_count": 2,
    "seed": 7,
    "guidance": 3.5,
    "variation": {"seed": 9, "strength": 0.25},
    "tiling": "x",
    "guiding": {"rescale": 0.5, "start": 0.1, "end": 0.9},
    "hires": {"scale": 1.5, "upscaler": "Lanczos", "steps": 3, "strength": 0.6, "sampler": "Euler", "prompt": "close"},
    "refiner": {"model": "large", "switch_at": 0.6},
    "clip_skip": 2,
    "vae": "None",
}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("replay")
    (make_model(folder / "models" / "Stable-diffusion", "pocket") / "easel.json").write_text(json.dumps({}))
    with open_site(folder, models=("large",)) as opened:
        yield opened


@pytest.fixture
def studio(site: Site) -> Studio:
    return site.studio


def made(studio: Studio, **asked: Any) -> JobView:
    job = studio.wait(studio.submit(GenerationRequest.model_validate(asked)).id)
    assert job.state == "finished", job.error
    return job


def test_the_same_image_is_made_again_with_everything_it_was_made_with(studio: Studio) -> None:
    first = made(studio, **EVERYTHING)
    again = made(studio, **request_of(first, 1).model_dump())
    texts = {image.index: image.infotext for image in first.images if image.role == "image"}
    assert again.images[0].infotext == texts[1]
    assert len(again.images) == 1
    request = request_of(first, 1)
    assert request.hires is not None and request.hires.scale == 1.5 and request.hires.width is None
    assert (request.hires.sampler, request.hires.schedule, request.hires.guidance) == ("Euler", None, None)


def test_a_sheet_stands_for_the_whole_job(studio: Studio) -> None:
    job = made(studio, **SMALL, prompt="discs", batch_count=2, seed=4)
    (sheet,) = (image for image in job.images if image.role == "sheet")
    assert request_of(job, sheet.index) == job.request


def test_img2img_goes_on_with_the_images_size_and_any_seed(studio: Studio) -> None:
    job = made(studio, **{**EVERYTHING, "batch_count": 1})
    onward = onward_request(job, 0)
    assert (onward.width, onward.height, onward.seed, onward.hires, onward.start.kind) == (192, 96, -1, None, "noise")
    assert (onward.negative_prompt, onward.steps, onward.refiner is None) == ("rain", 2, False)
    with pytest.raises(NotFound, match="no image 5"):
        onward_request(job, 5)


def test_one_finished_image_gets_a_second_pass(studio: Studio) -> None:
    job = made(studio, **SMALL, prompt="discs", seed=4)
    hires = {"scale": 2, "upscaler": "Lanczos", "strength": 0.4}
    answer = actions.upscale(studio, job.id, 0, hires)
    assert answer["kind"] == "submitted"
    larger = studio.wait(answer["job"])
    assert [(image.width, image.height, image.seed) for image in larger.images] == [(256, 128, 4)]
    assert "Hires upscale: 2" in larger.images[0].infotext
    assert upscale_request(job, 0, "0" * 64, larger.request.hires).width == 128  # type: ignore[union-attr, arg-type]


def test_wrong_settings_of_the_second_pass_are_named(studio: Studio) -> None:
    job = made(studio, **SMALL, prompt="discs", seed=4)
    answer = actions.upscale(studio, job.id, 0, {"scale": 9})
    assert [problem["field"] for problem in answer["problems"]] == ["hires.scale"]


def test_an_enlarged_picture_has_no_request(studio: Studio) -> None:
    job = made(studio, **SMALL, prompt="discs", seed=4)
    picture = studio.add_input(studio.image_path(job.id, 0).read_bytes())
    enlarged = studio.wait(studio.submit(UpscaleRequest(images=(picture.id,), scale=2)).id)
    with pytest.raises(BadRequest, match="not generated"):
        request_of(enlarged, 0)
