from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.api.site import Site, configure
from webui.api.errors import PlainJSONResponse, describe, failure_of_job
from webui.api.gate import Gate
from webui.domain.events import Failed
from webui.errors import BadRequest, Busy, EaselError, GenerationError, NotFound, OutOfMemory, StorageError


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (BadRequest("Too large.", hint="Make it smaller.", field="width"), "width: Too large. Make it smaller."),
        (NotFound("Sampler not found: 'x'.", field="sampler"), "Sampler not found: 'x'."),
        (StorageError("/data/outputs/a.png is full."), "outputs/a.png is full."),
    ],
)  # fmt: skip
def test_errors_say_where_and_what_to_do(error: EaselError, text: str) -> None:
    assert describe(error, "/data/") == text


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("OutOfMemory", OutOfMemory),
        ("StorageError", StorageError),
        ("Exception", GenerationError),
        ("annotations", GenerationError),
        ("ClassVar", GenerationError),
        ("", GenerationError),
    ],
)
def test_the_failure_of_a_job_is_the_error_that_ended_it(code: str, kind: type[EaselError]) -> None:
    error = failure_of_job(Failed(code=code, message="No memory.", hint="Make it smaller."))
    assert type(error) is kind and str(error) == "No memory. Make it smaller."


def test_half_a_surrogate_pair_does_not_break_an_answer() -> None:
    assert json.loads(PlainJSONResponse({"a": "\ud800ä"}).body) == {"a": "?ä"}


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (BadRequest("Bad."), 422),
        (NotFound("Gone."), 404),
        (Busy("Full."), 503),
        (StorageError("The disk is full.", hint="Free some space."), 507),
        (OutOfMemory("No memory.", hint="Lower the size."), 500),
    ],
)
def test_every_error_is_json(site: Site, monkeypatch: pytest.MonkeyPatch, error: EaselError, status: int) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(site.studio, "submit", fail)
    for path in ("/sdapi/v1/txt2img", "/api/v2/jobs"):
        answer = site.client.post(path, json={})
        assert answer.status_code == status
        assert set(answer.json()) == {"error", "detail", "body", "errors"}
        assert answer.json()["error"] == type(error).__name__ and answer.json()["detail"] == str(error)
        assert ("retry-after" in answer.headers) is isinstance(error, Busy)


def test_a_job_that_fails_answers_with_its_reason(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def place(*_: object) -> str:
        raise StorageError("The disk is full.", hint="Free some space.")

    monkeypatch.setattr("webui.jobs.output.OutputFolder.place", place)
    answer = site.client.post("/sdapi/v1/txt2img", json={"steps": 1, "width": 64, "height": 64})
    assert answer.status_code == 507 and answer.json()["detail"] == "The disk is full. Free some space."
    monkeypatch.undo()
    assert site.client.post("/sdapi/v1/txt2img", json={"steps": 1, "width": 64, "height": 64}).status_code == 200


def test_the_gate_answers_json_too(tmp_path: Path) -> None:
    from starlette.testclient import TestClient

    async def never(scope: object, receive: object, send: object) -> None:
        raise AssertionError

    answer = TestClient(Gate(never, configure(tmp_path)), base_url="http://evil.example").get("/")
    assert answer.status_code == 403 and set(answer.json()) == {"error", "detail", "body", "errors"}
