"""SentencePiece's model files: read as they were written, refused when damaged."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

import pytest
from transformers import T5Tokenizer

from webui.errors import BadFile
from webui.weights.sentencepieces import Piece, read_pieces
from webui.weights.tokenizers import load_piece_tokenizer

PIECES = (
    Piece("<pad>", 0.0, 3), Piece("</s>", 0.0, 3), Piece("<unk>", 0.0, 2), Piece("▁", -2.0, 1), Piece("▁cat", -3.5, 1),
    *(Piece(chr(number), -6.0, 1) for number in (*range(33, 127), *range(161, 400))),
)  # fmt: skip


def _field(number: int, value: int | float | bytes) -> bytes:
    if isinstance(value, float):
        return bytes([number << 3 | 5]) + struct.pack("<f", value)
    if isinstance(value, int):
        return bytes([number << 3]) + _number(value)
    return bytes([number << 3 | 2]) + _number(len(value)) + value


def _number(value: int) -> bytes:
    return bytes([value & 0x7F | 0x80]) + _number(value >> 7) if value > 0x7F else bytes([value])


def write_pieces(path: Path, pieces: Sequence[Piece]) -> None:
    """Write a model file as SentencePiece does."""
    blocks = [_field(1, each.text.encode()) + _field(2, each.score) + _field(3, each.kind) for each in pieces]
    training = _field(3, 1) + _field(4, len(pieces)) + _field(10, 0.9995)
    path.write_bytes(
        b"".join(_field(1, block) for block in blocks) + _field(2, training) + _field(3, _field(1, b"nfkc"))
    )


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
        file.write(_field(3, _field(2, b"\0\0\0\0")))
    assert read_pieces(tmp_path / "spiece.model").characters == b"\0\0\0\0"


@pytest.mark.parametrize("content", [b"\x0a\xff\x01ab", b"\x0a\x80\x80", b"\x08\x05", b"\xff" * 40, b"<html>"])
def test_damaged_files_are_refused(content: bytes, tmp_path: Path) -> None:
    folder = tmp_path / "model" / "tokenizer"
    folder.mkdir(parents=True)
    (folder / "spiece.model").write_bytes(content)
    with pytest.raises(BadFile, match="model: its tokenizer cannot be read"):
        load_piece_tokenizer(folder, 400)
