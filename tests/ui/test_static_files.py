"""Only our own listed files, and caching that can never show an old one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.testclient import TestClient

from webui.ui.static_files import FOLDER, StaticFiles


@pytest.fixture
def files(tmp_path: Path) -> StaticFiles:
    (tmp_path / "one.js").write_text("export {}")
    (tmp_path / "secret.txt").write_text("hidden")
    return StaticFiles.load(tmp_path)


@pytest.fixture
def client(files: StaticFiles) -> TestClient:
    return TestClient(Starlette(routes=[Mount("/easel/static", files)]))


def test_a_file_is_cached_for_ever_under_its_digest(client: TestClient, files: StaticFiles) -> None:
    answer = client.get(f"/{files.url('one.js')}")
    assert (answer.status_code, answer.text) == (200, "export {}")
    assert answer.headers["content-type"].startswith("text/javascript")
    assert "immutable" in answer.headers["cache-control"]
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_an_old_address_gives_the_newest_file_and_is_not_cached(client: TestClient) -> None:
    answer = client.get("/easel/static/0123456789ab/one.js")
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-cache")


@pytest.mark.parametrize("name", ["secret.txt", "two.js", "../one.js", "..%2f..%2fapp.py", "a/one.js", ""])
def test_nothing_else_is_served(client: TestClient, files: StaticFiles, name: str) -> None:
    assert client.get(f"/easel/static/{files.digest}/{name}").status_code == 404


def test_it_is_for_reading(client: TestClient, files: StaticFiles) -> None:
    assert client.post(f"/{files.url('one.js')}").status_code == 405


def test_the_digest_follows_names_and_contents(tmp_path: Path, files: StaticFiles) -> None:
    (tmp_path / "one.js").write_text("export {};")
    assert StaticFiles.load(tmp_path).digest != files.digest


def test_our_scripts_ask_nobody_else() -> None:
    for path in FOLDER.iterdir():
        text = path.read_text("utf-8").replace("http://www.w3.org/2000/svg", "")
        asked = re.search(r"(fetch|get|post|EventSource|import|from|src|url)\W{0,4}https?://", text)
        assert asked is None, path.name  # a link to where an extension came from is for people to follow
        assert not any(f'{call}("/' in text for call in ("fetch", "get", "post", "EventSource")), path.name
