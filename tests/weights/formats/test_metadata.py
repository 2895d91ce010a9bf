from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from tests.header_files import write_header
from webui.weights.formats.metadata import read_metadata, read_thumbnail, told_card, told_details

SHAPES = {"w": (2, 2)}


def test_texts_are_read_wherever_they_stand(tmp_path: Path) -> None:
    first = write_header(tmp_path / "first.safetensors", SHAPES, {"a": "1"})
    assert read_metadata(first) == {"a": "1"}
    header = json.dumps({"w": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}, "__metadata__": {"b": "2"}})
    last = tmp_path / "last.safetensors"
    last.write_bytes(len(header).to_bytes(8, "little") + header.encode() + b"\0")
    assert read_metadata(last) == {"b": "2"}
    assert read_metadata(write_header(tmp_path / "none.safetensors", SHAPES)) == {}


@pytest.mark.parametrize(
    "content",
    [b"", b"short", b"\xff" * 100, b"\x05\0\0\0\0\0\0\0{]", b"\x14\0\0\0\0\0\0\0" + b'{"__metadata__":[1]}',
     b"\x16\0\0\0\0\0\0\0" + b'{"__metadata__":{"a":1', b"\x02\0\0\0\0\0\0\0[]"],
)  # fmt: skip
def test_damaged_files_say_nothing(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "x.safetensors"
    file.write_bytes(content)
    assert read_metadata(file) == {}
    assert read_metadata(tmp_path / "missing") == {}


def test_what_training_programs_tell() -> None:
    tags = {"10_cat": {"cat": 40, "hat ": 12}, "5_dog": {"dog": 7, "hat": 3}}
    metadata = {
        "modelspec.title": "Cats\nand hats", "modelspec.trigger_phrase": "sks cat", "modelspec.author": "me",
        "ss_base_model_version": "sdxl_base_v1-0", "ss_network_module": "networks.lora", 
        "ss_resolution": "(1024, 1024)", "ss_sd_model_name": "None", "ss_tag_frequency": json.dumps(tags),
    }  # fmt: skip
    card = told_card(metadata)
    assert (card.title, card.trigger_words, card.base_model) == ("Cats and hats", "sks cat", "sdxl_base_v1-0")
    details = told_details(metadata)
    assert details["training_tags"] == "cat (40), hat (15), dog (7)"
    assert (details["author"], details["resolution"]) == ("me", "(1024, 1024)")
    assert "training_base" not in details


@pytest.mark.parametrize(
    "tags", ["", "{", "[]", "1", '{"a": 1}', '{"a": {"b": "c"}}', '{"a": {"b": 1e999}}', "[" * 9999]
)
def test_damaged_tags_are_left_out(tags: str) -> None:
    assert told_details({"ss_tag_frequency": tags}) == {}


def test_long_texts_are_cut() -> None:
    card = told_card({"modelspec.title": "x" * 10**6, "modelspec.description": "y" * 10**6})
    assert (len(card.title), len(card.description)) == (1000, 20_000)


def test_the_picture(tmp_path: Path) -> None:
    picture = "data:image/jpeg;base64," + base64.b64encode(b"picture").decode()
    assert (
        read_thumbnail(write_header(tmp_path / "a.safetensors", SHAPES, {"modelspec.thumbnail": picture})) == b"picture"
    )
    for wrong in ("data:text/html;base64,AAAA", "data:image/png;base64,@", "http://example.org/x.png", ""):
        file = write_header(tmp_path / "b.safetensors", SHAPES, {"modelspec.thumbnail": wrong})
        assert read_thumbnail(file) is None
