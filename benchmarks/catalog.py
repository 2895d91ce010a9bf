"""How long listing many models takes: the first start, later ones, a refresh, one file's identification.

    python -m benchmarks.catalog [--models 10000] [--folders 200]

Makes LoRAs with true headers and next to no weights in a temporary folder, and prints milliseconds.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from tests.header_files import write_header
from webui.domain.models import Kind
from webui.weights.catalog.catalog import Catalog
from webui.weights.catalog.files import LORAS
from webui.weights.catalog.index import ModelIndex

LAYERS = 16
Result = TypeVar("Result")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=int, default=10_000)
    parser.add_argument("--folders", type=int, default=200)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        measure(Path(name), options.models, options.folders)


def measure(folder: Path, models: int, folders: int) -> None:
    root, store = folder / "Lora", folder / "models.db"
    shapes = {
        f"lora_unet_down_blocks_1_attentions_0_transformer_blocks_{layer}_attn2_to_k.lora_down.weight": (4, 2048)
        for layer in range(LAYERS)
    }
    for number in range(models):
        write_header(root / f"{number % folders:03}" / f"{number:05}.safetensors", shapes, {"ss_network_dim": "4"})
    first = timed("first start, patience 1 s", lambda: Catalog([root], ModelIndex(store), LORAS, patience=1.0))
    print(f"  listed {len(first.models())}, {sum(model.pending for model in first.models())} of them pending")
    timed("identifying the others", lambda: first.identify_pending(lambda: True))
    again = timed("start with all files known", lambda: Catalog([root], ModelIndex(store), LORAS, patience=1.0))
    assert len(again.models()) == models and not any(model.pending for model in again.models())
    timed("a glance at the folders", again.follow)
    timed("refresh, nothing changed", again.refresh)
    write_header(root / "000" / "new.safetensors", shapes)
    timed("a glance that finds one new file", again.follow)
    timed("finding a model by name", lambda: again.find("05000" if models > 5000 else "00000"))
    timed("finding another", lambda: again.find("new"))
    timed("reading the index alone", lambda: ModelIndex(store).recall(Kind.LORA))
    print(f"index: {store.stat().st_size / 2**20:.1f} MiB")


def timed(what: str, run: Callable[[], Result]) -> Result:
    begun = time.perf_counter()
    result = run()
    print(f"{what}: {(time.perf_counter() - begun) * 1000:.0f} ms")
    return result


if __name__ == "__main__":
    main()
