"""Loading a checkpoint of real size: `python -m benchmarks.loading [--file FILE]`.

Each in a process of its own, the file in the page cache: how long its bytes take to be read, how long the model takes
until it is ready to sample, as a ratio of that, and the largest memory above that of the imports, as a ratio of the
file's size; with the weights as they are (what a GPU gets), and cast to what this processor computes in. Then how long
it takes to identify the file and to switch between two cached models.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import torch

from benchmarks.sd1_file import make_file
from webui.domain.models import Family
from webui.domain.plan import ModelRef
from webui.weights.identify import identify
from webui.weights.load import load
from webui.weights.memory import EngineOptions, ModelCache, choose_placement

MIB = 2**20


def read_seconds(file: Path) -> float:
    """Return how long the bytes of `file` take to be read into memory, the best of three."""
    seconds = []
    buffer = bytearray(64 * MIB)
    for _ in range(3):
        start = time.perf_counter()
        with file.open("rb", buffering=0) as opened:
            while opened.readinto(buffer):
                pass
        seconds.append(time.perf_counter() - start)
    return min(seconds)


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
    """Print one line about loading `file` and touching every weight, as sampling would."""
    checkpoint = identify(file)
    dtypes = dict.fromkeys(checkpoint.components, torch.float16)
    if how == "cpu":
        dtypes = dict(choose_placement(EngineOptions(use_cpu=frozenset({"all"})), checkpoint).dtypes)
    reading, size = read_seconds(file), file.stat().st_size
    with Peak() as peak:
        start = time.perf_counter()
        networks = load(identify(file), dtypes)
        ready = time.perf_counter() - start
        for network in networks.networks.values():
            for weight in network.state_dict().values():
                weight.sum()
        touched = time.perf_counter() - start
    held = sum(each.nbytes for network in networks.networks.values() for each in network.state_dict().values())
    rise = peak.most - peak.before
    kinds = ", ".join(f"{name} {str(dtype).removeprefix('torch.')}" for name, dtype in dtypes.items())
    print(
        f"{how:4} reading {reading:5.2f} s   ready {ready:5.2f} s = {ready / reading:5.2f}×   every weight touched "
        f"{touched:5.2f} s\n     peak {rise / MIB:6.0f} MiB = {rise / size:4.2f}× the file, {rise / held:4.2f}× the "
        f"weights ({kinds})",
        flush=True,
    )


def measure_rest(file: Path, _: str) -> None:
    """Print how long identifying and switching take."""
    seconds = [_timed(lambda: identify(file)) for _ in range(5)]
    print(f"identify {min(seconds) * 1000:.1f} ms (first {seconds[0] * 1000:.1f} ms)")
    twin = file.with_name(f"twin-{file.name}")
    if not twin.exists():
        os.link(file, twin)
    cache = ModelCache(EngineOptions(use_cpu=frozenset({"all"})))
    models = [
        ModelRef(name=each.stem, path=each, family=Family.SD1, layout="", sha256="0" * 64) for each in (file, twin)
    ]
    for model in models:
        cache.load(model, identify(model.path))
    switches = [_timed(lambda model=model: cache.use(model)) for model in models * 5]  # type: ignore[misc]
    usual, longest = statistics.median(switches) * 1000, max(switches) * 1000
    print(f"switch between two cached models: {usual:.1f} ms, {longest:.1f} ms at most")


def _timed(act: Callable[[], object]) -> float:
    start = time.perf_counter()
    act()
    return time.perf_counter() - start


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
