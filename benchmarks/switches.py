"""Memory over many changes of the model: `python -m benchmarks.switches [--switches 50] [FOLDER OR FILE ...]`.

Three models take turns where two have room, so every change loads one and lets one go; a picture of one step is drawn
each time. Prints the resident memory after each tenth change, and how much it grew over the second half.
"""

from __future__ import annotations

import argparse
import gc
import os
import shutil
import tempfile
from pathlib import Path

import psutil

from webui.domain.models import Family
from webui.domain.plan import ImagePlan, ModelRef, Plan, PreviewPlan
from webui.engine.engine import Control, Engine, EngineOptions

MIB = 2**20
POCKET = Path(__file__).resolve().parent.parent / "models" / "Stable-diffusion" / "pocket-sd1"


def make_plan(path: Path, number: int) -> Plan:
    layout = "diffusers" if path.is_dir() else "original"
    model = ModelRef(name=path.stem, path=path, family=Family.SD1, layout=layout, sha256=str(path))
    image = ImagePlan(index=0, seed=number, prompt="a red circle", negative_prompt="")
    return Plan(
        model=model, sampler="Euler", schedule="Automatic", steps=1, guidance=5.0, width=64, height=64,
        images=(image,), preview=PreviewPlan(every=0),
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--switches", type=int, default=50)
    parser.add_argument("models", nargs="*", type=Path, help="default: three copies of Pocket SD1")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        models = options.models or [Path(shutil.copytree(POCKET, Path(folder) / f"copy-{n}")) for n in range(3)]
        engine = Engine(EngineOptions(use_cpu=frozenset({"all"}), most_models=2, precision="half"))
        process, taken = psutil.Process(os.getpid()), []
        for number in range(options.switches):
            list(engine.run(make_plan(models[number % len(models)], number), Control()))
            gc.collect()
            taken.append(process.memory_info().rss)
            if (number + 1) % 10 == 0:
                print(f"after {number + 1:3} changes: {taken[-1] / MIB:7.0f} MiB", flush=True)
    middle = len(taken) // 2
    grown = max(taken[-5:]) - max(taken[middle - 5 : middle])
    print(f"grown from change {middle} to {len(taken)}: {grown / MIB:.1f} MiB")


if __name__ == "__main__":
    main()
