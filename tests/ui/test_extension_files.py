"""Files of extensions over HTTP: what browsers may have, with its type, and nothing else however it is asked for."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.testclient import TestClient

from webui.extending.assets import Assets
from webui.extending.loader import Extension
from webui.ui.extension_files import ExtensionFiles
from webui.ui.head import page_head
from webui.ui.static_files import StaticFiles


@pytest.fixture
def client(tmp_path: Path) -> TestClient:
    folder = tmp_path / "one"
    (folder / "javascript").mkdir(parents=True)
    (folder / "javascript" / "run.js").write_text("run()")
    (folder / "extension.py").write_text("secret")
    (tmp_path / "outside.js").write_text("secret")
    studio = SimpleNamespace(assets=Assets((Extension("one", folder, "One"),)))
    return TestClient(Starlette(routes=[Mount("/extensions", ExtensionFiles(studio))]))  # type: ignore[arg-type]


def test_a_script_is_given_and_asked_about_each_time(client: TestClient) -> None:
    answer = client.get("/extensions/one/javascript/run.js?1")
    assert (answer.text, answer.headers["x-content-type-options"]) == ("run()", "nosniff")
    assert answer.headers["content-type"].startswith("text/javascript")
    again = client.get("/extensions/one/javascript/run.js", headers={"If-None-Match": answer.headers["etag"]})
    assert again.status_code == 304 and again.content == b""


@pytest.mark.parametrize(
    "path",
    [
        "one/extension.py",
        "one/javascript/..%2f..%2foutside.js",
        "one/javascript/%2e%2e/%2e%2e/outside.js",
        "..%2foutside.js",
        "one/javascript/",
        "one",
        "",
        "two/javascript/run.js",
    ],
)
def test_nothing_else_is(client: TestClient, path: str) -> None:
    answer = client.get(f"/extensions/{path}", follow_redirects=False)
    assert "secret" not in answer.text and answer.status_code in (404, 307)


def test_it_is_for_reading(client: TestClient) -> None:
    assert client.post("/extensions/one/javascript/run.js").status_code == 405


def test_scripts_of_extensions_stand_after_ours_each_by_itself() -> None:
    head = page_head(StaticFiles.load(), {}, ('extensions/a/javascript/"x".js?1', "extensions/b/m.mjs?2"), ("s.css",))
    ours = head.index("main.js")
    first = head.index('<script defer src="extensions/a/javascript/&quot;x&quot;.js?1"></script>')
    second = head.index('<script type=module src="extensions/b/m.mjs?2"></script>')
    assert ours < first < second and '<link rel="stylesheet" href="s.css">' in head
