"""The devices of this machine: which there are, what they can, how much room they have."""

from __future__ import annotations

import gc
import traceback

import psutil
import torch
from torch import Tensor, nn

from webui.weights.memory_plan.facts import DeviceFacts, EngineOptions


def choose_device(options: EngineOptions, part: str = "") -> torch.device:
    """Return the fastest device the user allows, for the `part` that `--use-cpu` calls so."""
    if options.all_on_cpu or part in options.use_cpu:
        return torch.device("cpu")
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def describe_device(device: torch.device) -> DeviceFacts:
    """Return what the planner of memory needs to know of `device` and this machine."""
    ram = psutil.virtual_memory()
    cpu_bf16 = _cpu_computes_bf16()
    free, total, bf16 = ram.available, ram.total, cpu_bf16
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info()
        free += torch.cuda.memory_reserved()  # ours: what holds it can go
        bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
    elif device.type == "mps":
        total = torch.mps.recommended_max_memory()
        free, bf16 = min(total, ram.available + torch.mps.driver_allocated_memory()), True
    return DeviceFacts(
        kind=device.type,
        free=free,
        total=total,
        bf16=bf16,
        cpu_bf16=cpu_bf16,
        ram_free=ram.available,
        ram_total=ram.total,
    )


def measure_room(device: torch.device) -> int:
    """Return how many bytes could be taken on `device` now, beside all that is on it."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info()
        return int(free) + torch.cuda.memory_reserved() - torch.cuda.memory_allocated()
    available: int = psutil.virtual_memory().available
    if device.type == "mps":
        return min(available, torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory())
    return available


def _cpu_computes_bf16() -> bool:
    # torch before 2.12 has no public way to ask; such a CPU computes in fp32.
    ask = getattr(torch.cpu, "get_capabilities", None)
    capabilities = ask() if ask is not None else {}
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def free_unused() -> None:
    """Return memory that nothing refers to any more to the device and the system."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    elif torch.backends.mps.is_available():
        torch.mps.empty_cache()


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether `error` is the device or the system refusing memory."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(
        sign in str(error).lower() for sign in ("out of memory", "can't allocate memory", "not enough memory")
    )


def drop_what_it_held(error: BaseException) -> None:
    """Free the memory that the local variables of the functions that raised `error` take up."""
    traceback.clear_frames(error.__traceback__)
    free_unused()


def fetch(tensor: Tensor) -> Tensor:
    """Return `tensor` on the CPU."""
    return tensor.cpu()


def settle(network: nn.Module, device: torch.device, dtype: torch.dtype) -> None:
    """Let a network that belongs to no checkpoint compute on `device` in `dtype`."""
    network.to(device=device, dtype=dtype)
