"""Models that edit a picture by instruction (InstructPix2Pix), of SD1, SDXL and CosXL, against diffusers' pipelines."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image

from tests import tiny_models, tiny_xl
from tests.engine.test_edm import COSXL
from tests.engine_parts import difference, latents_of
from tests.tiny_models import SCHEDULER, write_json
from webui.domain.models import EDITING, Family
from webui.domain.plan import GuidancePlan, Plan
from webui.domain.start import FromImage
from webui.engine import families
from webui.engine.models import Models
from webui.engine.schedules import find_sigmas
from webui.engine.vae import encode
from webui.images.canvas import Canvas
from webui.weights.recognition.identify import identify

PlanMaker = Callable[..., Plan]
# diffusers' schedulers turn tensors into numpy arrays in a way that numpy 2 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")
STEPS = 6
PICTURE = Image.fromarray(np.random.default_rng(3).integers(0, 256, (64, 96, 3), np.uint8))
LINSPACE = SCHEDULER | {"timestep_spacing": "linspace", "steps_offset": 0}


def make_sd1(path: Path) -> Path:
    folder = tiny_models.make_folder(path, channels=8)
    name = "StableDiffusionInstructPix2PixPipeline"
    write_json(folder / "model_index.json", tiny_models.INDEX | {"_class_name": name})
    return folder


def make_xl(path: Path, **options: Any) -> Path:
    name = "StableDiffusionXLInstructPix2PixPipeline"
    return tiny_xl.make_folder(path, channels=8, _class_name=name, **options)


MAKERS: Mapping[str, tuple[Family, Callable[[Path], Path], Any, str]] = {
    "sd1": (Family.SD1, make_sd1, diffusers.EulerDiscreteScheduler.from_config(LINSPACE), "Uniform"),
    "sdxl": (Family.SDXL, make_xl, diffusers.EulerDiscreteScheduler.from_config(LINSPACE), "Uniform"),
    "cosxl": (
        Family.SDXL,
        lambda path: make_xl(path, scheduler=COSXL, is_cosxl_edit=True),
        diffusers.EDMEulerScheduler.from_config(dict(COSXL)),
        "Exponential",
    ),
}


def plan_of(make_plan: PlanMaker, name: str, path: Path, **changes: Any) -> Plan:
    family, _, _, schedule = MAKERS[name]
    start = FromImage(images=("a" * 64,), strength=1.0)
    plan = make_plan(path=path, start=start, steps=STEPS, width=96, schedule=schedule, **changes)
    return plan.replace(model=plan.model.replace(family=family))


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("image_guidance", [1.0, 1.5])
def test_the_same_latents_as_diffusers(
    models: Models, make_plan: PlanMaker, tmp_path: Path, name: str, image_guidance: float
) -> None:
    family, make, scheduler, schedule = MAKERS[name]
    folder = make(tmp_path / name)
    plan = plan_of(make_plan, name, folder, guidance=4.0, guiding=GuidancePlan(image=image_guidance))
    pipeline = diffusers.DiffusionPipeline.from_pretrained(folder, dtype=torch.float32, local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.scheduler = scheduler
    scheduler.set_timesteps(STEPS)
    resident = models.get(plan.model).resident
    levels = families.find(family).noise_levels(resident, (96, 64))
    sigma = find_sigmas("Euler", schedule, STEPS, levels)[0]
    noise = torch.randn((1, 4, 8, 12), generator=torch.Generator().manual_seed(plan.images[0].seed))
    begin = encode(resident, PICTURE).unsqueeze(0) + noise * sigma
    size = {} if family is Family.SD1 else {"height": 64, "width": 96}
    theirs = pipeline(
        plan.images[0].prompt, negative_prompt=plan.images[0].negative_prompt, image=PICTURE,
        num_inference_steps=STEPS, guidance_scale=4.0, image_guidance_scale=image_guidance,
        latents=begin / scheduler.init_noise_sigma, output_type="latent", **size,
    ).images  # fmt: skip
    assert difference(latents_of(plan, models, [Canvas(picture=PICTURE)]), theirs) < 1e-3


def test_batches_joined_prompts_and_no_picture(models: Models, make_plan: PlanMaker, tmp_path: Path) -> None:
    folder = make_sd1(tmp_path / "sd1")
    assert identify(folder).variant == EDITING
    plan = plan_of(make_plan, "sd1", folder, count=2, prompt="a cat AND a castle", guiding=GuidancePlan(image=2.0))
    canvases = [Canvas(picture=PICTURE), Canvas(picture=PICTURE.transpose(Image.Transpose.ROTATE_180))]
    together = latents_of(plan, models, canvases)
    for image, canvas, latents in zip(plan.images, canvases, together, strict=True):
        alone = latents_of(plan.replace(images=(image,), batch_size=1), models, [canvas])
        assert difference(latents, alone[0]) < 1e-4
    weaker = latents_of(plan.replace(guiding=GuidancePlan(image=1.0)), models, canvases)
    assert difference(weaker, together) > 1e-2
    nothing = make_plan(path=folder, guiding=GuidancePlan(image=2.0))
    other = nothing.replace(guiding=GuidancePlan(image=1.0))
    assert difference(latents_of(nothing, models), latents_of(other, models)) < 1e-5, "it is given no picture"
