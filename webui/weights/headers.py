"""What a safetensors file declares, checked: no weights are read, torch is not needed."""

from __future__ import annotations

import json
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from webui.errors import BadFile

MAX_HEADER = 16 * 2**20  # bytes
MAX_TENSORS = 50_000
MAX_JSON = 4 * 2**20  # bytes of a configuration file beside the weights
PICKLE_SUFFIXES = (".ckpt", ".pt", ".pth", ".bin", ".pkl")
CONVERT = "Convert it to .safetensors; models/README.md says how."

_ITEM_SIZES = {
    "BOOL": 1, "U8": 1, "I8": 1, "F8_E4M3": 1, "F8_E5M2": 1, "I16": 2, "U16": 2, "F16": 2, "BF16": 2,
    "I32": 4, "U32": 4, "F32": 4, "I64": 8, "U64": 8, "F64": 8,
}  # fmt: skip


@dataclass(frozen=True)
class TensorFacts:
    """One entry of a safetensors header."""

    dtype: str
    shape: tuple[int, ...]


Header = Mapping[str, TensorFacts]


def read_header(path: Path) -> Header:
    """Return the tensors that a safetensors file declares, after checking that it can hold them.

    Raises `BadFile`: a pickle, not a safetensors file (saying what it is), truncated, or offsets that overlap or leave
    gaps.
    """
    if path.suffix.lower() in PICKLE_SUFFIXES:
        raise bad_model(path, f"{path.suffix.lower()} files can run code when opened and are not loaded", CONVERT)
    facts = path.stat()
    if not stat.S_ISREG(facts.st_mode):
        raise bad_model(path, "not a regular file")
    with path.open("rb") as file:
        start = file.read(512)
        _refuse_foreign(path, start)
        length = int.from_bytes(start[:8], "little")
        if length > MAX_HEADER:
            raise bad_model(path, f"not a safetensors file: its header would be {length} bytes long")
        if 8 + length > facts.st_size:
            raise bad_model(path, f"truncated: its header needs {8 + length} bytes, the file has {facts.st_size}")
        file.seek(8)
        raw = file.read(length)
    return _check_header(path, _parse_header(path, raw), facts.st_size - 8 - length)


def _refuse_foreign(path: Path, start: bytes) -> None:
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if not start:
        raise bad_model(path, "the file is empty", "Download it again.")
    if start.startswith((b"PK\x03\x04", b"PK\x05\x06", b"\x80")) or b"ustar" in start[257:265]:
        raise bad_model(path, "a pickle file, which can run code when opened", CONVERT)
    if text.startswith((b"<!doctype", b"<html", b"<?xml", b"<head", b"<body")):
        raise bad_model(
            path, "not a safetensors file: it begins with HTML", "The download was a web page; download it again."
        )
    if text.startswith(b"version https://git-lfs"):
        raise bad_model(path, "a Git LFS pointer, not the model itself", "Fetch it with `git lfs pull`.")
    if start.startswith(b"GGUF"):
        raise bad_model(path, "GGUF checkpoints are not supported yet")
    if len(start) < 8:
        raise bad_model(path, f"truncated: the file has {len(start)} bytes", "Download it again.")


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
            fits = whole and prod(shape) * _ITEM_SIZES[dtype] == end - begin
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


def bad_model(path: Path, problem: str, hint: str = "") -> BadFile:
    """Return the refusal of a model file in one sentence."""
    return BadFile(f"{path.name}: {problem}.", hint=hint, field="model")
