"""Where diffusers' own pipelines compute: whole on the device, or part by part as their makers provide for it."""

from __future__ import annotations

import torch
from diffusers import DiffusionPipeline

from webui.domain.models import Family
from webui.weights.checkpoint import Checkpoint, count_parameters
from webui.weights.memory.devices import choose_device, measure_room
from webui.weights.memory.placement import Placement
from webui.weights.memory_plan.facts import EngineOptions, MemoryMode

_WORKING_MEMORY = 2 * 2**30  # latents, activations and the caches of libraries, roughly; on top of the weights


def place_pipeline(options: EngineOptions, checkpoint: Checkpoint) -> Placement:
    """Return where and how a pipeline of diffusers should compute on this machine: all of it in one precision."""
    device = choose_device(options)
    dtype = _choose_dtype(options, checkpoint, device)
    needed = sum(count_parameters(checkpoint, part) for part in checkpoint.components) * dtype.itemsize
    return Placement(device, dict.fromkeys(checkpoint.components, dtype), _choose_mode(options, device, needed))


def settle_pipeline(pipeline: DiffusionPipeline, placement: Placement) -> None:
    """Let `pipeline` compute as `placement` says, as far as its maker provided for it."""
    if placement.device.type == "cpu":
        return
    if placement.mode == "lowvram":
        pipeline.enable_sequential_cpu_offload(device=placement.device)
    elif placement.mode == "medvram" and _can_take_turns(pipeline):
        pipeline.enable_model_cpu_offload(device=placement.device)
    else:
        pipeline.to(placement.device)


def _can_take_turns(pipeline: DiffusionPipeline) -> bool:
    """Tell whether a pipeline knows in which order its parts are used; those made of two say so in their own way."""
    own = type(pipeline).enable_model_cpu_offload is not DiffusionPipeline.enable_model_cpu_offload
    return own or pipeline.model_cpu_offload_seq is not None


def _choose_dtype(options: EngineOptions, checkpoint: Checkpoint, device: torch.device) -> torch.dtype:
    if device.type != "cuda" or not options.half or options.precision == "full":
        return torch.float32  # parts in different precisions would not fit together
    # UNets of that time were made in float16, and some of their pipelines know no bfloat16.
    return torch.float16 if "unet" in checkpoint.parts else torch.bfloat16


def _choose_mode(options: EngineOptions, device: torch.device, needed: int) -> MemoryMode:
    asked = options.mode_for(Family.OTHER)
    if asked != "auto":
        return asked
    return "normal" if device.type == "cpu" or needed + _WORKING_MEMORY <= measure_room(device) else "medvram"
