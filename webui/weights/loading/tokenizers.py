"""Text → token numbers: the tokenizer of a diffusers folder, or CLIP's own for single files, which carry none."""

from __future__ import annotations

import json
from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from tokenizers import Tokenizer as Backend
from transformers import BertTokenizer, CLIPTokenizer, Qwen2Tokenizer

from webui.errors import BadFile
from webui.prompt.taught import TaughtWords
from webui.weights.formats.gguf_words import read_words
from webui.weights.formats.sentencepieces import make_tokenizer, read_pieces
from webui.weights.vocabulary import CLIP_VOCABULARY, COMMA, END, START, read_clip_vocabulary

_GLM = "tokenizer.model"  # of ChatGLM, which fills rows up with what it does not know
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
        self._words = TaughtWords({})

    @property
    def spans(self) -> Mapping[int, int]:
        """The tokens that begin a taught word, and how many it has."""
        return self._words.spans

    def taught(self, words: TaughtWords) -> Tokenizer:
        """Return the same tokenizer that knows `words` too; their tokens are below 0."""
        told = copy(self)
        told._words = words
        return told

    def encode(self, text: str) -> list[int]:
        return self._words.encode(text, self._read)

    def _read(self, text: str) -> list[int]:
        return list(self._backend.encode(text, add_special_tokens=False).ids)

    def reads_like(self, other: Tokenizer) -> bool:
        """Tell whether both know the same tokens, so that they make as many of every text."""
        return self._backend.get_vocab() == other._backend.get_vocab()

    def _number(self, token: str) -> int:
        number = self._backend.token_to_id(token)
        if number is None:
            raise ValueError(f"{token} is missing")
        return int(number)


@dataclass(frozen=True)
class Spot:
    """A token and the characters of the text it stands for: from `start` up to `end`."""

    token: int
    start: int
    end: int


class PieceTokenizer:
    """T5's and those of language models: turns text into token numbers.

    It does not add what the model's own tokenizer sets before (`leading`) and behind (`trailing`) every text, nor the
    `padding`, all of which are token numbers too. Words such as `<|im_start|>` that the model knows as one token are.
    """

    def __init__(self, backend: Backend, padding: str = "<pad>") -> None:
        self._backend = backend
        self._backend.no_padding()
        self._backend.no_truncation()
        self.size: int = backend.get_vocab_size()
        self.leading, self.trailing = self._read_frame()
        self.padding = self.number(padding)

    @property
    def end(self) -> int:
        """The token behind every text."""
        return self.trailing[-1]

    def encode(self, text: str) -> list[int]:
        return list(self._backend.encode(text, add_special_tokens=False).ids)

    def locate(self, text: str) -> list[Spot]:
        """Return the tokens of `text` with their places."""
        encoded = self._backend.encode(text, add_special_tokens=False)
        return [Spot(token, *place) for token, place in zip(encoded.ids, encoded.offsets, strict=True)]

    def number(self, token: str) -> int:
        """Return the number of a token; raise `ValueError` when there is none."""
        number = self._backend.token_to_id(token)
        if number is None:
            raise ValueError(f"{token} is missing")
        return int(number)

    def _read_frame(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Return what is set before and behind a text: all that an empty one gets belongs to either side."""
        bare, framed = self.encode("a"), list(self._backend.encode("a").ids)
        before = next(at for at in range(len(framed) + 1) if framed[at : at + len(bare)] == bare)
        return tuple(framed[:before]), tuple(framed[before + len(bare) :])


def load_piece_tokenizer(folder: Path, vocabulary: int) -> PieceTokenizer:
    """Return the tokenizer in a model's `folder` for a text encoder that knows `vocabulary` tokens.

    Raises `BadFile` when its files are damaged or belong to another text encoder.
    """
    try:
        tokenizer = PieceTokenizer(_read_backend(folder), _read_padding(folder))
    except Exception as error:  # the backend raises bare Exception on malformed files
        raise BadFile(f"{folder.parent.name}: its {folder.name} cannot be read: {error}.", field="model") from error
    _check_vocabulary(folder, tokenizer.size, vocabulary)
    return tokenizer


def _read_backend(folder: Path) -> Backend:
    """Return the rules of a tokenizer.json, or of the older files that T5's, BERT's and Qwen's have in its stead.

    A `folder` that is a file is one of these under another name, or a GGUF file that has T5's in it.
    """
    if folder.is_file():
        return _read_backend_file(folder)
    for name in ("tokenizer.json", "spiece.model", _GLM):
        if (folder / name).is_file():
            return _read_backend_file(folder / name)
    older = BertTokenizer if (folder / "vocab.txt").is_file() else Qwen2Tokenizer
    return older.from_pretrained(folder, local_files_only=True).backend_tokenizer


def _read_backend_file(file: Path) -> Backend:
    if file.suffix not in (".model", ".gguf"):
        return Backend.from_file(str(file))
    model = read_pieces(file) if file.suffix == ".model" else read_words(file)
    if model is None:
        raise ValueError("it has no tokenizer of T5's kind")
    return make_tokenizer(model)


def _read_padding(folder: Path) -> str:
    """Return the word that rows are filled up with, as tokenizer_config.json says; T5's where it says nothing."""
    file = folder / "tokenizer_config.json"
    padding = json.loads(file.read_text("utf-8")).get("pad_token") if file.is_file() else None
    usual = "<unk>" if (folder / _GLM).is_file() else "<pad>"
    return str(padding["content"] if isinstance(padding, dict) else padding or usual)


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


@lru_cache(maxsize=2)  # the same for all models, and half of the time that a checkpoint takes to load
def clip_tokenizer(padding: str = END) -> Tokenizer:
    """Return CLIP's tokenizer, which every SD1 and SDXL model in a single file was trained with."""
    vocabulary, merges = read_clip_vocabulary()
    tokenizer = Tokenizer(CLIPTokenizer(vocab=vocabulary, merges=merges, pad_token=padding))
    if tokenizer.size != CLIP_VOCABULARY:
        raise BadFile(f"CLIP's vocabulary in {__package__} is damaged: it has {tokenizer.size} tokens.")
    return tokenizer
