"""bf16 against fp32 on this CPU: `python -m benchmarks.cpu_dtype [--real]`. Ratios above 1 mean that bf16 is faster.

`weights.memory.WORTH_BF16_ON_CPU` was chosen by this.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from collections.abc import Callable

import torch
from torch import nn

from benchmarks.sd1_random import POCKET, REAL, count, make_unet, make_vae


def compare(network: nn.Module, call: Callable[[nn.Module, torch.dtype], object], repeats: int) -> tuple[float, float]:
    """Return median seconds in fp32 and in bf16, measured in turns so that other load hits both alike."""
    variants = {torch.float32: network, torch.bfloat16: copy.deepcopy(network).to(torch.bfloat16)}
    seconds: dict[torch.dtype, list[float]] = {dtype: [] for dtype in variants}
    with torch.inference_mode():
        for dtype, variant in variants.items():
            call(variant, dtype)
        for _ in range(repeats):
            for dtype, variant in variants.items():
                start = time.process_time()
                call(variant, dtype)
                seconds[dtype].append(time.process_time() - start)
    return statistics.median(seconds[torch.float32]), statistics.median(seconds[torch.bfloat16])


def report_unet(name: str, channels: tuple[int, ...], context: int, layers: int, side: int, repeats: int) -> None:
    unet = make_unet(channels, context, layers)

    def call(network: nn.Module, dtype: torch.dtype) -> object:
        latents, states = torch.randn(2, 4, side, side, dtype=dtype), torch.randn(2, 77, context, dtype=dtype)
        return network(latents, torch.tensor(500.0), encoder_hidden_states=states, return_dict=False)

    report(f"{name} UNet, 2×{side}×{side}", unet, call, repeats)


def report_vae(name: str, channels: tuple[int, ...], layers: int, side: int, repeats: int) -> None:
    def call(network: nn.Module, dtype: torch.dtype) -> object:
        return network.decode(torch.randn(1, 4, side, side, dtype=dtype), return_dict=False)

    report(f"{name} VAE decode, {side}×{side}", make_vae(channels, layers), call, repeats)


def report(name: str, network: nn.Module, call: Callable[[nn.Module, torch.dtype], object], repeats: int) -> None:
    full, half = compare(network, call, repeats)
    millions = count(network) / 1e6
    print(f"{name:34} {millions:7.1f} M   fp32 {full * 1000:8.1f} ms   bf16 {half * 1000:8.1f} ms   {full / half:.2f}×")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--real", action="store_true", help="also measure networks of SD1's real width (about 6 GB)")
    real = parser.parse_args().real
    print(f"{torch.get_num_threads()} thread(s), processor seconds, median")
    report_unet("pocket", POCKET, 128, 1, 16, 10)
    report_unet("pocket", POCKET, 128, 1, 64, 3)
    report_vae("pocket", (32, 32, 64, 64), 1, 16, 10)
    report_unet("quarter", (96, 192, 384, 384), 256, 2, 32, 5)
    report_unet("half", (160, 320, 640, 640), 384, 2, 32, 3)
    if real:
        report_unet("real", REAL, 768, 2, 32, 2)
        report_unet("real", REAL, 768, 2, 64, 2)
        report_vae("real", (128, 256, 512, 512), 2, 32, 2)
        report_vae("real", (128, 256, 512, 512), 2, 64, 1)


if __name__ == "__main__":
    main()
