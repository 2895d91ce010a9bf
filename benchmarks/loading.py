"""Loading a checkpoint of real size: `python -m benchmarks.loading [--file FILE]`.

Each in a process of its own, the file in the page cache: how long its bytes take to be read, how long the model takes
until it is ready to sample, as a ratio of that, and the largest memory above that of the imports, as a ratio of the
file's size; with the weights as they are (what a GPU gets), and cast to what this processor computes in. Then how long
it takes to identify the file and to switch between two cached models.
"""

from __future__ import annotations

import argparse
import functools
import gc
import multiprocessing
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch

from benchmarks.sd1_file import make_file
from webui.domain.models import Family
from webui.domain.plan import ModelRef
from webui.weights.loading.load import load
from webui.weights.memory import EngineOptions, ModelCache, choose_placement
from webui.weights.recognition.identify import identify

MIB = 2**20


@dataclass(frozen=True, order=True)
class Seconds:
    """Time on the clock, and of the processor: the one that tells more on a machine with other work to do."""

    processor: float
    clock: float

    @classmethod
    def now(cls) -> Seconds:
        return cls(time.process_time(), time.perf_counter())

    def __sub__(self, other: Seconds) -> Seconds:
        return Seconds(self.processor - other.processor, self.clock - other.clock)

    def __truediv__(self, other: Seconds) -> str:
        return f"{self} = {self.clock / other.clock:.2f}× ({self.processor / other.processor:.2f}×)"

    def __str__(self) -> str:
        return f"{self.clock:.2f} s ({self.processor:.2f} s of the processor)"


def read(file: Path) -> None:
    """Read all bytes of `file`, piece by piece into the same memory: nothing that needs them all is faster."""
    piece = bytearray(64 * MIB)
    with file.open("rb", buffering=0) as opened:
        while opened.readinto(piece):
            pass


class Peak:
    """The largest resident memory while a block runs, and how much of it is not file pages (Linux)."""

    def __enter__(self) -> Peak:
        self.before = self._rss()
        self.after = self.most = self.before
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()
        self.after = self._rss()

    def _watch(self) -> None:
        while not self._done.wait(0.005):
            self.most = max(self.most, self._rss())

    def _rss(self) -> int:
        return int(psutil.Process().memory_info().rss)


def measure(file: Path, how: str) -> None:
    """Print about loading `file`, twice, and touching every weight."""
    checkpoint = identify(file)
    dtypes = dict.fromkeys(checkpoint.components, torch.float16)
    if how == "cpu":
        dtypes = dict(choose_placement(EngineOptions(use_cpu=frozenset({"all"})), checkpoint).dtypes)
    kinds = ", ".join(f"{name} {str(dtype).removeprefix('torch.')}" for name, dtype in dtypes.items())
    print(f"{how} ({kinds})")
    gc.collect()
    gc.freeze()  # as the worker does when it has started
    reading, size = min(_timed(lambda: read(file)) for _ in range(3)), file.stat().st_size
    for turn in ("first", "again"):
        with Peak() as peak:
            start = Seconds.now()
            networks = load(identify(file), dtypes).networks
            ready = Seconds.now() - start
            weights = [each for network in networks.values() for each in network.state_dict().values()]
            for weight in weights:
                weight.sum()
            touched = Seconds.now() - start
        rise, held = peak.most - peak.before, sum(weight.nbytes for weight in weights)
        print(
            f"  {turn}: reading {reading}, ready {ready / reading}, every weight touched {touched / reading}\n"
            f"         peak {rise / MIB:.0f} MiB = {rise / size:.2f}× the file, {rise / held:.2f}× the weights",
            flush=True,
        )
        del networks, weights, weight


def measure_rest(file: Path, _: str) -> None:
    """Print how long identifying and switching take."""
    seconds = [_timed(lambda: identify(file)).clock * 1000 for _ in range(5)]
    print(f"identify: {min(seconds):.1f} ms (the first time {seconds[0]:.1f} ms)")
    twin = file.with_name(f"twin-{file.name}")
    if not twin.exists():
        os.link(file, twin)
    cache = ModelCache(EngineOptions(use_cpu=frozenset({"all"})))
    models = [
        ModelRef(name=each.stem, path=each, family=Family.SD1, layout="", sha256="0" * 64) for each in (file, twin)
    ]
    for model in models:
        cache.load(model, identify(model.path))
    switches = [_timed(functools.partial(cache.use, model)).clock * 1000 for model in models * 5]
    usual, longest = statistics.median(switches), max(switches)
    print(f"switch between two cached models: {usual:.1f} ms, {longest:.1f} ms at most")


def _timed(act: Callable[[], object]) -> Seconds:
    start = Seconds.now()
    act()
    return Seconds.now() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    usual = Path(tempfile.gettempdir()) / "easel-bench" / "sd1-real.safetensors"
    parser.add_argument("--file", type=Path, default=usual, help="made unless it is there")
    file = make_file(parser.parse_args().file)
    print(f"{file.name}: {file.stat().st_size / 10**9:.2f} GB, {torch.get_num_threads()} thread(s)", flush=True)
    context = multiprocessing.get_context("spawn")
    for act, how in ((measure, "kept"), (measure, "cpu"), (measure_rest, "")):
        process = context.Process(target=act, args=(file, how))
        process.start()
        process.join()


if __name__ == "__main__":
    main()
