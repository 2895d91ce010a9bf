"""Make a .safetensors file of a pickled one (.pth, .pt, .ckpt, .bin), which Easel itself never opens.

    python -m tools.convert_weights models/ESRGAN/4x_foo.pth ...

A pickle can hold a program. torch is told to read numbers and nothing else (`weights_only`) and refuses a file that
holds more; convert files you have reason to trust nevertheless.
"""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

WRAPPERS = ("params_ema", "params", "state_dict", "model")
"""Under which names training programs keep the weights; the best first."""


class NotConvertible(Exception):
    """Why a file was not converted, for the user."""


def convert(path: Path) -> Path:
    """Write the tensors of `path` beside it and return the new file. Raises `NotConvertible`."""
    target = path.with_suffix(".safetensors")
    if target.exists():
        raise NotConvertible(f"{target.name} is there already; move it away first.")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged or hostile file can fail in any way
        raise NotConvertible(f"torch refuses it: {str(error).splitlines()[0]}") from error
    tensors = {name: value.detach().clone().contiguous() for name, value in unwrap(content).items()}
    if not tensors:
        raise NotConvertible("it holds no weights.")
    beside = target.with_name(f".{target.name}.new")
    save_file(tensors, beside, metadata={"format": "pt"})
    beside.replace(target)
    return target


def unwrap(content: Any) -> dict[str, Tensor]:
    """Return the tensors in what a file held, out of the wrappers that programs put around them."""
    if not isinstance(content, Mapping):
        return {}
    for name in WRAPPERS:
        if isinstance(content.get(name), Mapping):
            return unwrap(content[name])
    return {str(name): value for name, value in content.items() if isinstance(value, Tensor)}


def main(arguments: list[str] | None = None) -> int:
    """Convert each file; return 1 if one could not be."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", type=Path, nargs="+")
    failed = False
    for path in parser.parse_args(arguments).files:
        try:
            print(f"{path.name} -> {convert(path).name}")
        except NotConvertible as error:
            failed = True
            print(f"{path.name}: {error}", file=sys.stderr)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
