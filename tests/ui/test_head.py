"""What is put into the page's head, and its compression."""

from __future__ import annotations

import gzip
import json
import re

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.testclient import TestClient

from webui.ui.head import InjectHead, page_head
from webui.ui.static_files import StaticFiles

PAGE = "<!doctype html><html><head><title>x</title></head><body><head></body></html>"


def answer(request: Request) -> Response:
    return JSONResponse({"head": "<head>"}) if "json" in request.query_params else HTMLResponse(PAGE)


@pytest.fixture
def client() -> TestClient:
    app = Starlette(routes=[Route("/", answer), Route("/other", answer)])
    return TestClient(InjectHead(app, "<script>ours</script>"))


def test_our_tags_come_first_and_once(client: TestClient) -> None:
    assert client.get("/").text == PAGE.replace("<head><title>", "<head><script>ours</script><title>")


def test_the_page_is_compressed_for_who_can_read_it(client: TestClient) -> None:
    packed = client.get("/", headers={"Accept-Encoding": "gzip"})
    plain = client.get("/", headers={"Accept-Encoding": "identity"})
    assert packed.headers["content-encoding"] == "gzip" and "content-encoding" not in plain.headers
    assert packed.text == plain.text
    assert packed.headers["cache-control"] == "no-cache"


def test_other_answers_are_left_alone(client: TestClient) -> None:
    assert client.get("/other").text == PAGE
    assert client.get("/?json").json() == {"head": "<head>"}


def test_facts_cannot_leave_their_element() -> None:
    head = page_head(StaticFiles.load(), {"theme": "</script><script>alert(1)</script>"})
    found = re.search(r'<script type="application/json" id="easel-page">(.*?)</script>', head)
    assert found and json.loads(found[1]) == {"theme": "</script><script>alert(1)</script>"}


def test_every_script_is_loaded_early() -> None:
    files = StaticFiles.load()
    head = page_head(files, {})
    assert all(files.url(name) in head for name in files.names(".js"))
    assert len(gzip.compress(head.encode())) < 8192
