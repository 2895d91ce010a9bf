"""Lists of models, their cards and pictures through the product's own API, on real folders."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from tests.api.site import Site, open_site
from tests.header_files import write_header

LORA = {"lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_k.lora_down.weight": (4, 2048)}


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    root = tmp_path / "models" / "Lora"
    write_header(root / "Cats.safetensors", LORA, {"modelspec.trigger_phrase": "sks cat", "ss_network_dim": "4"})
    write_header(root / "animals" / "dog.safetensors", LORA)
    (root / "page.safetensors").write_bytes(b"<html>")
    (root / "animals" / "dog.json").write_text(json.dumps({"notes": "barks", "preferred weight": 0.8}))
    with open_site(tmp_path) as found:
        yield found


def names(answer: object) -> list[str]:
    return [model["name"] for model in answer["models"]]  # type: ignore[index]


def picture(colour: str, side: int = 64) -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (side, side // 2), colour).save(content, "PNG")
    return content.getvalue()


def test_lists_of_a_kind(site: Site) -> None:
    shown = site.client.get("/api/v2/models", params={"kind": "lora"}).json()
    assert names(shown) == ["animals/dog", "Cats", "page"] and shown["total"] == 3
    dog, cats, page = shown["models"]
    assert (cats["family"], cats["kind"], cats["trigger_words"]) == ("sdxl", "lora", "sks cat")
    assert (dog["weight"], dog["has_preview"]) == (0.8, False)
    assert "HTML" in page["problem"]
    assert str(site.config.models_dir) not in json.dumps(shown)


@pytest.mark.parametrize(
    ("query", "found", "total"),
    [
        ({"search": "CAT"}, ["Cats"], 1),
        ({"search": "barks"}, ["animals/dog"], 1),
        ({"search": "sdxl s"}, ["animals/dog", "Cats"], 2),
        ({"search": "cat dog"}, [], 0),
        ({"usable": "true"}, ["animals/dog", "Cats"], 2),
        ({"usable": "false"}, ["page"], 1),
        ({"family": "sdxl"}, ["animals/dog", "Cats"], 2),
        ({"family": "sd1"}, [], 0),
        ({"limit": "1", "offset": "1"}, ["Cats"], 3),
        ({"offset": "9"}, [], 3),
    ],
)
def test_searching_and_paging(site: Site, query: dict[str, str], found: list[str], total: int) -> None:
    shown = site.client.get("/api/v2/models", params={"kind": "lora", **query}).json()
    assert (names(shown), shown["total"]) == (found, total)


@pytest.mark.parametrize(
    "query",
    [{"kind": "nothing"}, {"limit": "0"}, {"limit": "99999"}, {"offset": "-1"}, {"family": "x"}, {"serch": "x"}],
)
def test_wrong_queries_are_refused(site: Site, query: dict[str, str]) -> None:
    assert site.client.get("/api/v2/models", params=query).status_code == 422


def test_one_model_with_its_card(site: Site) -> None:
    shown = site.client.get("/api/v2/models/lora/animals/dog").json()
    assert shown["card"]["notes"] == "barks"
    assert shown["details"] == {"algorithm": "LoRA", "rank": 4, "base": "SDXL"}
    assert site.client.get("/api/v2/models/lora/Cats.safetensors").json()["name"] == "Cats"
    broken = site.client.get("/api/v2/models/lora/page").json()
    assert "HTML" in broken["problem"]
    answer = site.client.get("/api/v2/models/lora/cets")
    assert answer.status_code == 404 and "Cats" in answer.json()["detail"]
    answer = site.client.get("/api/v2/models/hypernetwork/x")
    assert answer.status_code == 404 and "hypernetwork" in answer.json()["detail"]


def test_a_card_is_changed(site: Site) -> None:
    before = (site.config.models_dir / "Lora" / "Cats.safetensors").read_bytes()
    answer = site.client.patch(
        "/api/v2/models/lora/Cats",
        json={"notes": "Mine: 猫", "weight": 0.6, "defaults": {"steps": 12}, "examples": ["a sks cat"]},
    )
    assert answer.status_code == 200
    assert answer.json()["card"]["notes"] == "Mine: 猫" and answer.json()["defaults"]["steps"] == 12
    assert site.client.get("/api/v2/models/lora/Cats").json()["card"]["trigger_words"] == "sks cat"
    assert (site.config.models_dir / "Lora" / "Cats.safetensors").read_bytes() == before
    half = site.client.patch(
        "/api/v2/models/lora/Cats", content=r'{"title": "\ud83d!"}', headers={"Content-Type": "application/json"}
    )
    assert half.status_code == 422
    answer = site.client.patch("/api/v2/models/lora/Cats", json={"notes": None})
    assert (answer.json()["card"]["notes"], answer.json()["card"]["weight"]) == ("", 0.6)


@pytest.mark.parametrize(
    "change",
    [{"weight": 99}, {"weight": "much"}, {"notes": "x" * 20_001}, {"unknown": 1}, {"defaults": {"steps": "many"}}, []],
)
def test_impossible_changes_are_refused(site: Site, change: object) -> None:
    assert site.client.patch("/api/v2/models/lora/Cats", json=change).status_code == 422
    assert not (site.config.models_dir / "Lora" / "Cats.easel.json").exists()


def test_the_picture_of_a_model(site: Site) -> None:
    address = "/api/v2/models/lora/animals/dog/preview"
    assert site.client.get(address).status_code == 404
    stored = site.client.post("/api/v2/inputs", content=picture("red"), headers={"Content-Type": "image/png"}).json()
    assert site.client.put(address, json={"image": stored["id"]}).status_code == 200
    assert (site.config.models_dir / "Lora" / "animals" / "dog.preview.png").exists()
    shown = site.client.get(address, params={"side": 32})
    assert shown.headers["content-type"] == "image/webp"
    with Image.open(io.BytesIO(shown.content)) as image:
        assert image.size == (32, 16)
    again = site.client.get(address, params={"side": 32}, headers={"If-None-Match": shown.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    listed = site.client.get("/api/v2/models", params={"kind": "lora", "search": "dog"}).json()
    assert listed["models"][0]["has_preview"] is True
    assert site.client.put(address, json={"image": "0" * 64}).status_code == 404
    assert site.client.get(address, params={"side": 9999}).status_code == 422


def test_a_picture_that_is_none_is_never_passed_on(site: Site) -> None:
    root = site.config.models_dir / "Lora"
    (root / "Cats.png").write_bytes(b"<script>alert(1)</script>")
    site.client.post("/sdapi/v1/refresh-loras")
    answer = site.client.get("/api/v2/models/lora/Cats/preview")
    assert answer.status_code == 422 and "script" not in answer.text


def test_loras_as_a1111_lists_them(site: Site) -> None:
    listed = {each["name"]: each for each in site.client.get("/sdapi/v1/loras").json()}
    assert set(listed["Cats"]) == {"name", "alias", "path", "metadata"}
    assert listed["Cats"]["path"] == str(site.config.models_dir / "Lora" / "Cats.safetensors")
    assert listed["Cats"]["alias"] == listed["Cats"]["metadata"].get("ss_output_name", "Cats")


def test_checkpoints_keep_their_list(site: Site) -> None:
    shown = site.client.get("/api/v2/models").json()
    assert (shown["current"], names(shown), shown["total"]) == ("tiny", ["tiny"], 1)
    assert site.client.get("/api/v2/models/checkpoint/tiny").json()["parts"] == ["unet", "vae", "text_encoder"]
