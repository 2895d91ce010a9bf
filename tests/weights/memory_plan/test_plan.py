from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from webui.domain.models import Family
from webui.weights.memory_plan.facts import CheckpointFacts, DeviceFacts, EngineOptions, JobFacts, PartFacts, Precision
from webui.weights.memory_plan.plan import MemoryPlan, choose_tile, plan_memory
from webui.weights.recognition.identify import identify

GIB = 2**30
GB = 10**9
CPU = frozenset({"all"})
VAE = {"block_out_channels": (128, 256, 512, 512), "latent_channels": 4}


def part(millions: float, stored: Precision = "float16", largest: float = 10, **config: Any) -> PartFacts:
    return PartFacts(int(millions * 1e6), int(largest * 1e6), stored, config)


SD1 = CheckpointFacts(
    Family.SD1,
    "unet",
    {
        "unet": part(859.5, largest=29.5),
        "vae": part(83.7, **VAE),
        "text_encoder": part(123.1, largest=38, hidden_size=768),
    },
)
SDXL = CheckpointFacts(
    Family.SDXL,
    "unet",
    {
        "unet": part(
            2567.5,
            largest=29.5,
            block_out_channels=(320, 640, 1280),
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        ),
        "vae": part(83.7, **VAE),
        "text_encoder": part(123.1, largest=38, hidden_size=768),
        "text_encoder_2": part(694.7, largest=63, hidden_size=1280),
    },
)
FLUX = CheckpointFacts(
    Family.FLUX,
    "transformer",
    {
        "transformer": part(
            11901, "bfloat16", 57, num_attention_heads=24, attention_head_dim=128, in_channels=64, patch_size=1
        ),
        "vae": part(83.8, "bfloat16", **{**VAE, "latent_channels": 16}),
        "text_encoder": part(123.1, "bfloat16", 38, hidden_size=768),
        "text_encoder_2": part(4762, "bfloat16", 132, d_model=4096),
    },
)


def cuda(free: float = 24 * GIB, ram: float = 64 * GIB) -> DeviceFacts:
    return DeviceFacts(
        kind="cuda", free=int(free), total=int(free), bf16=True, cpu_bf16=True, ram_free=int(ram), ram_total=int(ram)
    )


def cpu(bf16: bool = True, free: float = 64 * GIB) -> DeviceFacts:
    return DeviceFacts(
        free=int(free), total=int(free), bf16=bf16, cpu_bf16=bf16, ram_free=int(free), ram_total=int(free)
    )


def plan(
    checkpoint: CheckpointFacts = SD1, device: DeviceFacts | None = None, job: JobFacts | None = None, **options: Any
) -> MemoryPlan:
    return plan_memory(EngineOptions(**options), device or cuda(), checkpoint, job)


# Precision


def test_never_half_floats_on_a_cpu() -> None:
    choices = itertools.product(
        [True, False], [True, False], ["auto", "full", "half"], [SD1, SDXL, FLUX], [True, False]
    )
    for half, half_vae, precision, checkpoint, bf16 in choices:
        made = plan(
            checkpoint, cpu(bf16), half=half, half_vae=half_vae, precision=precision, use_cpu=CPU, memory_mode="lowvram"
        )
        assert (made.device, made.mode, made.streamed) == ("cpu", "normal", ())
        assert set(made.precisions.values()) <= {"float32", "bfloat16"}
        assert made.precisions["text_encoder"] == "float32"
        if not half or precision == "full" or not bf16:
            assert set(made.precisions.values()) == {"float32"}


def test_bf16_on_a_cpu_where_it_pays() -> None:
    assert plan(device=cpu()).precisions == {"unet": "bfloat16", "vae": "bfloat16", "text_encoder": "float32"}
    small = CheckpointFacts(Family.SD1, "unet", {name: part(5) for name in SD1.parts})
    assert set(plan(small, cpu()).precisions.values()) == {"float32"}
    assert plan(small, cpu(), precision="half").precisions["unet"] == "bfloat16"
    assert plan(device=cpu(), half_vae=False).precisions["vae"] == "float32"
    assert plan(FLUX, cpu()).precisions["text_encoder_2"] == "bfloat16"


def test_half_floats_on_cuda_unless_refused() -> None:
    assert set(plan().precisions.values()) == {"float16"}
    assert plan(half_vae=False).precisions == {"unet": "float16", "vae": "float32", "text_encoder": "float16"}
    assert set(plan(half=False).precisions.values()) == {"float32"}
    assert set(plan(precision="full").precisions.values()) == {"float32"}


def test_what_may_overflow_gets_the_range_of_float32() -> None:
    assert set(plan(FLUX).precisions.values()) == {"bfloat16"}
    saved = CheckpointFacts(Family.SDXL, "unet", {**SDXL.parts, "unet": part(2567, "bfloat16")})
    assert plan(saved).precisions["unet"] == "bfloat16"
    old = cuda().replace(bf16=False)
    assert plan(saved, old).precisions["unet"] == "float16"


def test_a_mac_computes_in_float32_what_it_can_hold() -> None:
    mac = cuda().replace(kind="mps")
    assert set(plan(SD1, mac).precisions.values()) == {"float32"}
    assert plan(SD1, mac, precision="half").precisions["unet"] == "float16"
    assert plan(FLUX, mac).precisions["transformer"] == "bfloat16"


# Devices


def test_parts_that_stay_on_the_cpu() -> None:
    made = plan(SDXL, use_cpu=frozenset({"text"}))
    assert made.devices == {"unet": "cuda", "vae": "cuda", "text_encoder": "cpu", "text_encoder_2": "cpu"}
    assert made.precisions["text_encoder"] == "float32"
    assert made.peak < plan(SDXL).peak - GB
    assert made.ram > plan(SDXL).ram
    made = plan(SD1, use_cpu=frozenset({"vae"}))
    assert made.devices == {"unet": "cuda", "vae": "cpu", "text_encoder": "cuda"}
    for everything in ("all", "sd"):
        assert set(plan(device=cpu(), use_cpu=frozenset({everything})).devices.values()) == {"cpu"}


# Modes


@pytest.mark.parametrize(
    ("checkpoint", "side", "most"),
    [
        (SD1, 512, {"normal": 3, "medvram": 2.1, "lowvram": 1}),
        (SDXL, 1024, {"medvram": 4.5, "lowvram": 2}),
        (FLUX, 1024, {"medvram": 12, "lowvram": 4}),
    ],
)
def test_what_the_modes_promise(checkpoint: CheckpointFacts, side: int, most: Mapping[str, float]) -> None:
    """In GB; the planner errs on the side of too much."""
    for mode, limit in most.items():
        made = plan(checkpoint, job=JobFacts(side, side), memory_mode=mode)
        assert made.mode == mode
        assert made.peak <= limit * GB, made


def test_each_mode_takes_less() -> None:
    for checkpoint in (SD1, SDXL, FLUX):
        normal, medium, low = (
            plan(checkpoint, cuda(80 * GIB), memory_mode=mode).peak for mode in ("normal", "medvram", "lowvram")
        )
        assert normal > medium >= low


@pytest.mark.parametrize(
    ("checkpoint", "free", "mode"),
    [
        (SD1, 24, "normal"),
        (SD1, 2.5, "medvram"),
        (SD1, 1, "lowvram"),
        (SDXL, 24, "normal"),
        (SDXL, 6, "medvram"),
        (SDXL, 3, "lowvram"),
        (FLUX, 48, "normal"),
        (FLUX, 28, "medvram"),
        (FLUX, 12, "lowvram"),
    ],
)
def test_what_the_device_has_room_for_decides(checkpoint: CheckpointFacts, free: float, mode: str) -> None:
    made = plan(checkpoint, cuda(free * GIB))
    assert made.mode == mode and made.fits


def test_a_part_larger_than_the_device_is_streamed() -> None:
    assert plan(SDXL, cuda(6.5 * GIB)).streamed == ()
    assert plan(SDXL, cuda(4 * GIB)).streamed == ("unet",)
    made = plan(FLUX, cuda(8 * GIB))
    assert set(made.streamed) == {"transformer", "text_encoder_2"}
    assert "transformer and text_encoder_2 computed layer by layer" in made.why
    assert made.ram > plan(FLUX, cuda(48 * GIB)).ram, "page-locked copies"


def test_flags_decide_alone() -> None:
    assert plan(memory_mode="lowvram").mode == "lowvram"
    small = plan(SDXL, cuda(2 * GIB), memory_mode="normal")
    assert (
        small.mode == "normal"
        and not small.fits
        and small.why == "--normalvram says so; the VAE works in tiles of 32 latents."
    )
    assert plan(SDXL, medvram_sdxl=True).mode == "medvram"
    assert plan(SD1, medvram_sdxl=True).mode == "normal"
    assert plan(SDXL, medvram_sdxl=True, memory_mode="lowvram").mode == "lowvram"


def test_larger_jobs_take_more() -> None:
    peaks = [
        plan(SD1, job=job).peak
        for job in (JobFacts(512, 512), JobFacts(1024, 1024), JobFacts(1024, 1024, batch=8), JobFacts(2048, 2048, 8))
    ]
    assert peaks == sorted(set(peaks))
    assert plan(SD1, job=JobFacts(1024, 1024, 8, guided=False)).peak < peaks[2]


# Tiles


def test_large_pictures_are_decoded_in_tiles() -> None:
    assert plan(SD1, job=JobFacts(512, 512)).vae_tile is None
    made = plan(SD1, cuda(6 * GIB), JobFacts(2048, 2048))
    assert made.vae_tile is not None and 32 <= made.vae_tile < 256 and made.fits
    assert "tiles" in made.why
    assert plan(SD1, cuda(48 * GIB), JobFacts(2048, 2048)).vae_tile is None


def test_tiles_are_as_large_as_there_is_room_for() -> None:
    sizes = [choose_tile(int(room * GIB), VAE, 2, (256, 128)) for room in (100, 3, 1, 0.5, 0.001)]
    assert sizes[0] is None and sizes[-1] == 32
    given = [size for size in sizes[1:] if size is not None]
    assert given == sorted(given, reverse=True) and all(size % 16 == 0 for size in given)
    assert choose_tile(0, VAE, 2, (16, 32)) is None, "no larger than the smallest tile"


# Files


def test_what_the_headers_tell(tiny_folder: Path, tiny_file: Path) -> None:
    for path in (tiny_folder, tiny_file):
        facts = CheckpointFacts.of(identify(path))
        assert (facts.family, facts.denoiser) == (Family.SD1, "unet")
        assert all(each.stored == "float32" and 0 < each.largest < each.parameters for each in facts.parts.values())
        made = plan_memory(EngineOptions(half=False), cpu(), facts, JobFacts(64, 64))
        assert made.weights == 4 * sum(each.parameters for each in facts.parts.values())
        halved = plan_memory(EngineOptions(precision="half"), cpu(), facts, JobFacts(64, 64))
        assert halved.ram > made.ram, "mapped files count for nothing, what is cast does"
