"""What a weight file declares, checked, whatever its format: no weights are read, torch is not needed."""

from __future__ import annotations

import json
import stat
from math import prod
from pathlib import Path
from typing import Any

from webui.weights.formats.gguf_files import MAGIC, read_gguf_header
from webui.weights.formats.pickles import is_pickle, read_pickle_header
from webui.weights.formats.scaled_fp8 import without_scales
from webui.weights.formats.tensor_facts import MAX_TENSORS, PLAIN, Header, TensorFacts, bad_model

__all__ = ["MAX_JSON", "PICKLE_SUFFIXES", "Header", "TensorFacts", "bad_model", "read_header"]

MAX_HEADER = 16 * 2**20  # bytes
MAX_JSON = 4 * 2**20  # bytes of a configuration file beside the weights
PICKLE_SUFFIXES = (".ckpt", ".pt", ".pth", ".bin", ".pkl")  # what such files are usually called; their content decides


def read_header(path: Path) -> Header:
    """Return the tensors that a weight file declares, after checking that it can hold them.

    Its content tells whether it is a safetensors file, a GGUF file or a pickle. Raises `BadFile`: neither (saying what
    it is), truncated, tensors that overlap or lie outside the file, a pickle that would call something (naming it).
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise bad_model(path, "not a regular file")
    with path.open("rb") as file:
        start = file.read(512)
    _refuse_foreign(path, start)
    if start.startswith(MAGIC):
        return read_gguf_header(path)
    return without_scales(read_pickle_header(path) if is_pickle(start) else _read_safetensors(path))


def _refuse_foreign(path: Path, start: bytes) -> None:
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if not start:
        raise bad_model(path, "the file is empty", "Download it again.")
    if text.startswith((b"<!doctype", b"<html", b"<?xml", b"<head", b"<body")):
        raise bad_model(path, "not a model: it begins with HTML", "The download was a web page; download it again.")
    if text.startswith(b"version https://git-lfs"):
        raise bad_model(path, "a Git LFS pointer, not the model itself", "Fetch it with `git lfs pull`.")
    if len(start) < 8:
        raise bad_model(path, f"truncated: the file has {len(start)} bytes", "Download it again.")


def _read_safetensors(path: Path) -> Header:
    with path.open("rb") as file:
        available = path.stat().st_size - 8
        length = int.from_bytes(file.read(8), "little")
        if length > MAX_HEADER:
            raise bad_model(path, f"not a safetensors file: its header would be {length} bytes long")
        if length > available:
            raise bad_model(path, f"truncated: its header needs {8 + length} bytes, the file has {8 + available}")
        raw = file.read(length)
    return _check_header(path, _parse_header(path, raw), available - length)


def _parse_header(path: Path, raw: bytes) -> dict[str, Any]:
    # A hostile header can be all brackets: counting them first keeps the parsed objects small.
    if max(raw.count(b"{") - 2, raw.count(b"[") // 2) > MAX_TENSORS or raw.count(b",") > 16 * MAX_TENSORS:
        raise bad_model(path, f"its header lists more than {MAX_TENSORS} tensors")
    try:
        header = json.loads(raw.decode("utf-8"), object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise bad_model(path, "not a safetensors file: its header is not valid JSON") from error
    if not isinstance(header, dict):
        raise bad_model(path, "not a safetensors file: its header is not a JSON object")
    header.pop("__metadata__", None)
    return header


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    unique = dict(pairs)
    if len(unique) != len(pairs):
        raise ValueError("a name occurs twice")
    return unique


def _check_header(path: Path, header: dict[str, Any], available: int) -> Header:
    tensors: dict[str, TensorFacts] = {}
    spans: list[tuple[int, int]] = []
    for name, entry in header.items():
        try:
            dtype, shape, (begin, end) = entry["dtype"], tuple(entry["shape"]), entry["data_offsets"]
            whole = all(type(number) is int and number >= 0 for number in (*shape, begin, end))
            fits = whole and prod(shape) * PLAIN[dtype] == end - begin
        except (KeyError, TypeError, ValueError) as error:
            raise bad_model(path, f"its header is damaged at {name[:80]!r}") from error
        if not fits:
            raise bad_model(path, f"its header is damaged at {name[:80]!r}: shape and size disagree")
        tensors[name] = TensorFacts(dtype, shape)
        spans.append((begin, end))
    position = 0
    for begin, end in sorted(spans):
        if begin != position:
            raise bad_model(path, "its header is damaged: tensors overlap or leave gaps")
        position = end
    if position > available:
        raise bad_model(
            path, f"truncated: {position - available} of {position} bytes are missing", "Download it again."
        )
    if position < available:
        raise bad_model(path, f"its header is damaged: {available - position} bytes belong to no tensor")
    return tensors
