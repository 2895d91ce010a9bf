"""SentencePiece's model files (spiece.model, tokenizer.model): the pieces words are made of, read without its library.

The file is a protocol buffer; see sentencepiece_model.proto in github.com/google/sentencepiece.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Regex, Tokenizer, normalizers, pre_tokenizers
from tokenizers.models import BPE, Unigram
from tokenizers.processors import TemplateProcessing

_PIECE, _TRAINING, _RULES = 1, 2, 3  # fields of the model
_SORT, _MERGED = 3, 2  # field of the training: the sort of model; that which merges pieces
_TEXT, _SCORE, _KIND = 1, 2, 3  # fields of a piece
_CHARACTERS, _BEGINS, _SQUEEZES = 2, 3, 4  # fields of the rules: how characters are unified, spaces treated
_NORMAL, _UNKNOWN, _CONTROL = 1, 2, 3
_END = "</s>"


@dataclass(frozen=True)
class Piece:
    """A piece of words: how likely it is (a logarithm), and its kind: 1 normal, 2 unknown, 3 control, 4 given by the
    user, 6 a byte."""

    text: str
    score: float
    kind: int


@dataclass(frozen=True)
class PieceModel:
    """The pieces in the order of their numbers, and the compiled table by which characters are unified.

    Where words are `merged`, pieces grow from letters, the best first; else the likeliest of all ways to cut a text is
    taken. `begins`: a space is set before every text; `squeezes`: several spaces are one.
    """

    pieces: tuple[Piece, ...]
    characters: bytes
    merged: bool = False
    begins: bool = True
    squeezes: bool = True


def read_pieces(path: Path) -> PieceModel:
    """Return what a model file holds; raise `ValueError` when it is damaged."""
    pieces: list[Piece] = []
    training: dict[int, int | bytes] = {}
    rules: dict[int, int | bytes] = {}
    for field, value in _fields(path.read_bytes()):
        if field == _PIECE:
            pieces.append(_read_piece(_block(value)))
        elif field == _TRAINING:
            training = dict(_fields(_block(value)))
        elif field == _RULES:
            rules = dict(_fields(_block(value)))
    return PieceModel(
        tuple(pieces),
        _block(rules.get(_CHARACTERS, b"")),
        merged=training.get(_SORT) == _MERGED,
        begins=rules.get(_BEGINS, 1) == 1,
        squeezes=rules.get(_SQUEEZES, 1) == 1,
    )


def make_tokenizer(model: PieceModel) -> Tokenizer:
    """Return the tokenizer of a model: one that merges pieces, as ChatGLM's is, or one whose pieces have probabilities,
    with an end behind every text, as T5's is.

    Raises `ValueError` when it has no such end or nothing for what it does not know.
    """
    if model.merged:
        return _make_merging(model)
    kinds = [piece.kind for piece in model.pieces]
    texts = [piece.text for piece in model.pieces]
    if _UNKNOWN not in kinds or _END not in texts:
        raise ValueError("it has no end of a text, or nothing for unknown letters")
    pieces = [(piece.text, piece.score) for piece in model.pieces]
    tokenizer = Tokenizer(Unigram(pieces, unk_id=kinds.index(_UNKNOWN), byte_fallback=False))
    if model.characters:
        tokenizer.normalizer = normalizers.Precompiled(model.characters)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")]
    )
    tokenizer.add_special_tokens([piece.text for piece in model.pieces if piece.kind in (_UNKNOWN, _CONTROL)])
    tokenizer.post_processor = TemplateProcessing(single=f"$A {_END}", special_tokens=[(_END, texts.index(_END))])
    return tokenizer


def _make_merging(model: PieceModel) -> Tokenizer:
    numbers = {piece.text: number for number, piece in enumerate(model.pieces)}
    unknown = next((piece.text for piece in model.pieces if piece.kind == _UNKNOWN), None)
    if unknown is None:
        raise ValueError("it has nothing for unknown letters")
    merges: list[tuple[str, str]] = []
    # The best pieces are merged first; of equal ones, the first.
    for piece in sorted((each for each in model.pieces if each.kind == _NORMAL), key=lambda each: -each.score):
        cuts = ((piece.text[:at], piece.text[at:]) for at in range(1, len(piece.text)))
        halves = [cut for cut in cuts if cut[0] in numbers and cut[1] in numbers]
        merges += sorted(halves, key=lambda cut: (numbers[cut[0]], numbers[cut[1]]))
    tokenizer = Tokenizer(BPE(numbers, merges, unk_token=unknown, fuse_unk=True, byte_fallback=True))
    steps: list[normalizers.Normalizer] = []
    if model.characters:
        steps.append(normalizers.Precompiled(model.characters))
    if model.squeezes:
        steps += [normalizers.Replace(Regex(" {2,}"), " "), normalizers.Strip()]
    if model.begins:
        steps.append(normalizers.Prepend("▁"))
    tokenizer.normalizer = normalizers.Sequence([*steps, normalizers.Replace(" ", "▁")])
    return tokenizer


def _read_piece(block: bytes) -> Piece:
    found = dict(_fields(block))
    (score,) = struct.unpack("<f", _block(found.get(_SCORE, bytes(4))))
    kind = found.get(_KIND, _NORMAL)
    return Piece(_block(found.get(_TEXT, b"")).decode("utf-8"), score, kind if isinstance(kind, int) else _NORMAL)


def _fields(block: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yield the number of each field and its value: a number, or the bytes of anything else."""
    at = 0
    while at < len(block):
        key, at = _read_number(block, at)
        if key & 7 == 0:
            value, at = _read_number(block, at)
            yield key >> 3, value
            continue
        if key & 7 == 2:
            length, at = _read_number(block, at)
        else:
            length = {1: 8, 5: 4}.get(key & 7, len(block))
        if at + length > len(block):
            raise ValueError("a field reaches beyond its end")
        yield key >> 3, block[at : at + length]
        at += length


def _read_number(block: bytes, at: int) -> tuple[int, int]:
    """Return the number at `at`, seven bits a byte from the least, and where it ends."""
    number = 0
    for place in range(10):
        if at + place >= len(block):
            break
        number |= (block[at + place] & 0x7F) << 7 * place
        if block[at + place] < 0x80:
            return number, at + place + 1
    raise ValueError("a number does not end")


def _block(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise ValueError("a field is of another kind")
    return value
