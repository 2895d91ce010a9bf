"""XLabs' IP-Adapter for Flux, as diffusers computes it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from extensions.ip_adapter.facts import NAME
from extensions.ip_adapter.options import IpAdapterOptions
from extensions.ip_adapter.planning import tell
from extensions.ip_adapter.seeing import Seeing
from extensions.ip_adapter.towers import to_pixels
from tests.engine_parts import PlanMaker, difference, latents_of, load_pipeline, noise_of
from tests.extensions.ip_adapter.pieces import PROJECTION, SIDE, make_tower, scene, write_tower
from tests.extensions.ip_adapter.test_ip_adapter import RED, tools_of
from tests.tiny_flux import WIDTHS, make_folder
from webui.domain.models import Family
from webui.engine.families import flux
from webui.engine.models import Models
from webui.engine.run import Modifier
from webui.weights.memory import EngineOptions

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")
INNER = 32


def adapter() -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(3)
    shapes: dict[str, tuple[int, ...]] = {
        "ip_adapter_proj_model.proj.weight": (4 * WIDTHS[1], PROJECTION),
        "ip_adapter_proj_model.proj.bias": (4 * WIDTHS[1],),
        "ip_adapter_proj_model.norm.weight": (WIDTHS[1],),
        "ip_adapter_proj_model.norm.bias": (WIDTHS[1],),
    }
    for letter in "kv":
        layer = f"double_blocks.0.processor.ip_adapter_double_stream_{letter}_proj"
        shapes |= {f"{layer}.weight": (INNER, WIDTHS[1]), f"{layer}.bias": (INNER,)}
    return {name: torch.randn(shape, generator=draw) for name, shape in shapes.items()}


def test_pictures_are_those_of_diffusers(tmp_path: Path, make_plan: PlanMaker, options: EngineOptions) -> None:
    folder = make_folder(tmp_path / "flux", "schnell")
    save_file(adapter(), tmp_path / "xlabs.safetensors")
    write_tower(tmp_path / "tower.safetensors")
    plan = make_plan(path=folder, guidance=1.0)
    plan = plan.replace(model=plan.model.replace(family=Family.FLUX))
    asked: Any = {"pictures": [{"enabled": True, "image": RED, "model": "xlabs", "weight": 0.7}]}
    told = tell(plan, IpAdapterOptions.model_validate(asked), tools_of(tmp_path, Family.FLUX))
    models = Models(options, [Modifier(NAME, patches=(Seeing().enter,))])
    with models.fitted(plan, {RED: scene("red")}):
        plain, ours = latents_of(plan, models), latents_of(told, models)
        assert torch.equal(latents_of(plan, models), plain)
    pipeline = load_pipeline(diffusers.FluxPipeline, folder)
    pipeline.register_modules(image_encoder=make_tower())
    pipeline.load_ip_adapter(str(tmp_path), weight_name="xlabs.safetensors", local_files_only=True)
    pipeline.set_ip_adapter_scale(0.7)
    theirs = pipeline(
        plan.images[0].prompt, ip_adapter_image=[to_pixels(scene("red"), SIDE)], width=64, height=64,
        num_inference_steps=plan.steps, latents=flux.pack(noise_of(plan)), output_type="latent",
        max_sequence_length=256,
    ).images  # fmt: skip
    assert difference(ours, flux.unpack(theirs, 4, 4)) < 1e-3
    assert difference(ours, plain) > 1e-2
