"""SentencePiece's model files: read as they were written, refused when damaged."""

from __future__ import annotations

from pathlib import Path

import pytest
from transformers import T5Tokenizer

from tests.tiny_texts import field, write_pieces
from webui.errors import BadFile
from webui.weights.formats.sentencepieces import Piece, read_pieces
from webui.weights.loading.tokenizers import load_piece_tokenizer

PIECES = (
    Piece("<pad>", 0.0, 3), Piece("</s>", 0.0, 3), Piece("<unk>", 0.0, 2), Piece("▁", -2.0, 1), Piece("▁cat", -3.5, 1),
    *(Piece(chr(number), -6.0, 1) for number in (*range(33, 127), *range(161, 400))),
)  # fmt: skip


def test_pieces_are_read_as_they_were_written(tmp_path: Path) -> None:
    write_pieces(tmp_path / "spiece.model", PIECES)
    model = read_pieces(tmp_path / "spiece.model")
    assert model.pieces == PIECES and model.characters == b""


def test_t5s_tokens(tmp_path: Path) -> None:
    folder = tmp_path / "tokenizer"
    folder.mkdir()
    write_pieces(folder / "spiece.model", PIECES)
    ours = load_piece_tokenizer(folder, 400)
    theirs = T5Tokenizer([(piece.text, piece.score) for piece in PIECES], extra_ids=0)
    text = "a cat  at ĳ night, 猫"
    assert [*ours.encode(text), ours.end] == theirs(text).input_ids
    assert (ours.padding, ours.end) == (0, 1)


def test_the_table_of_characters_is_kept(tmp_path: Path) -> None:
    write_pieces(tmp_path / "spiece.model", PIECES)
    with (tmp_path / "spiece.model").open("ab") as file:
        file.write(field(3, field(2, b"\0\0\0\0")))
    assert read_pieces(tmp_path / "spiece.model").characters == b"\0\0\0\0"


def test_pieces_that_are_merged(tmp_path: Path) -> None:
    """The best ones first, letters nobody knows as bytes, a space before every text."""
    letters = ("▁", "c", "a", "t")
    octets = [Piece(f"<0x{number:02X}>", 0.0, 6) for number in range(256)]
    words = [Piece(text, -float(rank), 1) for rank, text in enumerate(("ca", "▁ca", "▁cat", *letters, "at", "▁c"))]
    write_pieces(tmp_path / "tokenizer.model", [Piece("<unk>", 0.0, 2), *octets, *words], merged=True)
    tokenizer = load_piece_tokenizer(tmp_path, 300)
    numbers = {piece.text: 257 + at for at, piece in enumerate(words)}
    assert tokenizer.encode("cat") == [numbers["▁cat"]]
    assert tokenizer.encode("cat cat") == [numbers["▁cat"]] * 2
    assert tokenizer.encode("é") == [numbers["▁"], 1 + 0xC3, 1 + 0xA9]
    assert (tokenizer.padding, tokenizer.leading, tokenizer.trailing) == (0, (), ())


@pytest.mark.parametrize("content", [b"\x0a\xff\x01ab", b"\x0a\x80\x80", b"\x08\x05", b"\xff" * 40, b"<html>"])
def test_damaged_files_are_refused(content: bytes, tmp_path: Path) -> None:
    folder = tmp_path / "model" / "tokenizer"
    folder.mkdir(parents=True)
    (folder / "spiece.model").write_bytes(content)
    with pytest.raises(BadFile, match="model: its tokenizer cannot be read"):
        load_piece_tokenizer(folder, 400)
