"""Which precision each network computes in. Torch is not needed."""

from __future__ import annotations

from collections.abc import Mapping

from webui.weights.checkpoint import is_text_encoder
from webui.weights.memory_plan.facts import CheckpointFacts, DeviceFacts, EngineOptions, Precision

ITEM_SIZES: Mapping[Precision, int] = {"float32": 4, "float16": 2, "bfloat16": 2}
# Smaller networks gain nothing from bf16 on a CPU (benchmarks/cpu_dtype.py).
WORTH_BF16_ON_CPU = 20_000_000
# From so many parameters on a text encoder is kept in half precision on a CPU too: T5-XXL would take 19 GB.
LARGE_TEXT_ENCODER = 1_000_000_000
# From so many on, float32 would fill a Mac.
LARGE_FOR_MPS = 4_000_000_000


def choose_precision(
    options: EngineOptions, device: DeviceFacts, checkpoint: CheckpointFacts, component: str
) -> Precision:
    """Return what a component computes in: half precision where the device is fast in it and nothing overflows."""
    part = checkpoint.parts[component]
    full = not options.half or options.precision == "full" or (component == "vae" and not options.half_vae)
    if full:
        return "float32"
    where = device_of(options, device.kind, component)
    if where == "cpu":
        return _on_cpu(options, component, part.parameters, device.cpu_bf16)
    if where == "mps" and options.precision != "half" and part.parameters < LARGE_FOR_MPS:
        return "float32"
    # Transformers leave the range of fp16, and what was saved as bf16 may do so too.
    wide = checkpoint.denoiser == "transformer" or (part.stored == "bfloat16" and device.bf16)
    return "bfloat16" if wide else "float16"


def _on_cpu(options: EngineOptions, component: str, parameters: int, bf16: bool) -> Precision:
    # fp16 arithmetic on a CPU is up to 170 times slower than fp32, so it is not on offer here. Text encoders run
    # once per prompt: keeping them in fp32 costs nothing that can be felt and keeps the conditioning exact, unless
    # they are as large as T5.
    light = is_text_encoder(component) and parameters < LARGE_TEXT_ENCODER
    wanted = not light and (options.precision == "half" or parameters >= WORTH_BF16_ON_CPU)
    return "bfloat16" if wanted and bf16 else "float32"


def device_of(options: EngineOptions, main: str, component: str) -> str:
    """Return the kind of device that `component` computes on, where others do so on `main`."""
    kept_off = ("vae" in options.use_cpu and component == "vae") or (
        "text" in options.use_cpu and is_text_encoder(component)
    )
    return "cpu" if kept_off else main
