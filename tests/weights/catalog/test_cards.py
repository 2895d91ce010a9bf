from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from tests.header_files import write_header
from tests.tiny_models import write_json
from webui.domain.cards import CardChange, ModelCard
from webui.domain.models import ModelDefaults
from webui.errors import StorageError
from webui.weights.catalog.cards import CardFiles, merge
from webui.weights.catalog.catalog import Catalog
from webui.weights.catalog.files import LORAS
from webui.weights.catalog.index import ModelIndex

LORA = {"lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_k.lora_down.weight": (4, 768)}
A1111 = {
    "description": "From A1111", "sd version": "SD1", "activation text": "sks cat", "preferred weight": 0.7,
    "negative text": "dog", "notes": "A note",
}  # fmt: skip
CIVITAI = {
    "name": "v2", "baseModel": "SD 1.5", "trainedWords": ["a cat", "b cat,"], "model": {"name": "Cats"},
    "description": "<p>All &amp; every <b>cat</b></p><script>alert(1)</script><ul><li>one</li><li>two</li></ul>",
}  # fmt: skip


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_header(tmp_path / "Lora" / "cat.safetensors", LORA, {"modelspec.title": "From the file"})
    return tmp_path / "Lora"


def catalog(root: Path, cards: CardFiles | None = None) -> Catalog:
    return Catalog([root], ModelIndex(root.parent / "models.db"), LORAS, cards)


def card(root: Path) -> ModelCard:
    found = catalog(root)
    return found.page(found.find("cat")).card


def test_the_files_own_words(root: Path) -> None:
    assert card(root) == ModelCard(title="From the file")


def test_a1111s_card(root: Path) -> None:
    write_json(root / "cat.json", A1111)
    assert card(root) == ModelCard(
        title="From the file", description="From A1111", notes="A note", trigger_words="sks cat",
        negative_words="dog", weight=0.7, base_model="SD1",
    )  # fmt: skip


@pytest.mark.parametrize("name", ["cat.civitai.info", "cat.civitai.json"])
def test_civitais_card(root: Path, name: str) -> None:
    write_json(root / name, CIVITAI)
    found = card(root)
    assert (found.title, found.trigger_words, found.base_model) == ("Cats", "a cat, b cat", "SD 1.5")
    assert found.description.splitlines()[0] == "All & every cat"
    assert "<" not in found.description


def test_civitais_card_of_a_whole_model(root: Path) -> None:
    write_json(
        root / "cat.json", {"name": "Cats", "description": "<p>x</p>", "modelVersions": [{"trainedWords": ["sks"]}]}
    )
    found = card(root)
    assert (found.title, found.description, found.trigger_words) == ("Cats", "x", "sks")


def test_ours_comes_before_a1111s_before_others(root: Path) -> None:
    write_json(root / "cat.civitai.info", CIVITAI)
    write_json(root / "cat.json", A1111)
    write_json(root / "cat.easel.json", {"title": "Ours", "defaults": {"steps": 30}})
    found = card(root)
    assert (found.title, found.description, found.trigger_words) == ("Ours", "From A1111", "sks cat")
    assert found.defaults == ModelDefaults(steps=30)


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{", "1", '{"description": 3, "preferred weight": "much", "activation text": [1]}', "[" * 99_999,
     '{"trainedWords": 3, "model": [], "description": {}}', '{"trainedWords": [1, null], "modelVersions": [4]}',
     '{"preferred weight": 1e999}', '{"preferred weight": true}', " " * (2**20 + 1)],
)  # fmt: skip
@pytest.mark.parametrize("name", ["cat.json", "cat.civitai.info"])
def test_damaged_cards_of_others_say_nothing(root: Path, name: str, content: str) -> None:
    (root / name).write_text(content)
    found = card(root)
    assert (found.title, found.description, found.weight) == ("From the file", "", None)


def test_a_card_is_read_again_only_when_it_changed(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    (root / "cat.json").write_text("{")
    with caplog.at_level(logging.WARNING):
        card(root)
        assert "cat.json is not used" in caplog.text
        caplog.clear()
        card(root)
        assert caplog.text == "", "the index knows it"
    write_json(root / "cat.json", A1111)
    assert card(root).notes == "A note"
    (root / "cat.json").unlink()
    assert card(root).notes == ""


def test_changes_are_written_beside_the_model_and_keep_what_we_do_not_know(root: Path) -> None:
    write_json(root / "cat.easel.json", {"notes": "old", "title": "T", "unknown": [1, 2]})
    before = (root / "cat.safetensors").read_bytes()
    found = catalog(root)
    change = CardChange(notes="new", title="", weight=0.5, defaults=ModelDefaults(steps=9))
    changed = found.change_card(found.find("cat"), change)
    content = json.loads((root / "cat.easel.json").read_text())
    assert content == {"notes": "new", "unknown": [1, 2], "weight": 0.5, "defaults": {"steps": 9}}
    assert found.page(changed).card.title == "From the file"
    assert changed.defaults == ModelDefaults(steps=9)
    assert (root / "cat.safetensors").read_bytes() == before
    assert [path.name for path in root.iterdir() if path.name.startswith(".")] == []
    assert catalog(root).page(changed).card.notes == "new"


def test_a_damaged_card_of_ours_is_replaced(root: Path) -> None:
    (root / "cat.easel.json").write_text("{")
    found = catalog(root)
    assert "damaged" in found.find("cat").description
    found.change_card(found.find("cat"), CardChange(notes="new"))
    assert json.loads((root / "cat.easel.json").read_text()) == {"notes": "new"}


def test_in_another_programs_folder_nothing_is_written(root: Path, tmp_path: Path) -> None:
    write_json(root / "cat.json", A1111)
    cards = CardFiles({root}, tmp_path / "cards")
    before = sorted(root.iterdir())
    found = catalog(root, cards)
    changed = found.change_card(found.find("cat"), CardChange(notes="ours"))
    assert found.page(changed).card.notes == "ours" and found.page(changed).card.trigger_words == "sks cat"
    assert found.preview_file(changed).parent == tmp_path / "cards"
    assert sorted(root.iterdir()) == before
    again = catalog(root, cards)
    assert again.page(again.find("cat")).card.notes == "ours"


def test_where_nothing_can_be_written_the_reason_is_said(root: Path, tmp_path: Path) -> None:
    (tmp_path / "cards").write_text("a file stands here")
    found = catalog(root, CardFiles({root}, tmp_path / "cards"))
    with pytest.raises(StorageError, match="a file stands where a folder must be"):
        found.change_card(found.find("cat"), CardChange(notes="x"))


def test_merging() -> None:
    first = ModelCard(title="a", defaults=ModelDefaults(steps=1))
    second = ModelCard(title="b", notes="n", weight=0.0, defaults=ModelDefaults(steps=2, guidance=3.0))
    assert merge(first, second) == ModelCard(
        title="a", notes="n", weight=0.0, defaults=ModelDefaults(steps=1, guidance=3.0)
    )
    assert merge() == merge(ModelCard()) == ModelCard()
