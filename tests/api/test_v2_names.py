"""What requests can name, and requests of every kind, through our own API."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.api.site import Site, open_site
from webui.domain.request import UpscaleRequest


def post_picture(site: Site, size: tuple[int, int] = (64, 64)) -> str:
    buffer = io.BytesIO()
    Image.new("RGB", size, "teal").save(buffer, "PNG")
    answer = site.client.post("/api/v2/inputs", content=buffer.getvalue(), headers={"Content-Type": "image/png"})
    return str(answer.json()["id"])


def test_upscalers_say_what_they_work_on(site: Site) -> None:
    kinds = {each["name"]: each["kind"] for each in site.client.get("/api/v2/upscalers").json()}
    assert (kinds["Latent"], kinds["Lanczos"], kinds["None"]) == ("latent", "plain", "plain")


def test_vaes_that_cannot_be_used_say_why(tmp_path: Path) -> None:
    folder = tmp_path / "models" / "VAE"
    folder.mkdir(parents=True)
    (folder / "broken.safetensors").write_bytes(b"<html>")
    with open_site(tmp_path) as site:
        shown = site.client.get("/api/v2/vaes").json()
        assert [vae["name"] for vae in shown] == ["broken"] and "HTML" in shown[0]["problem"]
        assert str(tmp_path) not in json.dumps(shown)
        assert site.client.get("/sdapi/v1/sd-vae").json() == []


def test_scripts_come_with_the_schema_of_their_options(site: Site) -> None:
    for script in site.client.get("/api/v2/scripts").json():
        assert script["options"]["properties"] is not None and set(script["pages"]) <= {"txt2img", "img2img"}
    known = {script.name for script in site.studio.scripts()}
    assert {script["name"] for script in site.client.get("/api/v2/scripts").json()} == known


def test_styles_are_saved_replaced_and_deleted(site: Site) -> None:
    style = {"name": "film/noir", "prompt": "{prompt}, film noir", "negative_prompt": "colour"}
    answer = site.client.post("/api/v2/styles", json=style)
    assert (answer.status_code, answer.json()) == (201, style)
    site.client.post("/api/v2/styles", json={"name": "film/noir", "prompt": "noir, {prompt}"})
    expected = [{"name": "film/noir", "prompt": "noir, {prompt}", "negative_prompt": ""}]
    assert site.client.get("/api/v2/styles").json() == expected
    assert site.client.get("/sdapi/v1/prompt-styles").json() == expected
    assert site.generate(prompt="a street", styles=["film/noir"]).plan.images[0].prompt == "noir, a street"
    assert site.client.delete("/api/v2/styles/film/noir").json() == {}
    assert site.client.get("/api/v2/styles").json() == []
    gone = site.client.delete("/api/v2/styles/film/noir")
    assert gone.status_code == 404 and "film/noir" in gone.json()["detail"]


@pytest.mark.parametrize(
    ("style", "named"),
    [
        ({}, "name"),
        ({"name": ""}, "name"),
        ({"name": "  "}, "name"),
        ({"name": "#x"}, "name"),
        ({"name": "x", "prompt": 5}, "prompt"),
        ({"name": "x", "prompt": "x" * 100_000}, "prompt"),
        ({"name": "x", "text": ""}, "text"),
    ],
)
def test_a_style_that_cannot_be_is_refused(site: Site, style: dict[str, Any], named: str) -> None:
    answer = site.client.post("/api/v2/styles", json=style)
    assert answer.status_code == 422 and named in answer.json()["detail"]
    assert not (site.config.data_dir / "styles.csv").exists()


def test_pictures_are_enlarged_as_a_job(site: Site) -> None:
    request = {"kind": "upscale", "images": [post_picture(site)], "scale": 2}
    answer = site.client.post("/api/v2/jobs", json=request)
    assert answer.status_code == 202, answer.text
    job = site.studio.wait(answer.json()["id"])
    assert job.state == "finished" and isinstance(job.request, UpscaleRequest)
    shown = site.client.get(f"/api/v2/jobs/{job.id}").json()
    assert (shown["request"]["kind"], shown["plan"]["kind"], shown["images"][0]["width"]) == ("upscale", "upscale", 128)


@pytest.mark.parametrize(
    ("request_", "status", "named"),
    [
        ({"kind": "paint"}, 422, "paint"),
        ({"kind": []}, 422, "generate"),
        ({"kind": "upscale"}, 422, "images: "),
        ({"kind": "upscale", "images": ["0" * 64]}, 404, "0"),
        ({"kind": "upscale", "images": ["x"]}, 422, "images.0: "),
        ({"steps": 0}, 422, "steps: "),
        ({"hires": {"scale": 99}}, 422, "hires.scale: "),
        ({"hires": {"upscaler": "no such"}}, 404, "hires.upscaler: "),
        ({"refiner": {"model": "no such"}}, 404, "refiner.model: "),
        ({"script": {"name": "no such"}}, 404, "no such"),
        ({"vae": "no such"}, 404, "no such"),
        ({"guiding": {"start": 0.9, "end": 0.1}}, 422, "guiding.end: "),
        ({"tiling": "up"}, 422, "tiling: "),
    ],
)
def test_a_request_that_cannot_be_is_refused_and_none_is_queued(
    site: Site, request_: dict[str, Any], status: int, named: str
) -> None:
    answer = site.client.post("/api/v2/jobs", json=request_)
    assert answer.status_code == status and named in answer.json()["detail"], answer.text
    assert site.studio.jobs() == ()


def test_no_plan_tells_where_its_models_lie(tmp_path: Path) -> None:
    with open_site(tmp_path, models=("tiny", "other")) as site:
        job = site.generate(model="tiny", hires={"model": "other"}, refiner={"model": "other", "switch_at": 0.5})
        shown = site.client.get(f"/api/v2/jobs/{job.id}").json()
        assert shown["plan"]["hires"]["model"]["name"] == "other" == shown["plan"]["refiner"]["model"]["name"]
        assert shown["images"][0]["path"].endswith(".png")
        assert str(tmp_path) not in json.dumps(shown)
