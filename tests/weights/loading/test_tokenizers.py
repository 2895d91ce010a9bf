from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from webui.errors import BadFile
from webui.weights.loading.tokenizers import Tokenizer, clip_tokenizer, load_tokenizer
from webui.weights.vocabulary import CLIP_VOCABULARY


@pytest.fixture(scope="module")
def clip() -> Tokenizer:
    return clip_tokenizer()


def test_size_and_special_tokens(clip: Tokenizer) -> None:
    assert (clip.size, clip.start, clip.end, clip.comma) == (49408, 49406, 49407, 267)
    assert CLIP_VOCABULARY == 49408


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("", []),
        ("a photo of a cat", [320, 1125, 539, 320, 2368]),  # as in the examples of CLIP's own repository
        ("A  Photo\nof a CAT", [320, 1125, 539, 320, 2368]),
        ("hello, world!", [3306, 267, 1002, 256]),
    ],
)
def test_known_encodings(clip: Tokenizer, text: str, tokens: list[int]) -> None:
    assert clip.encode(text) == tokens


@pytest.mark.parametrize(
    "text", ["\x00", "é é", "👩‍👩‍👧", "ａｂ", "ﷺ", "it's 12345", "<|endoftext|>", "x" * 5000, "\u202e"]
)
def test_any_text_gives_known_tokens(clip: Tokenizer, text: str) -> None:
    assert all(0 <= token < CLIP_VOCABULARY for token in clip.encode(text))


def test_long_text_is_not_cut(clip: Tokenizer) -> None:
    assert len(clip.encode("cat " * 500)) == 500


def test_a_folders_own_tokenizer(tiny_folder: Path, clip: Tokenizer) -> None:
    tokenizer = load_tokenizer(tiny_folder / "tokenizer", 49408)
    assert tokenizer.encode("a photo of a cat, 4k") == clip.encode("a photo of a cat, 4k")
    assert (tokenizer.start, tokenizer.end, tokenizer.comma) == (clip.start, clip.end, clip.comma)


def test_a_tokenizer_larger_than_its_text_encoder_is_refused(tiny_folder: Path) -> None:
    with pytest.raises(BadFile, match="49408 tokens, its text encoder 1000"):
        load_tokenizer(tiny_folder / "tokenizer", 1000)


@pytest.mark.parametrize("missing", ["vocab.json", "merges.txt"])
def test_missing_files_do_not_make_an_empty_tokenizer(tiny_folder: Path, tmp_path: Path, missing: str) -> None:
    folder = Path(shutil.copytree(tiny_folder / "tokenizer", tmp_path / "tokenizer")).parent
    (folder / "tokenizer" / missing).unlink()
    with pytest.raises(BadFile, match="tokenizer"):
        load_tokenizer(folder / "tokenizer", 49408)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"a": "b"}', "{}"])
def test_damaged_vocabularies_are_refused(tiny_folder: Path, tmp_path: Path, content: str) -> None:
    folder = Path(shutil.copytree(tiny_folder / "tokenizer", tmp_path / "tokenizer")).parent
    (folder / "tokenizer" / "vocab.json").write_text(content)
    with pytest.raises(BadFile, match="tokenizer"):
        load_tokenizer(folder / "tokenizer", 49408)
