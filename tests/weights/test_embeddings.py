from __future__ import annotations

import json
import struct
from pathlib import Path

from webui.weights.embeddings import EmbeddingFile, find_embeddings


def write_tensors(path: Path, **shapes: tuple[int, ...]) -> None:
    header, end = {}, 0
    for name, shape in shapes.items():
        size = 4
        for side in shape:
            size *= side
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(end))


def test_vectors_are_counted_from_the_header(tmp_path: Path) -> None:
    write_tensors(tmp_path / "sd1.safetensors", emb_params=(3, 768))
    write_tensors(tmp_path / "sdxl" / "xl.safetensors", clip_l=(2, 768), clip_g=(2, 1280))
    assert find_embeddings(tmp_path) == (
        EmbeddingFile(name="sd1", vectors=3, length=768),
        EmbeddingFile(name="xl", vectors=2, length=2048),
    )


def test_what_cannot_be_read_says_why(tmp_path: Path) -> None:
    (tmp_path / "old.pt").write_bytes(b"PK\x03\x04")
    write_tensors(tmp_path / "other.safetensors", weight=(2, 2))
    (tmp_path / "notes.txt").write_text("no model")
    old, other = find_embeddings(tmp_path)
    assert (old.name, old.vectors) == ("old", 0) and old.problem is not None and "damaged" in old.problem
    assert other.problem is not None and "no vectors" in other.problem


def test_no_folder_has_none(tmp_path: Path) -> None:
    assert find_embeddings(tmp_path / "nowhere") == ()
