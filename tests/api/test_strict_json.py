from __future__ import annotations

import json

import pytest

from tests.api.site import Site
from webui.api.strict_json import read_json

REFUSED = [
    "NaN", "[Infinity]", '{"a": -Infinity}', "1e999", "-1e999", "1" * 5000, "[" * 100_000, '{"a": 1,}', "", "{", "'a'",
]  # fmt: skip


@pytest.mark.parametrize("text", REFUSED)
def test_what_json_does_not_allow_is_refused(text: str) -> None:
    with pytest.raises(json.JSONDecodeError):
        read_json(text)


def test_json_is_read() -> None:
    text = '{"a": [1, -2.5, 1e10, true, null, "\\u00e4"], "b": {}}'
    assert read_json(text) == json.loads(text)


@pytest.mark.parametrize("path", ["/sdapi/v1/txt2img", "/sdapi/v1/options", "/api/v2/jobs", "/api/v2/settings"])
@pytest.mark.parametrize(
    "body", [*(f'{{"cfg_scale": {text}}}'.encode() for text in REFUSED), b"\xff\xfe{}", '{"a": 1}'.encode("utf-16")]
)
def test_every_route_refuses_it(site: Site, path: str, body: bytes) -> None:
    answer = site.client.post(path, content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422, answer.text
    assert len(answer.content) < 2000
    assert site.studio.jobs() == ()


def test_a_byte_order_mark_is_harmless(site: Site) -> None:
    body = b"\xef\xbb\xbf" + b'{"steps": 1, "width": 64, "height": 64}'
    answer = site.client.post("/sdapi/v1/txt2img", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 200
