"""Checkpoints made for inpainting see the mask and the picture around it: the same latents as diffusers' pipeline."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from safetensors.torch import load_file, save_file
from torch import Tensor

from tests.engine_parts import difference, latents_of
from tests.tiny_models import SCHEDULER, make_folder
from webui.domain.plan import PicturePlan, Plan
from webui.domain.start import FromImage, FromMaskedImage
from webui.engine import samplers
from webui.engine.condition import Encoding
from webui.engine.control import Control
from webui.engine.denoise import make_denoiser
from webui.engine.engine import Engine, EngineOptions
from webui.engine.families import sd1
from webui.engine.generate import ImageReady
from webui.engine.guidance import guide
from webui.engine.inpainting import see_beside
from webui.engine.models import Loaded, Models
from webui.engine.noise import NoiseSource
from webui.engine.schedules import find_sigmas
from webui.engine.vae import encode
from webui.images.canvas import Canvas
from webui.weights.memory import Resident

PlanMaker = Callable[..., Plan]
# diffusers' schedulers turn tensors into numpy arrays in a way that numpy 2 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")
STEPS = 5
PICTURE, MASK = "a" * 64, "c" * 64


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a checkpoint of 9 input channels whose VAE, for diffusers draws from it, gives next to no variance."""
    path = make_folder(tmp_path_factory.mktemp("models") / "tiny-inpainting", channels=9)
    file = path / "vae" / "diffusion_pytorch_model.safetensors"
    weights = load_file(file)
    weights["quant_conv.weight"][4:] = 0
    weights["quant_conv.bias"][4:] = -30
    save_file(weights, file)
    return path


@pytest.fixture
def loaded(models: Models, make_plan: PlanMaker, folder: Path) -> Loaded:
    return models.get(make_plan(path=folder).model)


@pytest.fixture(scope="module")
def pipeline(folder: Path) -> Any:
    theirs = diffusers.StableDiffusionInpaintPipeline.from_pretrained(
        folder, dtype=torch.float32, local_files_only=True
    )
    theirs.set_progress_bar_config(disable=True)
    theirs.scheduler = diffusers.EulerDiscreteScheduler.from_config(
        dict(SCHEDULER), timestep_spacing="linspace", steps_offset=0
    )
    return theirs


@pytest.fixture(scope="module")
def picture() -> Image.Image:
    across = np.linspace(0, 255, 64)[None, :, None] * np.array([1, 0.5, 0.2])
    image = Image.fromarray(np.broadcast_to(across, (64, 64, 3)).astype(np.uint8))
    ImageDraw.Draw(image).ellipse((10, 20, 50, 60), fill=(20, 200, 90))
    return image


@pytest.fixture(scope="module")
def mask() -> Image.Image:
    image = Image.new("L", (64, 64))
    ImageDraw.Draw(image).rectangle((17, 8, 45, 37), fill=255)
    return image


def run_theirs(
    pipeline: Any, plan: Plan, picture: Image.Image, mask: Image.Image, around: Tensor | None = None
) -> Tensor:
    """Run the pipeline; it encodes what is around the mask itself unless the latents `around` it are given."""
    image = plan.images[0]
    return pipeline(
        image.prompt,
        image=picture,
        mask_image=mask,
        masked_image_latents=around,
        negative_prompt=image.negative_prompt,
        guidance_scale=plan.guidance,
        num_inference_steps=plan.steps,
        height=64,
        width=64,
        strength=1.0,
        latents=first_noise(plan),
        output_type="latent",
    ).images


def first_noise(plan: Plan) -> Tensor:
    return torch.randn((1, 4, 8, 8), generator=torch.Generator().manual_seed(plan.images[0].seed))


def test_txt2img_paints_all_over_grey(
    pipeline: Any, models: Models, make_plan: PlanMaker, folder: Path, picture: Image.Image
) -> None:
    plan = make_plan(path=folder, sampler="Euler", schedule="Uniform", guidance=7.5, steps=STEPS)
    model = models.get(plan.model).resident
    with model.on_device("vae") as vae, torch.inference_mode():
        grey = vae.encode(torch.zeros(1, 3, 64, 64)).latent_dist.mean * 0.18215
    # The norms of the VAE divide rounding errors of an even picture by next to nothing, so it is encoded once for both.
    theirs = run_theirs(pipeline, plan, picture, Image.new("L", (64, 64), 255), grey)
    assert difference(latents_of(plan, models), theirs) < 1e-4


def test_a_mask_equals_diffusers(
    pipeline: Any, loaded: Loaded, make_plan: PlanMaker, folder: Path, picture: Image.Image, mask: Image.Image
) -> None:
    start = FromMaskedImage(images=(PICTURE,), mask=MASK)
    plan = make_plan(path=folder, sampler="Euler", schedule="Uniform", guidance=7.5, steps=STEPS, start=start)
    model, prompts, image = loaded.resident, loaded.prompts, plan.images[0]
    beside = see_beside(model, plan, [Canvas(picture, mask)], 1, (8, 8))
    levels = sd1.noise_levels(model)
    sigmas = find_sigmas("Euler", "Uniform", STEPS, levels)
    positive = prompts.positive(image.prompt, STEPS, Encoding())
    negative = prompts.negative(image.negative_prompt, STEPS, Encoding())
    with model.on_device("unet") as unet:
        denoise = make_denoiser(sd1.make_predict(model, unet), levels, sigmas, model.placement.device)
        guided = guide(denoise, [positive], [negative], 7.5, beside=beside)
        noise = NoiseSource([image.seed], (4, 8, 8), model.place)
        steps = samplers.SAMPLERS["Euler"].sample(
            guided, first_noise(plan) * sigmas[0], sigmas, noise, samplers.Setup()
        )
        *_, last = steps
    theirs = run_theirs(pipeline, plan, picture, mask)
    assert difference(last.latents, theirs) < 1e-4
    assert difference(last.latents, run_theirs(pipeline, plan, picture, Image.new("L", (64, 64), 255))) > 1e-2


def test_other_checkpoints_see_nothing(tiny: Resident, make_plan: PlanMaker, picture: Image.Image) -> None:
    assert see_beside(tiny, make_plan(), [Canvas(picture)], 1, (8, 8)) is None


def test_without_a_mask_all_is_hidden_as_far_as_the_weight_says(
    loaded: Loaded, make_plan: PlanMaker, folder: Path, picture: Image.Image
) -> None:
    model, start = loaded.resident, FromImage(images=(PICTURE,))

    def see(weight: float) -> Tensor:
        plan = make_plan(path=folder, start=start, picture=PicturePlan(mask_weight=weight))
        seen = see_beside(model, plan, [Canvas(picture)], 1, (8, 8))
        assert seen is not None
        return seen

    blind = see_beside(model, make_plan(path=folder), [], 1, (8, 8))
    assert torch.equal(see(1.0), blind)
    assert torch.equal(see(0.0)[0, 1:], encode(model, picture))
    assert torch.equal(see(0.0)[:, :1], torch.ones(1, 1, 8, 8))
    assert not torch.allclose(see(0.5), see(1.0), atol=1e-2) and not torch.allclose(see(0.5), see(0.0), atol=1e-2)


@pytest.mark.parametrize(("soft", "values"), [(False, [0.0, 1.0]), (True, [0.0, 100 / 255, 1.0])])
def test_grey_in_a_mask_counts_when_it_is_soft(
    loaded: Loaded, make_plan: PlanMaker, folder: Path, picture: Image.Image, soft: bool, values: list[float]
) -> None:
    mask = Image.new("L", (64, 64))
    ImageDraw.Draw(mask).rectangle((16, 0, 31, 63), fill=100)
    ImageDraw.Draw(mask).rectangle((32, 0, 63, 63), fill=255)
    plan = make_plan(path=folder, start=FromMaskedImage(images=(PICTURE,), mask=MASK, soft=soft))
    seen = see_beside(loaded.resident, plan, [Canvas(picture, mask)], 1, (8, 8))
    assert seen is not None
    assert seen[0, 0].unique().tolist() == pytest.approx(values)


def test_the_picture_around_the_mask_matters_inside_it(
    options: EngineOptions, make_plan: PlanMaker, folder: Path, picture: Image.Image, mask: Image.Image
) -> None:
    engine = Engine(options)
    start = FromMaskedImage(images=(PICTURE,), mask=MASK, mask_blur=0, strength=1.0, content="latent_nothing")
    plan = make_plan(path=folder, start=start, count=2)
    darker = picture.point(lambda value: value // 2)

    def paint(plan: Plan, around: Image.Image) -> np.ndarray[Any, Any]:
        done = engine.run(plan, Control(), {PICTURE: around, MASK: mask})
        images = [item.image for item in done if isinstance(item, ImageReady)]
        assert len(images) == 2
        return np.asarray(images[0], np.int16)

    first = paint(plan, picture)
    inside = np.asarray(mask) == 255
    outside = np.asarray(mask.resize((64, 64))) == 0
    assert np.abs(first[inside] - paint(plan, darker)[inside]).mean() > 0.5
    kept = np.abs(first[outside] - np.asarray(picture, np.int16)[outside]).max(-1)
    assert (kept == 0).mean() > 0.6, "all but a ramp along the edge is the picture's"
    weightless = plan.replace(picture=PicturePlan(mask_weight=0.0))
    assert np.abs(first[inside] - paint(weightless, picture)[inside]).mean() > 0.5
