from __future__ import annotations

import io
import json
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from tests.api.site import Site, browser, open_site, serve, wait_until
from webui.api.following import MAX_FOLLOWERS
from webui.api.v2.routes import _shown_job
from webui.domain.plan import Plan, TaesdPlan
from webui.domain.request import GenerationRequest
from webui.jobs.stub_runner import StubRunner
from webui.weights.memory_plan.facts import DeviceFacts

SLOW = {"prompt": "a cat", "width": 64, "height": 64, "steps": 150, "batch_count": 100}


@pytest.fixture
def slow_site(tmp_path: Path) -> Iterator[Site]:
    with open_site(tmp_path, delay=0.02) as opened:
        yield opened


def read_events(text: str) -> list[dict[str, Any]]:
    """Return the `data` of each server-sent event with its `id` and `event`."""
    events = []
    for block in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if fields:
            events.append({**json.loads(fields["data"]), "id": fields.get("id"), "event": fields["event"]})
    return events


def submit(site: Site, **fields: object) -> str:
    answer = site.client.post("/api/v2/jobs", json={**SLOW, **fields})
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def state(site: Site, job_id: str) -> str:
    return str(site.client.get(f"/api/v2/jobs/{job_id}").json()["state"])


def test_a_job_is_accepted_at_once_and_listed(slow_site: Site) -> None:
    answer = slow_site.client.post("/api/v2/jobs?task_id=task(1)", json=SLOW)
    assert answer.status_code == 202
    job = answer.json()
    assert answer.headers["location"] == f"jobs/{job['id']}"
    assert job["task_id"] == "task(1)" and job["source"] == "api"
    assert slow_site.client.get("/api/v2/jobs/task(1)").json()["id"] == job["id"]
    other = submit(slow_site)
    assert [entry["id"] for entry in slow_site.client.get("/api/v2/jobs").json()] == [other, job["id"]]
    assert len(slow_site.client.get("/api/v2/jobs?limit=1").json()) == 1


def test_a_job_does_not_tell_where_the_model_lies(site: Site) -> None:
    job = site.client.get(f"/api/v2/jobs/{site.generate().id}").json()
    assert job["plan"]["model"]["name"] == "tiny"
    assert str(site.config.data_dir) not in json.dumps(job)


@pytest.mark.parametrize("limit", ["0", "-1", "501", "x", "nan"])
def test_a_wrong_limit_is_said(site: Site, limit: str) -> None:
    answer = site.client.get(f"/api/v2/jobs?limit={limit}")
    assert answer.status_code == 422 and "limit" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"steps": 151}, "steps"),
        ({"width": 65}, "width"),
        ({"no_such": 1}, "no_such"),
        ({"prompt": "x" * 100_000}, "prompt"),
        ([], "body"),
        (None, "body"),
    ],
)
def test_a_wrong_request_is_said_in_words(site: Site, body: object, named: str) -> None:
    answer = site.client.post("/api/v2/jobs", json=body)
    assert answer.status_code == 422
    assert isinstance(answer.json()["detail"], str) and named in answer.json()["detail"]


@pytest.mark.parametrize("path", ["", "/events", "/preview", "/images/0", "/interrupt", "/skip"])
def test_an_unknown_job_is_not_found(site: Site, path: str) -> None:
    method = "POST" if path in ("/interrupt", "/skip") else "GET"
    answer = site.client.request(method, f"/api/v2/jobs/nope{path}")
    assert answer.status_code == 404 and "nope" in answer.json()["detail"]


def test_events_are_replayed_from_any_number(site: Site) -> None:
    job = site.generate(batch_count=2)
    answer = site.client.get(f"/api/v2/jobs/{job.id}/events")
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["cache-control"] == "no-store"
    events = read_events(answer.text)
    assert [event["event"] for event in events] == ["queued", "started", *["image_done"] * 3, "finished"]
    assert [event["role"] for event in events[2:5]] == ["image", "image", "sheet"]
    assert all(event["kind"] == event["event"] for event in events)
    assert events[-1]["progress"]["state"] == "finished" and events[-1]["progress"]["fraction"] == 1
    numbers = [int(event["id"]) for event in events]
    assert numbers == sorted(numbers)
    rest = site.client.get(f"/api/v2/jobs/{job.id}/events?after={numbers[2]}").text
    assert [event["event"] for event in read_events(rest)] == ["image_done", "image_done", "finished"]
    again = site.client.get(f"/api/v2/jobs/{job.id}/events", headers={"Last-Event-ID": str(numbers[4])}).text
    assert [event["event"] for event in read_events(again)] == ["finished"]


def test_events_arrive_while_the_job_runs(slow_site: Site) -> None:
    job_id = submit(slow_site)
    kinds: list[str] = []
    with serve(slow_site.app) as url, browser(url) as client:
        with client.stream("GET", f"/api/v2/jobs/{job_id}/events") as stream:
            for line in stream.iter_lines():
                kinds += [line.removeprefix("event: ")] if line.startswith("event: ") else []
                if {"previewed", "stepped"} <= set(kinds):  # only the newest of each is told, in any order
                    break
        assert state(slow_site, job_id) == "running"
        with client.stream("GET", f"/api/v2/jobs/{job_id}/events") as stream:
            client.post(f"/api/v2/jobs/{job_id}/interrupt")
            assert "event: cancelled" in list(stream.iter_lines())


def test_many_followers_leave_room_for_short_requests(slow_site: Site) -> None:
    job_id = submit(slow_site)
    with serve(slow_site.app) as url, httpx.Client(base_url=url, timeout=60, limits=httpx.Limits()) as client:
        streams = [client.stream("GET", f"/api/v2/jobs/{job_id}/events") for _ in range(60)]
        for stream in streams:
            stream.__enter__()
        assert client.get("/sdapi/v1/options").status_code == 200
        slow_site.studio.interrupt(job_id)
        for stream in streams:
            stream.__exit__(None, None, None)


def test_followers_beyond_the_limit_are_told_so(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    job = site.generate()
    for _ in range(MAX_FOLLOWERS + 5):  # places are given back
        assert "finished" in site.client.get(f"/api/v2/jobs/{job.id}/events?after=3").text
    monkeypatch.setattr("threading.BoundedSemaphore.acquire", lambda *_, **__: False)
    assert "event: problem" in site.client.get(f"/api/v2/jobs/{job.id}/events").text
    answer = site.client.post("/sdapi/v1/txt2img", json={"steps": 1})
    assert answer.status_code == 503 and int(answer.headers["retry-after"]) > 0


def test_a_preview_is_a_jpeg_of_the_running_job(slow_site: Site) -> None:
    job_id = submit(slow_site)
    wait_until(lambda: slow_site.client.get(f"/api/v2/jobs/{job_id}/preview").status_code == 200)
    answer = slow_site.client.get(f"/api/v2/jobs/{job_id}/preview?n=1")
    assert answer.headers["content-type"] == "image/jpeg" and answer.headers["cache-control"] == "no-store"
    assert Image.open(io.BytesIO(answer.content)).format == "JPEG"
    slow_site.client.post(f"/api/v2/jobs/{job_id}/interrupt")
    slow_site.studio.wait(job_id)
    assert slow_site.client.get(f"/api/v2/jobs/{job_id}/preview").status_code == 204


def test_an_image_is_sent_once(site: Site) -> None:
    job = site.generate()
    url = f"/api/v2/jobs/{job.id}/images/0"
    answer = site.client.get(url)
    assert answer.headers["content-type"] == "image/png"
    assert "immutable" in answer.headers["cache-control"]
    assert answer.headers["content-disposition"].startswith("inline; filename=")
    assert Image.open(io.BytesIO(answer.content)).size == (64, 64)
    again = site.client.get(url, headers={"If-None-Match": answer.headers["etag"]})
    assert again.status_code == 304 and again.content == b""
    for index in ("1", "-1", "99999999999999999999"):
        assert site.client.get(f"/api/v2/jobs/{job.id}/images/{index}").status_code == 404
    (site.config.outputs_dir / job.images[0].path).unlink()
    assert site.client.get(url).status_code == 404


def test_a_waiting_job_can_be_taken_back(slow_site: Site) -> None:
    first, second = submit(slow_site), submit(slow_site)
    wait_until(lambda: state(slow_site, first) == "running")
    assert slow_site.client.post(f"/api/v2/jobs/{second}/interrupt").json() == {}
    assert state(slow_site, second) == "cancelled" and state(slow_site, first) == "running"


def test_skipping_goes_on_with_the_next_batch(slow_site: Site) -> None:
    job_id = submit(slow_site)
    wait_until(lambda: state(slow_site, job_id) == "running")
    slow_site.client.post(f"/api/v2/jobs/{job_id}/skip")
    wait_until(lambda: slow_site.studio.progress(job_id).batch > 0)
    assert state(slow_site, job_id) == "running"


def test_settings_come_with_their_schema(site: Site) -> None:
    shown = site.client.get("/api/v2/settings").json()
    assert set(shown["schema"]["properties"]) == set(shown["values"])
    assert shown["schema"]["properties"]["samples_save"]["section"]
    changed = site.client.post("/api/v2/settings", json={"clip_skip": 2, "samples_save": False}).json()
    assert changed["values"]["CLIP_stop_at_last_layers"] == 2 and changed["values"]["samples_save"] is False
    answer = site.client.post("/api/v2/settings", json={"clip_skip": 99})
    assert answer.status_code == 422 and "clip_skip" in answer.json()["detail"]


def test_status_and_models(tmp_path: Path) -> None:
    folder = tmp_path / "models" / "Stable-diffusion"
    folder.mkdir(parents=True)
    (folder / "broken.safetensors").write_bytes(b"<html>")
    with open_site(tmp_path) as site:
        shown = site.client.get("/api/v2/models").json()
        assert shown["current"] == "tiny"
        problems = {model["name"]: model["problem"] for model in shown["models"]}
        assert problems["tiny"] is None and "HTML" in problems["broken"]
        assert str(tmp_path) not in json.dumps(shown)
        assert [model["model_name"] for model in site.client.get("/sdapi/v1/sd-models").json()] == ["tiny"]
        status = site.client.get("/api/v2/status").json()
        assert status["worker"] == "ready" and status["server_memory"] > 0


def test_png_info_takes_raw_bytes_and_forms(site: Site) -> None:
    job = site.generate()
    content = (site.config.outputs_dir / job.images[0].path).read_bytes()
    raw = site.client.post("/api/v2/png-info", content=content, headers={"Content-Type": "image/png"}).json()
    form = site.client.post("/api/v2/png-info", files={"file": ("a.png", content, "image/png")}).json()
    assert raw == form
    assert raw["infotext"] == job.images[0].infotext and raw["request"]["prompt"] == "a red circle"
    for wrong in ({"files": {"other": ("a.png", content)}}, {"json": {}}, {"data": {"file": "text"}}):
        answer = site.client.post("/api/v2/png-info", **wrong)  # type: ignore[arg-type]
        assert answer.status_code in (400, 422) and "file" in answer.json()["detail"]


@pytest.mark.parametrize("file_format", ["jpg", "webp", "avif"])
def test_images_of_every_format_are_kept_shown_and_read(tmp_path: Path, file_format: str) -> None:
    with open_site(tmp_path) as site:
        site.client.post("/api/v2/settings", json={"samples_format": file_format, "grid_format": "webp"})
        job = site.generate(batch_count=2)
        assert [Path(image.path).suffix for image in job.images] == [f".{file_format}"] * 2 + [".webp"]
        shown = site.client.get(f"/api/v2/jobs/{job.id}/images/0")
        assert shown.headers["content-type"] == f"image/{'jpeg' if file_format == 'jpg' else file_format}"
        assert f'.{file_format}"' in shown.headers["content-disposition"]
        read = site.client.post("/api/v2/png-info", content=shown.content, headers={"Content-Type": "image/*"}).json()
        assert (read["program"], read["infotext"]) == ("Easel", job.images[0].infotext)
        unkept = site.generate(keep=False).images[0]
        assert Path(unkept.path).suffix == f".{file_format}"


def test_what_other_programs_write_is_read(site: Site) -> None:
    metadata = {"positive_prompt": "a boat", "seed": 5, "scheduler": "euler_a", "steps": 9, "controlnets": [{}]}
    chunks = PngInfo()
    chunks.add_text("invokeai_metadata", json.dumps(metadata))
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "PNG", pnginfo=chunks)
    content = buffer.getvalue()
    read = site.client.post("/api/v2/png-info", content=content, headers={"Content-Type": "image/png"}).json()
    assert read["program"] == "InvokeAI" and read["infotext"].startswith("a boat\nSteps: 9")
    assert (read["request"]["sampler"], read["request"]["seed"]) == ("Euler a", 5)
    assert json.loads(read["items"]["invokeai_metadata"]) == metadata and len(read["unmapped"]) == 1


def test_a_text_is_read(site: Site) -> None:
    text = "a cat\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 5, Size: 512x512, Face restoration: GFPGAN"
    read = site.client.post("/api/v2/infotext", json={"text": text}).json()
    assert read["infotext"] == text and read["fields"]["Seed"] == "5"
    assert (read["request"]["prompt"], read["request"]["seed"], read["start"]) == ("a cat", 5, {})
    assert [line.split(":")[0] for line in read["unmapped"]] == ["Face restoration"]
    assert site.client.post("/api/v2/infotext", json={"text": ""}).json()["request"] is None
    for wrong in ({}, {"text": 5}, {"text": "a" * 1_000_001}):
        answer = site.client.post("/api/v2/infotext", json=wrong)
        assert answer.status_code == 422 and "text" in answer.text


@pytest.mark.parametrize("keeps", [False, True])
def test_a_client_that_leaves_stops_its_job_unless_the_images_are_kept(slow_site: Site, keeps: bool) -> None:
    def leave(url: str) -> None:
        with pytest.raises(httpx.ReadTimeout):
            body = {**SLOW, "n_iter": 100, "save_images": keeps}
            httpx.post(f"{url}/sdapi/v1/txt2img", json=body, timeout=httpx.Timeout(60, read=0.5))

    with serve(slow_site.app) as url:
        leaving = threading.Thread(target=leave, args=(url,))
        leaving.start()
        wait_until(lambda: slow_site.studio.active())
        leaving.join()
        job_id = slow_site.studio.jobs()[0].id
        if keeps:
            reached = slow_site.studio.progress(job_id).step
            wait_until(lambda: slow_site.studio.progress(job_id).step != reached)
            slow_site.studio.interrupt(job_id)
        assert slow_site.studio.wait(job_id).state == "cancelled"


def test_a_stopping_server_lets_go_of_those_who_wait(slow_site: Site) -> None:
    answers: list[httpx.Response] = []
    with serve(slow_site.app) as url:
        body = {**SLOW, "n_iter": 100}
        waiting = threading.Thread(
            target=lambda: answers.append(httpx.post(f"{url}/sdapi/v1/txt2img", json=body, timeout=60))
        )
        waiting.start()
        wait_until(lambda: slow_site.studio.active())
        slow_site.studio.release_followers()
        waiting.join()
    assert answers[0].status_code == 503 and "stays in the queue" in answers[0].json()["detail"]
    slow_site.studio.interrupt()


def test_the_documentation_needs_no_other_site(site: Site) -> None:
    page = site.client.get("/docs").text
    assert "/sdapi/v1/txt2img" in page and "/api/v2/jobs/{job_id}/events" in page
    assert not re.search("https?://", page)
    assert site.client.get("/openapi.json").json()["info"]["title"] == "Easel"


def test_healthz_is_open(tmp_path: Path) -> None:
    with open_site(tmp_path, "--gradio-auth=ann:secret") as site:
        assert site.client.get("/healthz").json() == {"status": "ok"}


def test_a_job_shows_files_by_name_not_where_they_lie(site: Site) -> None:
    asked = GenerationRequest(prompt="a house", width=64, height=64)
    job = site.studio.wait(site.studio.submit(asked).id)
    taesd = TaesdPlan(decoder=Path("/home/somebody/models/VAE-approx/taesd_decoder.safetensors"))
    assert isinstance(job.plan, Plan)
    shown = _shown_job(job.replace(plan=job.plan.replace(taesd=taesd)))
    assert shown["plan"]["taesd"]["decoder"] == "taesd_decoder.safetensors"
    assert shown["plan"]["model"]["name"] == job.plan.model.name and "path" not in shown["plan"]["model"]
    assert "/home/somebody" not in json.dumps(shown) and str(site.config.data_dir) not in json.dumps(shown)
    assert shown["images"][0]["path"] == job.images[0].path


def test_what_a_job_would_take(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    request = {"prompt": "a cat", "width": 64, "height": 64}
    answer = site.client.post("/api/v2/jobs/estimate", json=request)
    assert answer.status_code == 503 and answer.headers["retry-after"]
    assert "has not told its device" in answer.text
    device = DeviceFacts(free=2**34, total=2**35, ram_free=2**34, ram_total=2**35)
    monkeypatch.setattr(StubRunner, "facts", lambda _: {"device_facts": device.model_dump()})
    before = len(site.client.get("/api/v2/jobs").json())
    answer = site.client.post("/api/v2/jobs/estimate", json=request)
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert 0 < told["peak"] < told["free"] == 2**34 and told["fits"]
    assert (told["mode"], told["why"]) == ("normal", "Everything computes on the processor.")
    larger = site.client.post("/api/v2/jobs/estimate", json={**request, "width": 512}).json()
    assert larger["peak"] > told["peak"]
    assert len(site.client.get("/api/v2/jobs").json()) == before, "nothing was queued"
    assert site.client.post("/api/v2/jobs/estimate", json={**request, "width": 63}).status_code == 422
