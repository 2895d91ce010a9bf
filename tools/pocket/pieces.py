"""T5 in miniature: a tokenizer of whole words and single letters, and an encoder of three layers."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from transformers import CLIPTokenizer, T5Config, T5EncoderModel, T5Tokenizer

from tools.pocket import scenes, text_encoder
from tools.pocket.dataset import Dataset

CONTEXT = 48  # tokens that the denoiser is told
SHORT = 20  # of them, before guidance is learnt; one caption in a hundred is longer
WIDTH = 128
LETTER = -14.0  # the score of one letter: below that of any word
SPACE = "▁"


def build(texts: Iterable[str], folder: Path, at_least: int = 30) -> T5Tokenizer:
    """Learn the words of `texts`, each as a piece of its own, in small letters and with a capital."""
    counts = Counter(word for text in texts for word in re.findall(r"[a-z]+", text))
    kept = {word: count for word, count in counts.items() if count >= at_least}
    for words in scenes.EXTRA_WORDS:
        for word in re.findall(r"[a-z]+", words):
            kept.setdefault(word, 1)
    total = sum(kept.values())
    scores = {SPACE: -4.0, ",": -2.0, ".": -4.0, "-": -6.0}
    for word, count in sorted(kept.items(), key=lambda item: (-item[1], item[0])):
        for written in (word, word.capitalize()):
            scores[SPACE + written] = max(math.log(count / total), LETTER + 1)
    for code in (*range(33, 127), *range(161, 256)):
        scores.setdefault(chr(code), LETTER)
    special = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    T5Tokenizer(vocab=[*special, *scores.items()], extra_ids=0, model_max_length=CONTEXT).save_pretrained(folder)
    return T5Tokenizer.from_pretrained(folder)


def encode(tokenizer: T5Tokenizer, texts: Sequence[str], length: int = CONTEXT) -> Tensor:
    """Token numbers with the end behind them, padded: [texts, length]."""
    rows = tokenizer(list(texts), padding="max_length", max_length=length, truncation=True, return_tensors="np")
    return torch.from_numpy(rows["input_ids"].astype(np.int64))


def read_back(clip: CLIPTokenizer, tokens: np.ndarray) -> list[str]:
    """The texts of rows of CLIP's tokens, in small letters."""
    texts = clip.batch_decode(tokens.astype(np.int64), skip_special_tokens=True)
    return [re.sub(r" ([,.])", r"\1", text).strip() for text in texts]


def captions(data: Dataset, tokenizer: T5Tokenizer, texts: Sequence[str], length: int) -> text_encoder.Captions:
    """All captions of a data set as T5 reads them."""
    return text_encoder.Captions(encode(tokenizer, texts, length), text_encoder.said(data), tokenizer.eos_token_id)


def new_encoder(tokenizer: T5Tokenizer) -> T5EncoderModel:
    """Width 128, three layers, four heads, gated GELU."""
    config = T5Config(
        vocab_size=len(tokenizer), d_model=WIDTH, d_kv=32, d_ff=2 * WIDTH, num_layers=3, num_heads=4,
        feed_forward_proj="gated-gelu", dropout_rate=0.0, pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )  # fmt: skip
    encoder = T5EncoderModel(config)
    _begin_with_neighbours(encoder)
    return encoder


@torch.no_grad()
def _begin_with_neighbours(encoder: T5EncoderModel) -> None:
    """Let heads begin by looking at the word before, the word after, the three words before, and everywhere.

    From T5's own start, whose embeddings drown what the layers add, it learns in minutes which words are there, but not
    which belong together.
    """
    encoder.get_input_embeddings().weight.mul_(0.2)
    distances = encoder.get_input_embeddings().weight.new_zeros(32, 4)  # buckets: 1 … 15 before, 17 … 31 behind
    distances[1, 0] = distances[17, 1] = 5
    distances[1:4, 2] = 4
    encoder.encoder.block[0].layer[0].SelfAttention.relative_attention_bias.weight.copy_(distances)


@torch.no_grad()
def level_capitals(encoder: T5EncoderModel, tokenizer: T5Tokenizer) -> None:
    """Let words and letters in capitals mean what small ones do: training sees small letters only."""
    table = encoder.get_input_embeddings().weight
    vocabulary = tokenizer.get_vocab()
    for piece, number in vocabulary.items():
        small = piece.lower()
        if not piece.startswith("<") and small != piece and small in vocabulary:
            table[number] = table[vocabulary[small]]
