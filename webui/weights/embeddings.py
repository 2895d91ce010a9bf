"""Embeddings (textual inversion) on the disk: what their headers say. Prompts have no way to use them yet."""

from __future__ import annotations

from pathlib import Path

from webui.domain.frozen import Data
from webui.errors import BadFile
from webui.weights.headers import PICKLE_SUFFIXES, read_header

TABLES = ("emb_params", "clip_l", "clip_g")
"""The tensors of vectors: A1111's for SD 1 and 2, and both of SDXL's text encoders."""


class EmbeddingFile(Data):
    """One file: how many vectors it has and how long each is, over all text encoders. Both are 0 where the file cannot
    be read; `problem` says why."""

    name: str
    vectors: int = 0
    length: int = 0
    problem: str | None = None


def find_embeddings(folder: Path) -> tuple[EmbeddingFile, ...]:
    """Return the embeddings in `folder` and the folders in it, by name."""
    files = sorted(folder.rglob("*"), key=lambda file: file.name.lower())
    return tuple(_read(file) for file in files if file.suffix.lower() in (".safetensors", *PICKLE_SUFFIXES))


def _read(file: Path) -> EmbeddingFile:
    try:
        header = read_header(file)
    except (BadFile, OSError) as error:
        return EmbeddingFile(name=file.stem, problem=str(error))
    tables = [header[name].shape for name in TABLES if name in header and len(header[name].shape) == 2]
    if not tables:
        return EmbeddingFile(name=file.stem, problem=f"{file.name}: it holds no vectors of an embedding.")
    return EmbeddingFile(name=file.stem, vectors=tables[0][0], length=sum(shape[1] for shape in tables))
