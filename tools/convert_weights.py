"""Make a .safetensors file of any weight file that Easel reads, such as a pickle (.ckpt, .pt, .pth, .bin).

    python -m tools.convert_weights models/ESRGAN/4x_foo.pth ...

Easel reads pickles too, without ever carrying them out. Other programs do not: give them the converted file.
"""

import argparse
import sys
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from webui.errors import BadFile
from webui.weights.formats.tensors import read_tensors
from webui.weights.loading.quantised import dequantise, is_quantised


def convert(path: Path) -> Path:
    """Write the tensors of `path` beside it and return the new file. Raises `BadFile` or `OSError`."""
    target = path.with_suffix(".safetensors")
    if target.exists():
        raise BadFile(f"{path.name}: {target.name} is there already; move it away first.")
    # Copied, since a file must not hold tensors that share their numbers.
    tensors = {name: _make_plain(tensor).clone().contiguous() for name, tensor in read_tensors(path).items()}
    beside = target.with_name(f".{target.name}.new")
    save_file(tensors, beside, metadata={"format": "pt"})
    beside.replace(target)
    return target


def _make_plain(tensor: Tensor) -> Tensor:
    return dequantise(tensor, torch.float16) if is_quantised(tensor) else tensor


def main(arguments: list[str] | None = None) -> int:
    """Convert each file; return 1 if one could not be."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", type=Path, nargs="+")
    failed = False
    for path in parser.parse_args(arguments).files:
        try:
            print(f"{path.name} -> {convert(path).name}")
        except BadFile as error:
            failed = True
            print(error, file=sys.stderr)
        except (SafetensorError, OSError) as error:
            failed = True
            print(f"{path.name}: it cannot be read: {error}", file=sys.stderr)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
