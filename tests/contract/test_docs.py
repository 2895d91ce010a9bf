"""docs/api.md: its examples run, and its routes are those there are."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.api.site import Site, open_site, serve

PAGE = Path(__file__).resolve().parents[2] / "docs" / "api.md"
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Site, str]]:
    with open_site(tmp_path_factory.mktemp("site")) as site, serve(site.app) as url:
        yield site, url


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_runs(
    served: tuple[Site, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, example: str
) -> None:
    site, url = served
    monkeypatch.chdir(tmp_path)
    here = example.replace("http://127.0.0.1:7860", url).replace("port=7860", f"port={url.rpartition(':')[2]}")
    assert here != example
    names: dict[str, object] = {}
    exec(compile(here, "docs/api.md", "exec"), names)
    if (client := names.get("easel")) is not None:
        client.close()  # type: ignore[attr-defined]
    jobs = site.studio.jobs()
    assert jobs and all(site.studio.wait(job.id).state == "finished" for job in jobs)


def test_every_route_is_on_the_page(served: tuple[Site, str]) -> None:
    text = PAGE.read_text(encoding="utf-8")
    paths = served[0].client.get("/openapi.json").json()["paths"]
    names = {re.sub(r"/?\{[^}]*\}", "", path).rpartition("/")[2] for path in paths if not path.startswith("/internal")}
    assert {name for name in names if name not in text} == set()
