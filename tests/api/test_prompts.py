"""Styles, wildcards, templates and token counts through both APIs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.api.site import Site, open_site
from tests.tiny_models import make_folder
from webui.domain.request import MAX_PROMPT

STYLES = 'name,prompt,negative_prompt\nfilm,"{prompt}, grain",digital\nink,black ink,\n'


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    (tmp_path / "styles.csv").write_text(STYLES, encoding="utf-8")
    (tmp_path / "wildcards").mkdir()
    (tmp_path / "wildcards" / "color.txt").write_text("red\n", encoding="utf-8")
    with open_site(tmp_path) as opened:
        yield opened


def test_styles_are_listed(site: Site) -> None:
    expected = [
        {"name": "film", "prompt": "{prompt}, grain", "negative_prompt": "digital"},
        {"name": "ink", "prompt": "black ink", "negative_prompt": ""},
    ]
    assert site.client.get("/sdapi/v1/prompt-styles").json() == expected
    assert site.client.get("/api/v2/styles").json() == expected
    assert site.client.get("/api/v2/wildcards").json() == ["color"]


def test_styles_and_wildcards_reach_the_image(site: Site) -> None:
    asked = {
        "prompt": "a __color__ cat",
        "styles": ["film", "None", ""],
        "width": 64,
        "height": 64,
        "steps": 2,
        "seed": 4,
    }
    info = json.loads(site.client.post("/sdapi/v1/txt2img", json=asked).json()["info"])
    assert info["all_prompts"] == ["a red cat, grain"] and info["negative_prompt"] == "digital"
    assert info["styles"] == ["film"]
    assert 'Template: "a __color__ cat, grain"' in info["infotexts"][0]


@pytest.mark.parametrize("path", ["/sdapi/v1/txt2img", "/api/v2/jobs"])
def test_an_unknown_style_is_told(site: Site, path: str) -> None:
    answer = site.client.post(path, json={"styles": ["flim"], "width": 64, "height": 64})
    assert answer.status_code == 404 and "Did you mean 'film'" in answer.text


def test_a_damaged_styles_file_is_a_problem_and_no_crash(site: Site) -> None:
    (site.config.data_dir / "styles.csv").write_text("no table", encoding="utf-8")
    assert site.client.get("/sdapi/v1/prompt-styles").json() == []
    assert any("styles.csv" in problem for problem in site.client.get("/api/v2/status").json()["problems"])


def test_an_override_changes_the_emphasis_of_one_image(site: Site) -> None:
    asked = {
        "prompt": "a (cat:1.5)",
        "width": 64,
        "height": 64,
        "steps": 2,
        "override_settings": {"emphasis": "No norm"},
    }
    info = json.loads(site.client.post("/sdapi/v1/txt2img", json=asked).json()["info"])
    assert "Emphasis: No norm" in info["infotexts"][0]
    asked["override_settings"] = {"emphasis": "Loud"}
    assert site.client.post("/sdapi/v1/txt2img", json=asked).status_code == 422


def test_tokens_are_counted(site: Site) -> None:
    make_folder(site.config.checkpoint_dirs[0] / "real")
    site.studio.refresh_models()
    site.studio.select_model("real")
    count = lambda text: site.client.get("/api/v2/tokens", params={"text": text}).json()  # noqa: E731
    assert count("") == {"tokens": 0, "limit": 75}
    assert count("a (photo:1.3) of a __color__ cat, {x|y} # note") == {"tokens": 8, "limit": 75}
    assert count("cat " * 80) == {"tokens": 80, "limit": 150}


def test_what_cannot_be_counted_is_told(site: Site) -> None:
    (site.config.checkpoint_dirs[0] / "tiny" / "tokenizer" / "vocab.json").write_text("{")
    answer = site.client.get("/api/v2/tokens", params={"text": "a"})
    assert answer.status_code == 422 and "tokenizer" in answer.text
    assert site.client.get("/api/v2/tokens", params={"text": "a", "model": "nobody"}).status_code == 404
    assert site.client.get("/api/v2/tokens").status_code == 422
    assert site.client.get("/api/v2/tokens", params={"text": "a" * (MAX_PROMPT + 1)}).status_code in (414, 422, 431)
