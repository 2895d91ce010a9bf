"""The training set on disk: drawn once with a fixed seed, then memory-mapped."""

import pickle
from dataclasses import dataclass
from multiprocessing import Pool
from pathlib import Path

import numpy as np
from transformers import CLIPTokenizer
from typing_extensions import Self

from tools.pocket import scenes, tokenizer

CHUNK = 1000


@dataclass(frozen=True)
class Dataset:
    """Pictures with their captions (several each) and exact labels, as arrays."""

    pictures: np.ndarray  # [n, 128, 128, 3] uint8
    covers: np.ndarray  # [n, 16, 16] uint8: 0 or 1 + the object in that cell
    shown: np.ndarray  # [n, labels] uint8: what the picture shows
    tokens: np.ndarray  # [n, captions, 77] int16
    said: np.ndarray  # [n, captions, labels] uint8: what the caption says
    tokenizer: CLIPTokenizer

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Map a finished data set."""
        arrays = {
            name: np.load(folder / f"{name}.npy", mmap_mode="r" if name == "pictures" else None)
            for name in ("pictures", "covers", "shown", "tokens", "said")
        }
        return cls(**arrays, tokenizer=CLIPTokenizer.from_pretrained(folder / "tokenizer"))


def build(folder: Path, count: int, seed: int, like: Path | None = None, processes: int = 2) -> Dataset:
    """Draw `count` scenes; `like` names a data set whose tokenizer to use instead of learning one."""
    if (folder / "done").exists():
        return Dataset.open(folder)
    folder.mkdir(parents=True, exist_ok=True)
    pictures = np.lib.format.open_memmap(
        folder / "pictures.npy", mode="w+", dtype=np.uint8, shape=(count, scenes.SIZE, scenes.SIZE, 3)
    )
    covers, shown, captions = [], [], []
    jobs = [(seed * 1_000_003 + number, CHUNK) for number in range(count // CHUNK)]
    with Pool(processes) as pool:
        for number, (drawn, cover, codes, texts) in enumerate(pool.imap(_draw, jobs)):
            pictures[number * CHUNK : (number + 1) * CHUNK] = drawn
            covers.append(cover)
            shown.append(codes)
            captions += texts
    pictures.flush()
    texts = [caption.text for several in captions for caption in several]
    if like is None:
        words = tokenizer.build(texts, scenes.EXTRA_WORDS, folder / "tokenizer")
    else:
        words = CLIPTokenizer.from_pretrained(like / "tokenizer")
        words.save_pretrained(folder / "tokenizer")
    tokens = np.concatenate([tokenizer.encode(words, texts[at : at + 20_000]) for at in range(0, len(texts), 20_000)])
    said = np.array([[scenes.label_codes(caption) for caption in several] for several in captions], np.uint8)
    np.save(folder / "covers.npy", np.concatenate(covers))
    np.save(folder / "shown.npy", np.concatenate(shown))
    np.save(folder / "tokens.npy", tokens.reshape(len(captions), scenes.CAPTIONS_PER_PICTURE, -1))
    np.save(folder / "said.npy", said)
    (folder / "captions.pkl").write_bytes(pickle.dumps(texts))
    (folder / "done").touch()
    return Dataset.open(folder)


def _draw(job: tuple[int, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[list[scenes.Caption]]]:
    return scenes.draw_chunk(*job)
