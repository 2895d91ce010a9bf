"""Text → token numbers: the tokenizer of a diffusers folder, or CLIP's own for single files, which carry none."""

from __future__ import annotations

from pathlib import Path

from transformers import CLIPTokenizer

from webui.errors import BadFile
from webui.weights.vocabulary import CLIP_VOCABULARY, COMMA, END, START, read_clip_vocabulary


class Tokenizer:
    """Turns text into token numbers without adding start, end or padding. `start`, `end`, `comma` are token numbers."""

    def __init__(self, tokenizer: CLIPTokenizer) -> None:
        self._backend = tokenizer.backend_tokenizer
        self._backend.no_padding()
        self._backend.no_truncation()
        self.size: int = self._backend.get_vocab_size()
        self.start = self._number(START)
        self.end = self._number(END)
        self.comma: int | None = self._backend.token_to_id(COMMA)

    def encode(self, text: str) -> list[int]:
        return list(self._backend.encode(text, add_special_tokens=False).ids)

    def _number(self, token: str) -> int:
        number = self._backend.token_to_id(token)
        if number is None:
            raise ValueError(f"{token} is missing")
        return int(number)


def load_tokenizer(folder: Path, vocabulary: int) -> Tokenizer:
    """Return the tokenizer of a diffusers folder for a text encoder that knows `vocabulary` tokens.

    Raises `BadFile` when the files are damaged or belong to another text encoder.
    """
    try:
        tokenizer = Tokenizer(CLIPTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True))
    except Exception as error:  # the backend raises bare Exception on malformed files
        raise BadFile(f"{folder.name}: its tokenizer cannot be read: {error}.", field="model") from error
    # With files missing, transformers builds a tokenizer of a handful of tokens instead of failing.
    if not 256 < tokenizer.size <= vocabulary:
        raise BadFile(
            f"{folder.name}: its tokenizer has {tokenizer.size} tokens, its text encoder {vocabulary}.", field="model"
        )
    return tokenizer


def clip_tokenizer() -> Tokenizer:
    """Return CLIP's tokenizer, which every SD1 model in a single file was trained with."""
    vocabulary, merges = read_clip_vocabulary()
    tokenizer = Tokenizer(CLIPTokenizer(vocab=vocabulary, merges=merges))
    if tokenizer.size != CLIP_VOCABULARY:
        raise BadFile(f"CLIP's vocabulary in {__package__} is damaged: it has {tokenizer.size} tokens.")
    return tokenizer
