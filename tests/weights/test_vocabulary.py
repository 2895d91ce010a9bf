"""The server counts what the engine will encode: both tokenizers give the same numbers."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tiny_dits import write_bert_tokenizer
from tests.tiny_flux import write_piece_tokenizer
from tests.tiny_texts import write_gemma_tokenizer
from webui.domain.models import Family, ModelInfo
from webui.errors import BadFile
from webui.weights.loading.tokenizers import Tokenizer, clip_tokenizer, load_piece_tokenizer, load_tokenizer
from webui.weights.vocabulary import Vocabulary, read_vocabulary


def info(path: Path, layout: str) -> ModelInfo:
    return ModelInfo(name=path.stem, path=path, family=Family.SD1, layout=layout)


@pytest.fixture(scope="module")
def clip() -> tuple[Vocabulary, Tokenizer]:
    return read_vocabulary(info(Path("one.safetensors"), "original")), clip_tokenizer()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a photo of a cat, 4k",
        "A  Photo\nof",
        "it's 12345",
        "é é ａｂ ﷺ",
        "👩‍👩‍👧",
        "<|endoftext|> a",
        "x" * 300,
        "\x00\u202e",
    ],
)
def test_same_numbers(clip: tuple[Vocabulary, Tokenizer], text: str) -> None:
    ours, theirs = clip
    assert ours.encode(text) == theirs.encode(text)
    assert ours.comma == theirs.comma == 267


@given(st.text(max_size=60))
def test_same_numbers_for_any_text(clip: tuple[Vocabulary, Tokenizer], text: str) -> None:
    ours, theirs = clip
    assert ours.encode(text) == theirs.encode(text)


def test_a_folders_own_vocabulary(tiny_folder: Path) -> None:
    ours, theirs = read_vocabulary(info(tiny_folder, "diffusers")), load_tokenizer(tiny_folder / "tokenizer", 49408)
    for text in ("a red house under a yellow moon, night sky", "don't (stop:1.2)", "naïve 2024"):
        assert ours.encode(text) == theirs.encode(text)


@pytest.mark.parametrize("write", [write_gemma_tokenizer, write_piece_tokenizer, write_bert_tokenizer])
def test_other_kinds_of_vocabularies(write: Callable[[Path], None], tmp_path: Path) -> None:
    write(tmp_path / "tokenizer")
    ours, theirs = read_vocabulary(info(tmp_path, "diffusers")), load_piece_tokenizer(tmp_path / "tokenizer", 700)
    assert ours.comma is None
    for text in ("a cat and a dog, at night", "don't (stop:1.2)", "naïve 猫"):
        assert ours.encode(text) == theirs.encode(text)


def test_the_files_of_older_folders(tmp_path: Path) -> None:
    folder = tmp_path / "tokenizer"
    write_bert_tokenizer(folder)
    names = json.loads((folder / "tokenizer.json").read_text("utf-8"))["model"]["vocab"]
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.txt").write_text("\n".join(sorted(names, key=names.get)) + "\n", encoding="utf-8")
    ours, theirs = read_vocabulary(info(tmp_path, "diffusers")), load_piece_tokenizer(folder, 700)
    assert ours.encode("A cat, 猫 at café") == theirs.encode("A cat, 猫 at café")


@pytest.mark.parametrize("content", [None, "", "{", "[]", '{"a": "b"}'])
def test_damaged_files_are_told(tmp_path: Path, content: str | None) -> None:
    folder = tmp_path / "tokenizer"
    folder.mkdir()
    (folder / "merges.txt").write_text("#version: 0.2\na b</w>\n", encoding="utf-8")
    if content is not None:
        (folder / "vocab.json").write_text(content, encoding="utf-8")
    with pytest.raises(BadFile, match="tokenizer cannot be read"):
        read_vocabulary(info(tmp_path, "diffusers"))


def test_counting_needs_no_torch() -> None:
    code = "import sys, webui.weights.vocabulary\nprint(sorted(sys.modules.keys() & {'torch', 'transformers'}))"
    root = Path(__file__).resolve().parents[2]
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert answer.stdout.strip() == "[]"
