"""CLIP's vocabulary, and tokenizers that need no torch: the server counts tokens while somebody types."""

from __future__ import annotations

import gzip
import json
from importlib import resources
from pathlib import Path

from tokenizers import Regex, Tokenizer, normalizers, pre_tokenizers
from tokenizers.models import BPE, WordPiece

from webui.domain.models import ModelInfo
from webui.errors import BadFile
from webui.weights.formats.sentencepieces import make_tokenizer, read_pieces

CLIP_VOCABULARY = 49408  # tokens: 256 bytes, the same at a word's end, 48894 merges, start and end of text
START, END = "<|startoftext|>", "<|endoftext|>"
COMMA = ",</w>"
_MERGES = 48894
_WORDS = r"""<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"""


class Vocabulary:
    """Turns text into the numbers that the engine's tokenizer would give it."""

    def __init__(self, backend: Tokenizer) -> None:
        self._backend = backend
        self.comma: int | None = backend.token_to_id(COMMA)

    @classmethod
    def of_clip(cls, numbers: dict[str, int], merges: list[tuple[str, str]]) -> Vocabulary:
        """Return CLIP's, or one that works as CLIP's does, from its token numbers and its merges."""
        backend = Tokenizer(BPE(numbers, merges, unk_token=END, end_of_word_suffix="</w>", fuse_unk=False))
        backend.normalizer = normalizers.Sequence(
            [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
        )
        backend.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(_WORDS), behavior="removed", invert=True),
                pre_tokenizers.ByteLevel(add_prefix_space=False),
            ]
        )
        backend.add_special_tokens([START, END])
        return cls(backend)

    def encode(self, text: str) -> list[int]:
        return list(self._backend.encode(text, add_special_tokens=False).ids)


def read_vocabulary(model: ModelInfo) -> Vocabulary:
    """Return the vocabulary of `model`: that of its folder, or CLIP's for a single file.

    Raises `BadFile` when its files are damaged.
    """
    if model.layout != "diffusers":
        return Vocabulary.of_clip(*read_clip_vocabulary())
    folder = model.path / "tokenizer"
    try:
        return _read_folder(folder)
    except Exception as error:  # the backend raises bare Exception on vocabularies that make no sense
        raise BadFile(f"{model.name}: its tokenizer cannot be read: {error}.", field="model") from error


def _read_folder(folder: Path) -> Vocabulary:
    """Return the vocabulary of CLIP's files, or else of those that T5's, BERT's and language models' folders have."""
    if not (folder / "merges.txt").is_file():
        return Vocabulary(_read_pieces(folder))
    numbers = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))
    lines = (folder / "merges.txt").read_text(encoding="utf-8").splitlines()
    merges = [tuple(line.split()) for line in lines if line and not line.startswith("#version")]
    return Vocabulary.of_clip(numbers, [(left, right) for left, right in merges])


def _read_pieces(folder: Path) -> Tokenizer:
    if (folder / "tokenizer.json").is_file():
        return Tokenizer.from_file(str(folder / "tokenizer.json"))
    for name in ("spiece.model", "tokenizer.model"):
        if (folder / name).is_file():
            return make_tokenizer(read_pieces(folder / name))
    words = Tokenizer(WordPiece.from_file(str(folder / "vocab.txt"), unk_token="[UNK]"))
    words.normalizer, words.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    return words


def read_clip_vocabulary() -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Return CLIP's token numbers and its merges in the order of their rank."""
    merges = _read_merges()
    # CLIP's numbering: the bytes that print as themselves come first, then stand-ins for the others.
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = [chr(code) for code in printable] + [chr(256 + index) for index in range(256 - len(printable))]
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), *("".join(pair) for pair in merges), START, END]
    return {token: number for number, token in enumerate(tokens)}, merges


def _read_merges() -> list[tuple[str, str]]:
    packed = (resources.files("webui.weights") / "data" / "bpe_simple_vocab_16e6.txt.gz").read_bytes()
    lines = gzip.decompress(packed).decode("utf-8").split("\n")[1 : _MERGES + 1]
    pairs = [line.split() for line in lines]
    return [(left, right) for left, right in pairs]
