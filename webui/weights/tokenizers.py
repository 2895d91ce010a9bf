"""Text → token numbers: the tokenizer of a diffusers folder, or CLIP's own for single files, which carry none."""

from __future__ import annotations

import json
from pathlib import Path

from tokenizers import Tokenizer as Backend
from transformers import CLIPTokenizer

from webui.errors import BadFile
from webui.weights.vocabulary import CLIP_VOCABULARY, COMMA, END, START, read_clip_vocabulary

OPEN_CLIP_PADDING = "!"  # token 0


class Tokenizer:
    """Turns text into token numbers without adding start, end or padding.

    `start`, `end`, `comma` are token numbers, and so is `padding`, which fills a row up behind its end token.
    """

    def __init__(self, tokenizer: CLIPTokenizer) -> None:
        self._backend = _without_special(tokenizer.backend_tokenizer, tokenizer.pad_token)
        self._backend.no_padding()
        self._backend.no_truncation()
        self.size: int = self._backend.get_vocab_size()
        self.start = self._number(START)
        self.end = self._number(END)
        self.padding = self.end if tokenizer.pad_token is None else self._number(str(tokenizer.pad_token))
        self.comma: int | None = self._backend.token_to_id(COMMA)

    def encode(self, text: str) -> list[int]:
        return list(self._backend.encode(text, add_special_tokens=False).ids)

    def reads_like(self, other: Tokenizer) -> bool:
        """Tell whether both know the same tokens, so that they make as many of every text."""
        return self._backend.get_vocab() == other._backend.get_vocab()

    def _number(self, token: str) -> int:
        number = self._backend.token_to_id(token)
        if number is None:
            raise ValueError(f"{token} is missing")
        return int(number)


class PieceTokenizer:
    """T5's: turns text into token numbers without adding its `end` and `padding`, which are token numbers too."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._backend.no_padding()
        self._backend.no_truncation()
        self.size: int = backend.get_vocab_size()
        self.end = self._number("</s>")
        self.padding = self._number("<pad>")

    def encode(self, text: str) -> list[int]:
        return list(self._backend.encode(text, add_special_tokens=False).ids)

    def _number(self, token: str) -> int:
        number = self._backend.token_to_id(token)
        if number is None:
            raise ValueError(f"{token} is missing")
        return int(number)


def load_piece_tokenizer(folder: Path, vocabulary: int) -> PieceTokenizer:
    """Return T5's tokenizer in a model's `folder` for a text encoder that knows `vocabulary` tokens.

    Raises `BadFile` when the file is damaged or belongs to another text encoder.
    """
    try:
        tokenizer = PieceTokenizer(Backend.from_file(str(folder / "tokenizer.json")))
    except Exception as error:  # the backend raises bare Exception on malformed files
        raise BadFile(f"{folder.parent.name}: its {folder.name} cannot be read: {error}.", field="model") from error
    _check_vocabulary(folder, tokenizer.size, vocabulary)
    return tokenizer


def _without_special(backend: Backend, padding: str | None) -> Backend:
    """Let the padding be read as a word where a text has it: SDXL's second one, "!", was a word in training."""
    if padding in (None, START, END):
        return backend
    state = json.loads(backend.to_str())
    if padding in state["model"]["vocab"]:
        state["added_tokens"] = [token for token in state["added_tokens"] if token["content"] != padding]
    return Backend.from_str(json.dumps(state))


def load_tokenizer(folder: Path, vocabulary: int) -> Tokenizer:
    """Return CLIP's tokenizer in a model's `folder` for a text encoder that knows `vocabulary` tokens.

    Raises `BadFile` when the files are damaged or belong to another text encoder.
    """
    try:
        tokenizer = Tokenizer(CLIPTokenizer.from_pretrained(folder, local_files_only=True))
    except Exception as error:  # the backend raises bare Exception on malformed files
        raise BadFile(f"{folder.parent.name}: its {folder.name} cannot be read: {error}.", field="model") from error
    # With files missing, transformers builds a tokenizer of a handful of tokens instead of failing.
    _check_vocabulary(folder, tokenizer.size, vocabulary)
    return tokenizer


def _check_vocabulary(folder: Path, size: int, vocabulary: int) -> None:
    if not 256 < size <= vocabulary:
        raise BadFile(
            f"{folder.parent.name}: its {folder.name} has {size} tokens, its text encoder {vocabulary}.", field="model"
        )


def clip_tokenizer(padding: str = END) -> Tokenizer:
    """Return CLIP's tokenizer, which every SD1 and SDXL model in a single file was trained with."""
    vocabulary, merges = read_clip_vocabulary()
    tokenizer = Tokenizer(CLIPTokenizer(vocab=vocabulary, merges=merges, pad_token=padding))
    if tokenizer.size != CLIP_VOCABULARY:
        raise BadFile(f"CLIP's vocabulary in {__package__} is damaged: it has {tokenizer.size} tokens.")
    return tokenizer
