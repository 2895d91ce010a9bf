"""Tiny language models as text encoders, and tokenizers that work as theirs do."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.processors import TemplateProcessing
from transformers import (
    Gemma2Config,
    Gemma2Model,
    GemmaTokenizer,
    PreTrainedModel,
    Qwen2Tokenizer,
    Qwen3Config,
    Qwen3Model,
)

from webui.weights.formats.sentencepieces import Piece

WORDS = ("cat", "dog", "castle", "night", "user", "prompt")
VOCABULARY = 700
_LLM = {
    "vocab_size": VOCABULARY, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 2,
    "num_key_value_heads": 1, "head_dim": 16,
}  # fmt: skip


def make_gemma(width: int = 32) -> PreTrainedModel:
    """Return a Gemma 2 with random weights that react to the text."""
    model = Gemma2Model(Gemma2Config(hidden_size=width, query_pre_attn_scalar=16, **_LLM)).eval()
    model.embed_tokens.weight.data.normal_(std=0.5)
    return model


def make_qwen(width: int = 32) -> PreTrainedModel:
    """Return a Qwen 3 with random weights that react to the text."""
    model = Qwen3Model(Qwen3Config(hidden_size=width, rope_theta=1e6, **_LLM)).eval()
    model.embed_tokens.weight.data.normal_(std=0.5)
    return model


def write_gemma_tokenizer(path: Path) -> None:
    """Write a tokenizer that works as Gemma's does: spaces are part of words, unknown letters become bytes."""
    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]
    octets = [f"<0x{number:02X}>" for number in range(256)]
    letters = ["▁", *(chr(number) for number in range(33, 127))]
    grown, merges = _grow([f"▁{word}" for word in WORDS])
    names = [*special, *octets, *letters, *grown]
    tokenizer = GemmaTokenizer(vocab={name: at for at, name in enumerate(names)}, merges=merges)
    framed = TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", names.index("<bos>"))])
    tokenizer.backend_tokenizer.post_processor = framed
    tokenizer.save_pretrained(path)


def write_qwen_tokenizer(path: Path) -> None:
    """Write a tokenizer that works as Qwen's does: bytes, and the tokens that frame what users and assistants say."""
    grown, merges = _grow([f"Ġ{word}" for word in WORDS])
    names = [*sorted(ByteLevel.alphabet()), *grown]
    tokenizer = Qwen2Tokenizer(vocab={name: at for at, name in enumerate(names)}, merges=merges)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    tokenizer.save_pretrained(path)


def _grow(words: Sequence[str]) -> tuple[list[str], list[tuple[str, str]]]:
    """Return the beginnings of words and the merges that make them, letter by letter."""
    merges = dict.fromkeys((word[:end], word[end]) for word in words for end in range(1, len(word)))
    return ["".join(pair) for pair in merges], list(merges)


def field(number: int, value: int | float | bytes) -> bytes:
    """Return one field of a protocol buffer."""
    if isinstance(value, float):
        return bytes([number << 3 | 5]) + struct.pack("<f", value)
    if isinstance(value, int):
        return bytes([number << 3]) + _number(value)
    return bytes([number << 3 | 2]) + _number(len(value)) + value


def _number(value: int) -> bytes:
    return bytes([value & 0x7F | 0x80]) + _number(value >> 7) if value > 0x7F else bytes([value])


def write_pieces(path: Path, pieces: Sequence[Piece], *, merged: bool = False) -> None:
    """Write a model file as SentencePiece does."""
    blocks = [field(1, each.text.encode()) + field(2, each.score) + field(3, each.kind) for each in pieces]
    training = field(3, 2 if merged else 1) + field(4, len(pieces)) + field(10, 0.9995)
    path.write_bytes(b"".join(field(1, block) for block in blocks) + field(2, training) + field(3, field(1, b"nfkc")))
