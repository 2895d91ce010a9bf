"""The tensors of a control file or folder, and the network that they fill: built without taking memory."""

from __future__ import annotations

import inspect
import json
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from torch import nn

from extensions.controlnet.families import FIELD, bad_control
from webui.extending.api import BadFile
from webui.extending.computing import Weights, read_tensors

_MAX_CONFIG = 2**20  # bytes


@dataclass(frozen=True, eq=False)
class ControlFile:
    """What a file, or a diffusers folder with a configuration of its own, holds; `name` is told in errors."""

    name: str
    weights: Weights
    config: Mapping[str, Any] | None = None

    def count(self, prefix: str) -> int:
        """Return how many numbered parts there are whose names begin with `prefix`."""
        behind = {name[len(prefix) :].partition(".")[0] for name in self.weights if name.startswith(prefix)}
        return sum(part.isdigit() for part in behind)

    def size(self, name: str, dimension: int = 0) -> int:
        """Return a size of the tensor called `name`; raise `KeyError` where there is none."""
        return int(self.weights[name].shape[dimension])


def read_control(path: Path) -> ControlFile:
    """Return what is in a weight file, or in a folder of config.json and weights; raise `BadFile` if that is broken."""
    with blaming(path.name):
        if not path.is_dir():
            return ControlFile(path.name, read_tensors(path))
        weights: Weights = {}
        for file in _find_weights(path):
            weights |= read_tensors(file)
        return ControlFile(path.name, weights, _read_config(path / "config.json"))


def fill(network: type[nn.Module], config: Mapping[str, Any], file: ControlFile, dtype: torch.dtype) -> nn.Module:
    """Return a network of that class, configured so, with the weights of `file` as `dtype`, on the CPU.

    Weights that are in that dtype already stay in the page cache. Raises `BadFile` unless they are exactly those that
    the network needs.
    """
    known = inspect.signature(network).parameters
    with init_empty_weights(include_buffers=False), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # diffusers' FluxControlNetModel uses what diffusers deprecates
        built = network(**{name: value for name, value in config.items() if name in known})
    expected = built.state_dict()
    _refuse(file.name, "lacks", expected.keys() - file.weights.keys())
    _refuse(file.name, "holds the unknown", file.weights.keys() - expected.keys())
    for name, tensor in file.weights.items():
        if tensor.shape != expected[name].shape:
            found, wanted = list(tensor.shape), list(expected[name].shape)
            raise bad_control(file.name, f"{name} has the shape {found} instead of {wanted}")
    built.load_state_dict({name: tensor.to(dtype) for name, tensor in file.weights.items()}, assign=True)
    return built.requires_grad_(False).eval()


@contextmanager
def blaming(name: str) -> Iterator[None]:
    """Let what goes wrong inside be told as the fault of the control file `name`."""
    try:
        yield
    except BadFile as error:
        raise BadFile(error.message, hint=error.hint, field=FIELD) from error
    except (KeyError, IndexError) as error:
        raise bad_control(name, f"it lacks {error}") from error
    except Exception as error:  # a foreign file can fail in any way inside the libraries
        raise bad_control(name, f"it cannot be used: {error}") from error


def _find_weights(folder: Path) -> list[Path]:
    """Return the weight files of a folder: one, or all shards of one; the plain ones where there are variants."""
    files = sorted(folder.glob("*.safetensors")) or sorted(folder.glob("*.bin"))
    if not files:
        raise bad_control(folder.name, "there are no weights in the folder")
    shards = [file for file in files if "-of-" in file.stem]
    return shards or [min(files, key=lambda file: (len(file.name), file.name))]


def _read_config(path: Path) -> Mapping[str, Any] | None:
    """Return a folder's configuration; None where there is none."""
    if not path.is_file():
        return None
    if path.stat().st_size > _MAX_CONFIG:
        raise bad_control(path.parent.name, "its config.json is too large")
    config = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(config, dict):
        raise bad_control(path.parent.name, "its config.json holds no object")
    return {name: value for name, value in config.items() if not name.startswith("_")}


def _refuse(name: str, verb: str, names: set[str]) -> None:
    if names:
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        raise bad_control(name, f"it {verb} {min(names)[:120]}{more}")
