"""Model work from the command line, and for the server, which runs it as a process of its own.

    python -m webui.weights.convert convert model.ckpt -o model.safetensors
    python -m webui.weights.convert merge a.safetensors b.safetensors -o c.safetensors --share 0.3
    python -m webui.weights.convert extract tuned.safetensors base.safetensors -o lora.safetensors --rank 32
    python -m webui.weights.convert quantise model.safetensors -o model.gguf --type Q8_0

With `--json` the work stands on the standard input (`webui.domain.model_work.ModelWork`), and each line that is written
is a JSON object: how far it has come, or in the end why it failed.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import get_args

from pydantic import TypeAdapter, ValidationError

from webui.domain.model_work import MOST_RANK, Layout, MergeMethod, ModelWork, Precision, QuantisedType
from webui.errors import EaselError


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry out one piece of work and return the exit status."""
    options = _parser().parse_args(arguments)
    if options.json:
        return _run(TypeAdapter(ModelWork).validate_json(sys.stdin.read()), as_json=True)
    if options.kind is None:
        _parser().print_help()
        return 2
    fields = {name: value for name, value in vars(options).items() if name != "json" and value is not None}
    try:
        work = TypeAdapter(ModelWork).validate_python(fields)
    except ValidationError as error:
        first = error.errors()[0]
        print(f"{'.'.join(map(str, first['loc'][1:]))}: {first['msg']}", file=sys.stderr)
        return 2
    if work.target.exists():
        print(f"{work.target} exists already.", file=sys.stderr)
        return 2
    return _run(work, as_json=False)


def _run(work: ModelWork, *, as_json: bool) -> int:
    from webui.weights.convert.work import carry_out  # torch takes seconds, which `--help` need not

    answers = sys.stdout
    try:
        with redirect_stdout(sys.stderr):  # what libraries print is no answer
            for progress in carry_out(work):
                line = f"[{progress.done + 1}/{progress.total}] {progress.text}"
                print(progress.model_dump_json() if as_json else line, file=answers, flush=True)
    except EaselError as error:
        if as_json:
            print(json.dumps({"error": error.message, "hint": error.hint, "field": error.field}), flush=True)
        else:
            print(" ".join(part for part in (error.message, error.hint) if part), file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m webui.weights.convert", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--json", action="store_true", help=argparse.SUPPRESS)
    kinds = parser.add_subparsers(dest="kind")

    convert = kinds.add_parser("convert", help="another layout or precision, without what is not used")
    convert.add_argument("source", type=Path)
    convert.add_argument("--vae", type=Path, help="a VAE to bake in")
    convert.add_argument("--leave-out", nargs="*", metavar="COMPONENT", help="such as text_encoder or vae")

    merge = kinds.add_parser("merge", help="two or three models made into one")
    merge.add_argument("first", type=Path)
    merge.add_argument("second", type=Path)
    merge.add_argument("base", type=Path, nargs="?", help="what both come from")
    merge.add_argument("--method", choices=get_args(MergeMethod))
    merge.add_argument("--share", type=float, help="of the second model (default: 0.5)")
    merge.add_argument("--blocks", help="25 shares, for the blocks of the UNet")
    merge.add_argument("--density", type=float, help="of what TIES and DARE keep (default: 0.5)")
    merge.add_argument("--seed", type=int, help="for what DARE drops (default: 0)")
    merge.add_argument("--vae", type=Path, help="a VAE to bake in")
    for each in (convert, merge):
        each.add_argument("--layout", choices=get_args(Layout), help="one file, or a folder (default: one file)")
        each.add_argument("--precision", choices=get_args(Precision), help="default: fp16")

    extract = kinds.add_parser("extract", help="a LoRA from the difference between two models")
    extract.add_argument("tuned", type=Path)
    extract.add_argument("base", type=Path)
    extract.add_argument("--rank", type=int, help=f"1 to {MOST_RANK} (default: 64)")

    quantise = kinds.add_parser("quantise", help="the denoiser as a GGUF file")
    quantise.add_argument("source", type=Path)
    quantise.add_argument("--type", choices=get_args(QuantisedType))
    for each in (convert, merge, extract, quantise):
        each.add_argument("-o", "--target", type=Path, required=True, metavar="FILE")
    return parser


if __name__ == "__main__":
    sys.exit(main())
