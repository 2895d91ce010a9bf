from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.tiny_models import make_folder
from webui.config import parse
from webui.domain.models import Family
from webui.domain.plan import ImagePlan, ModelRef, Plan, PreviewPlan, SeriesPlan
from webui.errors import BadFile, BadRequest, Busy
from webui.jobs.estimate import engine_options, estimate
from webui.weights.memory_plan.facts import DeviceFacts, EngineOptions

GIB = 2**30
CUDA = DeviceFacts(kind="cuda", free=8 * GIB, total=8 * GIB, bf16=True, cpu_bf16=True, ram_free=GIB, ram_total=2 * GIB)
FACTS: dict[str, object] = {"device": "A card", "device_facts": CUDA.model_dump()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("models") / "tiny")


def plan(path: Path, **changes: Any) -> Plan:
    model = ModelRef(name=path.name, path=path, family=Family.SD1, layout="diffusers", sha256="0" * 64)
    made = Plan(
        model=model,
        sampler="Euler",
        schedule="Automatic",
        steps=4,
        guidance=5.0,
        width=64,
        height=64,
        images=(ImagePlan(index=0, seed=1, prompt="", negative_prompt=""),),
        preview=PreviewPlan(every=0),
    )
    return made.replace(**changes)


def test_what_a_job_takes(folder: Path) -> None:
    small = estimate(EngineOptions(), FACTS, plan(folder))
    assert (small.model, small.device, small.mode, small.fits) == ("tiny", "cuda", "normal", True)
    assert (small.free, small.ram_total) == (8 * GIB, 2 * GIB)
    large = estimate(EngineOptions(), FACTS, plan(folder, width=2048, height=2048))
    assert large.peak > small.peak
    assert estimate(EngineOptions(use_cpu=frozenset({"vae"})), FACTS, plan(folder)).devices["vae"] == "cpu"
    series = SeriesPlan(script="X/Y/Z plot", parts=(plan(folder), plan(folder, width=2048, height=2048)))
    assert estimate(EngineOptions(), FACTS, series) == large


def test_what_cannot_be_estimated(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(Busy, match="Ask again"):
        estimate(EngineOptions(), {"device": "stub"}, plan(folder))
    with pytest.raises(BadRequest, match="not known"):
        model = plan(folder).model.replace(family=Family.OTHER)
        estimate(EngineOptions(), FACTS, plan(folder, model=model))
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"<html>")
    with pytest.raises(BadFile, match="HTML"):
        estimate(EngineOptions(), FACTS, plan(broken))


def test_flags_reach_the_planner() -> None:
    flags = "--medvram --no-half-vae --use-cpu text --precision full --cache-budget 3 --most-models 2 --medvram-sdxl"
    assert engine_options(parse(flags.split(), {})) == EngineOptions(
        use_cpu=frozenset({"text"}),
        memory_mode="medvram",
        medvram_sdxl=True,
        half_vae=False,
        precision="full",
        cache_budget=3 * 10**9,
        most_models=2,
    )


def test_it_needs_no_torch() -> None:
    code = "import sys, webui.jobs.estimate, webui.jobs.worker; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
