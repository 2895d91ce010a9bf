"""Networks that come to the device layer by layer, or compute on another device than the rest."""

from __future__ import annotations

import torch
from accelerate.hooks import AlignDevicesHook, add_hook_to_module
from diffusers.hooks import HookRegistry, apply_group_offloading
from torch import nn

# What diffusers.hooks.group_offloading registers.
_STREAMING_HOOKS = ("group_offloading", "layer_execution_tracker", "lazy_prefetch_group_offloading")


def start_streaming(network: nn.Module, device: torch.device, *, pinned: bool) -> None:
    """Let each layer of `network` come to `device` when it computes, and leave it afterwards.

    On CUDA the next layer travels while one computes. `pinned`: page-locked copies of all weights are kept in RAM,
    which makes the way fast; otherwise each layer is copied to page-locked memory first.
    """
    overlaps = device.type == "cuda"
    apply_group_offloading(
        network,
        onload_device=device,
        offload_device=torch.device("cpu"),
        # Some use weights of a layer without calling it: of those, whole blocks come.
        offload_type="leaf_level" if getattr(network, "_supports_group_offloading", True) else "block_level",
        num_blocks_per_group=1,
        use_stream=overlaps,
        record_stream=overlaps,
        low_cpu_mem_usage=overlaps and not pinned,
    )


def stop_streaming(network: nn.Module) -> None:
    """Undo `start_streaming`; where the weights are then is left open."""
    registry = HookRegistry.check_if_exists_or_initialize(network)
    for name in _STREAMING_HOOKS:
        registry.remove_hook(name, recurse=True)


def align(network: nn.Module, device: torch.device) -> None:
    """Let `network` compute on `device` whatever device its inputs are on, and give its outputs there.

    Its parts do the same, since some of them are called by themselves.
    """
    for module in (network, *network.children()):
        add_hook_to_module(module, AlignDevicesHook(execution_device=device, io_same_device=True))
