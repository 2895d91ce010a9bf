"""The networks of preprocessors, from the user's folder. Nothing is downloaded, and no code of a folder runs.

A network of transformers lies in a folder as the library saves it (`config.json`, `model.safetensors` and, for its
pictures, `preprocessor_config.json`). Runs in the worker, on the CPU.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors import SafetensorError

from webui.extending.api import BadFile

Run = Callable[[Image.Image], Any]
"""(picture) → what the network says of it."""


def load_network(preprocessor: str, folder: Path, kind: type[Any]) -> Run:
    """Return a network of transformers as a function from a picture to its outputs, in full precision.

    `kind` is one of the library's `AutoModelFor…` classes. Raises `BadFile` for what is no such network.
    """
    prepare = _read(preprocessor, folder, load_preparation)
    network = load_weights(preprocessor, folder, kind)

    def run(picture: Image.Image) -> Any:
        with torch.inference_mode():
            return network(**prepare(images=picture, return_tensors="pt"))

    return run


def load_preparation(folder: Path) -> Any:
    """Return what makes tensors of pictures, as `preprocessor_config.json` says; Pillow does the work."""
    from transformers import AutoImageProcessor

    return AutoImageProcessor.from_pretrained(folder, local_files_only=True, trust_remote_code=False, backend="pil")


def load_weights(preprocessor: str, folder: Path, kind: type[Any]) -> Any:
    """Return the network alone, ready to compute; raises `BadFile` as `load_network` does."""
    return _read(preprocessor, folder, lambda path: _load(path, kind))


def _load(folder: Path, kind: type[Any]) -> Any:
    network, found = kind.from_pretrained(
        folder,
        local_files_only=True,
        use_safetensors=True,
        trust_remote_code=False,
        dtype=torch.float32,
        output_loading_info=True,
    )
    if missing := sorted(found["missing_keys"]):  # the library would go on with random numbers
        raise ValueError(f"model.safetensors lacks {len(missing)} weights, {missing[0]} among them")
    return network.eval()


def _read(preprocessor: str, folder: Path, read: Callable[[Path], Any]) -> Any:
    try:
        return read(folder)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:200]
        raise BadFile(
            f"Preprocessor {preprocessor} cannot use {folder}: {reason}.",
            hint="Put the right folder there, whole.",
            field="preprocessor",
        ) from error


def fill(network: torch.nn.Module, weights: Mapping[str, torch.Tensor], preprocessor: str, file: Path) -> None:
    """Give a network its weights, in full precision; raise `BadFile` if the file holds others."""
    wanted = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    if wanted != found:
        different = sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))
        raise BadFile(
            f"Preprocessor {preprocessor} cannot use {file}: {different[0]} is not what it must be.",
            hint="Put the right file there.",
            field="preprocessor",
        )
    network.load_state_dict({name: tensor.float() for name, tensor in weights.items()}, assign=True)
