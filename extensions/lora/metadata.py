"""What a LoRA file says about itself, and the hash by which A1111 and Civitai know it. Torch is not needed."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

_LONGEST_HEADER = 100_000_000  # bytes, as in the safetensors format
_HASH = re.compile(r"[0-9a-f]{12,64}")
_BLOCK = 2**20


def read_metadata(path: Path) -> Mapping[str, str]:
    """Return the metadata of a .safetensors file; nothing for other files, and those that cannot be read."""
    stat = path.stat()
    return _read_metadata(path, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=4096)
def _read_metadata(path: Path, changed: int, size: int) -> Mapping[str, str]:
    if path.suffix.lower() != ".safetensors" or not path.is_file():
        return {}
    header, _ = _header(path)
    metadata = header.get("__metadata__", {}) if isinstance(header, dict) else {}
    return {str(name): str(value) for name, value in metadata.items()} if isinstance(metadata, dict) else {}


def _header(path: Path) -> tuple[Any, int]:
    """Return the header and where the tensors begin, in bytes."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 0 < length <= min(_LONGEST_HEADER, path.stat().st_size):
            return {}, 0
        try:
            return json.loads(file.read(length)), 8 + length
        except ValueError:
            return {}, 0


def alias_of(path: Path) -> str:
    """Return the name under which it was trained (`ss_output_name`), empty if it does not say so."""
    return read_metadata(path).get("ss_output_name", "").strip()


def hash_of(path: Path, sha256: str) -> str:
    """Return the 12 digits by which A1111 knows the file: of the tensors alone, so that edited metadata change nothing.

    `sha256` is that of the whole file, and used where there are no metadata to leave out (pickles, folders).
    """
    said = read_metadata(path).get("sshs_model_hash", "").lower()
    return (said if _HASH.fullmatch(said) else _hash_tensors(path, sha256))[:12]


@lru_cache(maxsize=4096)
def _hash_tensors(path: Path, sha256: str) -> str:
    if path.suffix.lower() != ".safetensors" or not path.is_file():
        return sha256
    _, start = _header(path)
    digest = hashlib.sha256()
    with path.open("rb") as file:
        file.seek(start)
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def declared_alphas(path: Path) -> Mapping[str, Any]:
    """Return what peft or diffusers wrote about ranks and alphas: names such as `lora_alpha` or `unet.lora_alpha`."""
    config = path / "adapter_config.json"
    try:
        found = json.loads(
            config.read_text(encoding="utf-8")
            if path.is_dir()
            else read_metadata(path).get("lora_adapter_metadata", "{}")
        )
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
