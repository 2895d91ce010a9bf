"""What a LoRA file says about itself, and the hash by which A1111 and Civitai know it. Torch is not needed."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from webui.extending.api import read_metadata

_HASH = re.compile(r"[0-9a-f]{12,64}")
_BLOCK = 2**20


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
    digest = hashlib.sha256()
    with path.open("rb") as file:
        file.seek(int.from_bytes(file.read(8), "little"), 1)  # behind the header
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
