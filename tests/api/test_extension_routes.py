"""What an extension adds to the API: its routes, its options under both names, its settings, its infotext."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pytest
from PIL import Image

from tests.api.site import Site, open_site, wait_until
from tests.extending.everything import write_extension


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    home = tmp_path_factory.mktemp("home")
    with open_site(home, extensions=write_extension(home / "strangers")) as opened:
        yield opened


def picture() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (64, 64), "red").save(file, "PNG")
    return file.getvalue()


def test_a_route_answers_and_looks_things_up(site: Site) -> None:
    assert site.client.get("/tint/state").json()["most"] == 1.0
    answer = site.client.get("/tint/state?file=1")
    assert answer.content == b"hello" and "sandbox" in answer.headers["content-security-policy"]


def test_a_route_may_carry_out_a_job(site: Site) -> None:
    assert site.client.post("/tint/shade", json={"picture": picture().hex()}).json() == {"files": 1}


def test_a_failing_route_says_whose_fault_it_is(site: Site) -> None:
    answer = site.client.get("/tint/state?fail=1")
    assert answer.status_code == 500 and "no" not in answer.json()["detail"].split()
    assert site.client.post("/tint/shade", content=b"{").status_code == 422


@pytest.mark.parametrize("title", ["Tint", "tinting", "TINT"])
def test_a_panel_is_an_always_on_script(site: Site, title: str) -> None:
    assert "tint" in site.client.get("/sdapi/v1/scripts").json()["txt2img"]
    body = {"prompt": "a cat", "width": 64, "height": 64, "steps": 1, "alwayson_scripts": {title: {"args": [0.25]}}}
    info = site.client.post("/sdapi/v1/txt2img", json=body).json()["info"]
    assert "Tint amount: 0.25" in info


def test_the_arguments_of_a_panel_are_described(site: Site) -> None:
    (found,) = [
        each
        for each in site.client.get("/sdapi/v1/script-info").json()
        if each["name"] == "tint" and not each["is_img2img"]
    ]
    assert found["is_alwayson"] and found["args"][0]["maximum"] == 1


@pytest.mark.parametrize(
    ("options", "status", "word"),
    [
        ({"tint": {"amount": 2}}, 422, "amount"),
        ({"tint": {"colour": "red"}}, 422, "colour"),
        ({"nobody": {}}, 422, "nobody"),
        ({"tint": {"picture": "0" * 64}}, 404, "picture"),
        ({"tint": 3}, 422, "tint"),
    ],
)
def test_bad_options_are_refused(site: Site, options: dict[str, object], status: int, word: str) -> None:
    answer = site.client.post("/api/v2/jobs", json={"prompt": "a cat", "extensions": options})
    assert answer.status_code == status, answer.text
    assert word in answer.text


def test_options_come_back_from_the_infotext(site: Site) -> None:
    job = site.generate(extensions={"tint": {"amount": 0.5, "words": " of glass"}})
    assert job.plan.images[0].prompt == "a red circle of glass"  # type: ignore[union-attr]
    assert job.plan.extensions == {"tint": {"amount": 0.5}}  # type: ignore[union-attr]
    facts = site.studio.read_infotext(job.images[0].infotext)
    assert facts.request is not None and facts.request.extensions == {"tint": {"amount": 0.5}}
    assert not [line for line in facts.unmapped if line.startswith("Tint")]


def test_its_tags_are_its_own(site: Site) -> None:
    job = site.generate(prompt="a cat <tint:0.3> <other:1>")
    assert job.plan.extensions == {"tint": {"amount": 0.3}}  # type: ignore[union-attr]
    assert [note for note in job.plan.notes if "<other:" in note] and not [n for n in job.plan.notes if "<tint:" in n]


def test_settings_of_an_extension(site: Site) -> None:
    assert site.client.get("/sdapi/v1/options").json()["tint_most"] == 1.0
    assert site.client.post("/sdapi/v1/options", json={"tint_most": 7}).status_code == 422
    assert site.client.post("/sdapi/v1/options", json={"tint_most": 0.4}).status_code == 200
    try:
        answer = site.client.post("/api/v2/jobs", json={"prompt": "a cat", "extensions": {"tint": {"amount": 0.5}}})
        assert answer.status_code == 422 and "Too much tint" in answer.text
        body = {"prompt": "a cat", "width": 64, "height": 64, "steps": 1, "override_settings": {"tint_most": 1.0},
                "alwayson_scripts": {"tint": {"args": [0.5]}}}  # fmt: skip
        assert site.client.post("/sdapi/v1/txt2img", json=body).status_code == 200
    finally:
        site.client.post("/sdapi/v1/options", json={"tint_most": 1.0})


def test_samplers_schedules_and_upscalers_of_extensions_are_chosen_by_name(site: Site) -> None:
    assert "Plain" in [each["name"] for each in site.client.get("/sdapi/v1/samplers").json()]
    assert "Halves" in [each["label"] for each in site.client.get("/sdapi/v1/schedulers").json()]
    body = {"prompt": "a cat", "width": 64, "height": 64, "steps": 2, "sampler_name": "plain", "scheduler": "halves"}
    info = site.client.post("/sdapi/v1/txt2img", json=body).json()["info"]
    assert "Sampler: Plain, Schedule type: Halves" in info
    job = site.generate(sampler="Plain", schedule="Halves", hires={"upscaler": "Negative", "scale": 2})
    assert job.plan.extra.sampler == "Plain" and job.plan.hires.upscaler.kind == "extension"  # type: ignore[union-attr]
    request = site.studio.read_infotext(job.images[0].infotext).request
    assert request is not None and (request.sampler, request.schedule) == ("Plain", "Halves")
    assert site.client.post("/api/v2/jobs", json={"prompt": "a", "sampler": "Plainest"}).status_code == 404


def test_the_program_keeps_its_paths(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    assert site.client.get("/sdapi/v1/loras").status_code == 200
    assert site.client.get("/tint/nothing").status_code == 404


def test_listeners_hear_of_events(site: Site) -> None:
    before = site.client.get("/tint/state").json()["heard"]
    site.generate()
    wait_until(lambda: site.client.get("/tint/state").json()["heard"] > before)
