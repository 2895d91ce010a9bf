"""What a LoRA costs on a UNet of SD1's real size: `python -m benchmarks.lora [--rank N] [--size PIXELS] [--repeats N]`.

With random weights, on the CPU. Printed are the processor times of reading a LoRA of all attention layers, of putting
it into the weights and taking it out again, and of a step with guidance without it and with it (in turns). Needs 8 GB.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from benchmarks.sd1_random import REAL, make_unet
from extensions.lora.files import read_network
from extensions.lora.merging import Part, merged
from extensions.lora.names import index
from tests.tiny_models import make_folder
from webui.weights.loading.load import Networks
from webui.weights.memory import Placement, Resident
from webui.weights.recognition.identify import identify


def make_resident(folder: Path) -> Resident:
    """Return a model whose UNet is as large as SD1's; of the tiny model in `folder` it has the description."""
    torch.manual_seed(0)
    checkpoint = identify(make_folder(folder))
    networks = {"unet": make_unet(REAL, 768, 2)}
    return Resident(Networks(checkpoint, networks, {}, {}), Placement(torch.device("cpu"), {"unet": torch.float32}))


def make_lora(path: Path, unet: nn.Module, rank: int) -> Path:
    """Write a LoRA of all attention layers, as kohya's trainer does by default."""
    tensors = {}
    for name, module in unet.named_modules():
        if isinstance(module, nn.Linear) and "transformer_blocks" in name:
            place = f"lora_unet_{name.replace('.', '_')}"
            tensors[f"{place}.lora_up.weight"] = torch.randn(module.out_features, rank) * 0.01
            tensors[f"{place}.lora_down.weight"] = torch.randn(rank, module.in_features) * 0.01
            tensors[f"{place}.alpha"] = torch.tensor(float(rank))
    save_file({name: tensor.half() for name, tensor in tensors.items()}, path)
    return path


def measure(call: Callable[[], object]) -> float:
    start = time.process_time()
    call()
    return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rank", type=int, default=32)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary, torch.inference_mode():
        model = make_resident(Path(temporary) / "tiny")
        file = make_lora(Path(temporary) / "lora.safetensors", model.network("unet"), given.rank)
        latents, context = torch.randn(2, 4, given.size // 8, given.size // 8), torch.randn(2, 77, 768)

        def step() -> None:
            with model.on_device("unet") as unet:
                unet(latents, torch.tensor(500.0), encoder_hidden_states=context, return_dict=False)

        def read() -> list[Part]:
            network = read_network(file, "lora", index(model), "SD1")
            return [Part("lora", site, adapter, 0.8) for site, adapter in network.layers]

        reading, parts = measure(read), read()
        merging, plain, changed = [], [], []
        step()
        for _ in range(given.repeats):
            plain.append(measure(step))
            context_manager = merged(model, "unet", parts, "")
            putting_in = measure(context_manager.__enter__)
            changed.append(measure(step))
            merging.append(putting_in + measure(lambda: context_manager.__exit__(None, None, None)))  # noqa: B023
    without, within = statistics.median(plain), statistics.median(changed)
    print(f"reading        {reading:.3f} s, {len(parts)} layers of rank {given.rank}")
    print(f"merging        {statistics.median(merging):.3f} s, {statistics.median(merging) / without:.3f} of a step")
    print(f"step           {without:.2f} s without, {within:.2f} s with it: {within / without - 1:+.1%}")


if __name__ == "__main__":
    main()
