"""Hostile and damaged files are told apart by their headers, without reading weights."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import struct
from pathlib import Path
from typing import Any

import pytest

from webui.errors import BadFile
from webui.weights.formats.headers import MAX_HEADER, read_header

ONE = {"x": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}


def pack(header: object, data: bytes = b"", *, length: int | None = None) -> bytes:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(raw) if length is None else length) + raw + data


def entry(dtype: str = "F32", shape: Any = (1,), offsets: Any = (0, 4)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


BROKEN: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "empty"),
    "seven bytes": (b"1234567", "truncated"),
    "header length 0": (pack(b""), "JSON"),
    "header longer than the file": (pack(b"{}", length=100), "truncated"),
    "header of 2^31": (pack(b"{}", length=2**31), "not a safetensors file"),
    "header of 2^63": (pack(b"{}", length=2**63), "not a safetensors file"),
    "header of 2^64-1": (pack(b"{}", length=2**64 - 1), "not a safetensors file"),
    "HTML": (b"<!DOCTYPE html><html><head>404", "HTML"),
    "HTML after blanks": (b"\r\n  <HTML lang=en>", "HTML"),
    "Git LFS pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:00", "Git LFS"),
    "zip": (b"PK\x03\x04" + bytes(60), "damaged"),
    "pickle": (pickle.dumps({"state_dict": [1, 2, 3]}), "pickle"),
    "tar": (bytes(257) + b"ustar\x0000" + bytes(300), "tar archive"),
    "GGUF": (b"GGUF" + bytes(60), "GGUF"),
    "not UTF-8": (pack(b'{"\xff": 1}'), "JSON"),
    "not JSON": (pack(b"{nonsense}"), "JSON"),
    "a list": (pack([1, 2]), "JSON object"),
    "deep": (pack(b"[" * 20_000), "JSON"),
    "an integer of 10,000 digits": (pack(b'{"x": ' + b"9" * 10_000 + b"}"), "JSON"),
    "a name twice": (pack(b'{"x": {}, "x": {}}'), "JSON"),
    "entry is a number": (pack({"x": 1}), "damaged at 'x'"),
    "no offsets": (pack({"x": {"dtype": "F32", "shape": [1]}}), "damaged at 'x'"),
    "unknown dtype": (pack({"x": entry("F33")}, bytes(4)), "damaged at 'x'"),
    "dtype is a list": (pack({"x": {**entry(), "dtype": []}}, bytes(4)), "damaged at 'x'"),
    "negative shape": (pack({"x": entry(shape=[-1])}, bytes(4)), "shape and size"),
    "shape of true": (pack({"x": entry(shape=[True])}, bytes(4)), "shape and size"),
    "shape of a fraction": (pack({"x": entry(shape=[1.0])}, bytes(4)), "shape and size"),
    "shape product overflow": (
        pack({"x": entry(shape=[4194305, 4194305, 211106198978564])}, bytes(4)),
        "shape and size",
    ),
    "reversed offsets": (pack({"x": entry(offsets=[4, 0])}, bytes(4)), "shape and size"),
    "three offsets": (pack({"x": entry(offsets=[0, 4, 8])}, bytes(8)), "damaged at 'x'"),
    "overlap": (pack({"x": entry(), "y": entry(offsets=[2, 6])}, bytes(6)), "overlap or leave gaps"),
    "the same bytes twice": (pack({"x": entry(), "y": entry()}, bytes(4)), "overlap or leave gaps"),
    "gap": (pack({"x": entry(), "y": entry(offsets=[8, 12])}, bytes(12)), "overlap or leave gaps"),
    "beyond the file": (pack(ONE, bytes(3)), "truncated: 1 of 4 bytes"),
    "trailing bytes": (pack(ONE, bytes(5)), "belong to no tensor"),
    "header of 99 MB": (pack(b" " * 100, length=99 * 2**20), "not a safetensors file"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_files_say_what_they_are(case: str, tmp_path: Path) -> None:
    content, words = BROKEN[case]
    file = tmp_path / "model.safetensors"
    file.write_bytes(content)
    with pytest.raises(BadFile) as caught:
        read_header(file)
    assert words in caught.value.message
    assert caught.value.message.startswith("model.safetensors: ")
    assert caught.value.field == "model"


@pytest.mark.parametrize(
    "header",
    [
        b"{" + b",".join(b'"%d":{}' % number for number in range(60_000)) + b"}",
        b'{"x":[' + b"[]," * 5_000_000 + b"[]]}",
        b'{"x":[' + b"0," * 8_000_000 + b"0]}",
    ],
    ids=["60,000 tensors", "5 million lists", "8 million numbers"],
)
def test_headers_that_only_cost_time_and_memory_are_refused_unparsed(header: bytes, tmp_path: Path) -> None:
    assert len(header) < MAX_HEADER + 2**20
    file = tmp_path / "model.safetensors"
    file.write_bytes(pack(header))
    with pytest.raises(BadFile, match="more than 50000 tensors"):
        read_header(file)


def test_sparse_terabyte_is_refused_at_once(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    file.write_bytes(pack(ONE))
    try:
        os.truncate(file, 10**12)
    except OSError:
        os.truncate(file, 10**10)
    with pytest.raises(BadFile, match="belong to no tensor"):
        read_header(file)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_named_pipe_does_not_hang(tmp_path: Path) -> None:
    pipe = tmp_path / "model.safetensors"
    os.mkfifo(pipe)
    with pytest.raises(BadFile, match="not a regular file"):
        read_header(pipe)


@pytest.mark.parametrize("name", ["model.ckpt", "model.pt", "MODEL.CKPT", "model.bin", "model"])
def test_the_name_of_a_file_says_nothing(name: str, tiny_file: Path, tmp_path: Path) -> None:
    renamed = shutil.copy(tiny_file, tmp_path / name)
    assert read_header(Path(renamed)) == read_header(tiny_file)


def test_extra_metadata_is_fine(tmp_path: Path) -> None:
    file = tmp_path / "x.safetensors"
    file.write_bytes(pack({"__metadata__": {"note": "{[,"}, **ONE}, bytes(4)))
    assert read_header(file)["x"].shape == (1,)


@pytest.mark.parametrize("length", [0x80, 0x0280, 0x0380])
def test_a_header_whose_length_looks_like_the_begin_of_a_pickle(length: int, tmp_path: Path) -> None:
    text = json.dumps({"w": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}}).encode().ljust(length)
    file = tmp_path / "x.safetensors"
    file.write_bytes(length.to_bytes(8, "little") + text + b"\0")
    assert list(read_header(file)) == ["w"]
