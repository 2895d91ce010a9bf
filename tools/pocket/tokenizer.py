"""A CLIP tokenizer of the pocket world: real byte-level BPE, with merges learnt from the captions' own words."""

import json
import re
from collections import Counter
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

import numpy as np
from transformers import CLIPTokenizer

CONTEXT = 77
START, END = "<|startoftext|>", "<|endoftext|>"


def _byte_alphabet() -> list[str]:
    """CLIP's 256 printable stand-ins for bytes, in CLIP's order."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    alphabet = [chr(code) for code in printable]
    spare = (code for code in range(256) if code not in set(printable))
    return alphabet + [chr(256 + index) for index, _ in enumerate(spare)]


def learn_merges(counts: Counter[str]) -> list[tuple[str, str]]:
    """Merge the most frequent neighbours until every counted word is one token."""
    words = {word: [*word[:-1], word[-1] + "</w>"] for word in counts}
    merges: list[tuple[str, str]] = []
    while True:
        pairs: Counter[tuple[str, str]] = Counter()
        for word, parts in words.items():
            for pair in pairwise(parts):
                pairs[pair] += counts[word]
        if not pairs:
            return merges
        best = max(pairs, key=lambda pair: (pairs[pair], pair))
        merges.append(best)
        for word, parts in words.items():
            merged: list[str] = []
            for part in parts:
                if merged and (merged[-1], part) == best:
                    merged[-1] += part
                else:
                    merged.append(part)
            words[word] = merged


def build(texts: Iterable[str], extra_words: Iterable[str], folder: Path, at_least: int = 30) -> CLIPTokenizer:
    """Learn a tokenizer and save it as diffusers expects to find it."""
    counts = Counter(word for text in texts for word in re.findall(r"[a-z]+|[0-9]|[^\sa-z0-9]+", text.lower()))
    kept = Counter({word: count for word, count in counts.items() if count >= at_least})
    for word in extra_words:
        for part in re.findall(r"[a-z]+", word):
            kept.setdefault(part, 1)
    merges = learn_merges(kept)
    alphabet = _byte_alphabet()
    tokens = [*alphabet, *(letter + "</w>" for letter in alphabet)]
    for left, right in merges:
        if left + right not in tokens:
            tokens.append(left + right)
    tokens += [START, END]
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = {token: index for index, token in enumerate(tokens)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False), encoding="utf-8")
    lines = ["#version: 0.2", *(f"{left} {right}" for left, right in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    config = {
        "tokenizer_class": "CLIPTokenizer", "model_max_length": CONTEXT, "bos_token": START, "eos_token": END,
        "unk_token": END, "pad_token": END, "add_prefix_space": False, "do_lower_case": True,
    }  # fmt: skip
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")
    tokenizer = CLIPTokenizer.from_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False), encoding="utf-8")
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return tokenizer


def encode(tokenizer: CLIPTokenizer, texts: list[str]) -> np.ndarray:
    """Token numbers, padded to the full context: [texts, 77] int16."""
    return tokenizer(texts, padding="max_length", max_length=CONTEXT, truncation=True, return_tensors="np")[
        "input_ids"
    ].astype(np.int16)
