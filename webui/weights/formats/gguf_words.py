"""The tokenizer of T5 that llama.cpp's converter puts into a GGUF file. Torch is not needed."""

from __future__ import annotations

from pathlib import Path

from gguf import GGUFReader, TokenType

from webui.weights.formats.gguf_files import find_gguf_tensors
from webui.weights.formats.sentencepieces import Piece, PieceModel

_KEYS = "tokenizer.ggml."


def read_words(path: Path) -> PieceModel | None:
    """Return the pieces in a GGUF file, in the order of their numbers; None when it has none of T5's kind.

    Raises `BadFile` when the file is damaged. What only fills the text encoder's table up is left out.
    """
    find_gguf_tensors(path)  # checks the header, which the library believes
    fields = GGUFReader(path).fields
    wanted = [f"{_KEYS}{name}" for name in ("model", "tokens", "scores", "token_type")]
    if not all(name in fields for name in wanted):
        return None
    model, tokens, scores, kinds = (fields[name].contents() for name in wanted)
    if model != "t5" or not len(tokens) == len(scores) == len(kinds):
        return None
    pieces = [
        Piece(str(text), float(score), int(kind)) for text, score, kind in zip(tokens, scores, kinds, strict=True)
    ]
    while pieces and pieces[-1].kind == TokenType.UNUSED:
        pieces.pop()
    table = fields.get(f"{_KEYS}precompiled_charsmap")
    return PieceModel(tuple(pieces), bytes(table.contents()) if table is not None else b"")
