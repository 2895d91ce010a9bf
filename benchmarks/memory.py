"""What a picture takes, predicted and measured: `python -m benchmarks.memory [--model PATH] [--side 512]`.

Each mode in a process of its own; without a GPU there is one, on the CPU. Prints the peak that the planner predicts and
the one that was measured (on CUDA what torch allocated, else resident memory above that of the imports), and how long
loading and the picture took. The default model is one of SD1's real size with random weights.
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
import time
from pathlib import Path

import torch

from benchmarks.loading import Peak
from benchmarks.sd1_file import make_file
from webui.domain.plan import ImagePlan, ModelRef, Plan, PreviewPlan
from webui.engine.engine import Control, Engine, EngineOptions, ImageReady
from webui.weights.memory import JobFacts, choose_device, describe_device
from webui.weights.memory_plan.facts import CheckpointFacts
from webui.weights.memory_plan.plan import MODES, plan_memory
from webui.weights.recognition.identify import identify

MIB = 2**20


def make_plan(path: Path, side: int, steps: int, batch: int) -> Plan:
    checkpoint = identify(path)
    model = ModelRef(
        name=path.stem, path=path, family=checkpoint.family, layout=checkpoint.layout, sha256="0" * 64
    )  # fmt: skip
    images = tuple(ImagePlan(index=number, seed=number, prompt="a cat", negative_prompt="") for number in range(batch))
    return Plan(
        model=model, sampler="Euler", schedule="Simple", steps=steps, guidance=5.0, width=side, height=side,
        batch_size=batch, images=images, preview=PreviewPlan(every=0),
        distilled_guidance=checkpoint.defaults.distilled_guidance,
    )  # fmt: skip


def measure(path: Path, mode: str, side: int, steps: int, batch: int) -> None:
    options = EngineOptions(memory_mode=mode)  # type: ignore[arg-type]
    device, plan = choose_device(options), make_plan(path, side, steps, batch)
    expected = plan_memory(options, describe_device(device), CheckpointFacts.of(identify(path)), JobFacts.of(plan))
    engine = Engine(options)
    with Peak() as peak:
        seconds = []
        for _ in range(2 if device.type == "cuda" else 1):
            start = time.perf_counter()
            made = [each for each in engine.run(plan, Control()) if isinstance(each, ImageReady)]
            seconds.append(time.perf_counter() - start)
        assert len(made) == batch
    measured = torch.cuda.max_memory_allocated() if device.type == "cuda" else peak.most - peak.before
    ram = (peak.most - peak.before) / MIB
    times = ", ".join(f"{each:.1f} s" for each in seconds)
    print(
        f"{path.stem} {side}² × {batch}, {device.type} {expected.mode}: {expected.peak / MIB:.0f} MiB predicted, "
        f"{measured / MIB:.0f} MiB measured ({expected.peak / measured:.2f}×); RAM {ram:.0f} MiB; "
        f"{times} for {steps} steps\n  {expected.why}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--modes", nargs="+", default=MODES if torch.cuda.is_available() else MODES[:1])
    asked = parser.parse_args()
    model = asked.model or make_file(Path(tempfile.gettempdir()) / "easel-bench" / "sd1-real.safetensors")
    context = multiprocessing.get_context("spawn")
    for mode in asked.modes:
        process = context.Process(target=measure, args=(model, mode, asked.side, asked.steps, asked.batch))
        process.start()
        process.join()


if __name__ == "__main__":
    main()
