"""Flux Fill, Canny, Depth and Kontext, which look at a picture besides, against diffusers' own pipelines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from tests.engine_parts import PlanMaker, difference, latents_of, load_pipeline, noise_of, photo, plans_of
from tests.tiny_flux import make_folder, make_single_file
from webui.domain.models import CONTROLLED, KONTEXT, Family
from webui.domain.plan import Plan
from webui.domain.start import FromImage, FromMaskedImage
from webui.engine.families import flux
from webui.engine.inpainting import see_beside
from webui.engine.models import Models
from webui.images.canvas import Canvas
from webui.weights.recognition.identify import identify

# diffusers' schedulers turn tensors into numpy arrays in a way that numpy 2 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")
PIPELINES = {
    "fill": diffusers.FluxFillPipeline,
    "control": diffusers.FluxControlPipeline,
    "kontext": diffusers.FluxKontextPipeline,
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    home = tmp_path_factory.mktemp("models")
    return {kind: make_folder(home / kind, kind) for kind in PIPELINES}


@pytest.fixture(scope="module")
def plan_flux(make_plan: PlanMaker, folders: dict[str, Path]) -> PlanMaker:
    def make(kind: str, **changes: Any) -> Plan:
        usual = {"guidance": 1.0, "distilled_guidance": 3.5}
        return plans_of(make_plan, Family.FLUX, path=folders[kind], **usual)(**changes)

    return make


@pytest.fixture(scope="module")
def pipelines(folders: dict[str, Path]) -> dict[str, Any]:
    return {kind: load_pipeline(pipeline, folders[kind]) for kind, pipeline in PIPELINES.items()}


def half_mask() -> Image.Image:
    mask = Image.new("L", (64, 96), 0)
    ImageDraw.Draw(mask).rectangle((20, 30, 63, 95), 255)
    return mask


def masked(mask: Image.Image) -> FromMaskedImage:
    return FromMaskedImage(images=("a" * 64,), mask="c" * 64, strength=1.0, mask_blur=0)


def packed_by_diffusers(pipeline: Any, picture: Image.Image, mask: Image.Image) -> Tensor:
    """Return what the pipeline puts beside the noise, with the mean of the VAE's distribution."""
    pixels = torch.from_numpy(np.array(picture)).permute(2, 0, 1).float().unsqueeze(0) / 127.5 - 1
    holes = torch.from_numpy(np.array(mask)).float()[None, None] / 255
    with torch.inference_mode():
        latents = pipeline.vae.encode(pixels * (1 - holes)).latent_dist.mean
        shown, picture_latents = pipeline.prepare_mask_latents(
            holes, latents, 1, 16, 1, picture.height, picture.width, torch.float32, torch.device("cpu"), None
        )
    return torch.cat([picture_latents, shown], -1)


@pytest.mark.parametrize("mask", [half_mask(), Image.new("L", (64, 96), 255)], ids=["half", "whole"])
def test_fill_is_shown_what_diffusers_shows(
    pipelines: dict[str, Any], models: Models, plan_flux: PlanMaker, mask: Image.Image
) -> None:
    plan = plan_flux("fill", start=masked(mask), width=64, height=96)
    beside = see_beside(models.get(plan.model).resident, plan, [Canvas(photo(64, 96), mask)], 1, (12, 8))
    assert beside is not None and beside.shape == (1, 16 + 64, 12, 8)
    assert difference(flux.pack(beside), packed_by_diffusers(pipelines["fill"], photo(64, 96), mask)) < 1e-4


def test_fill_without_a_picture_paints_all(models: Models, plan_flux: PlanMaker) -> None:
    plan = plan_flux("fill", width=64, height=96)
    beside = see_beside(models.get(plan.model).resident, plan, [], 2, (12, 8))
    assert beside is not None and beside.shape == (2, 80, 12, 8) and (beside[:, 16:] == 1).all()
    assert torch.isfinite(latents_of(plan, models)).all()


def test_fill_draws_the_same_latents_as_diffusers(
    pipelines: dict[str, Any], models: Models, plan_flux: PlanMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With all of the picture masked: what is not, diffusers lets change and we do not. It draws the picture's latents
    from the VAE's distribution, of which we take the mean."""
    mean = "diffusers.pipelines.flux.pipeline_flux_fill.retrieve_latents"
    monkeypatch.setattr(mean, lambda encoded, generator=None: encoded.latent_dist.mean)
    mask = Image.new("L", (64, 96), 255)
    plan = plan_flux("fill", start=masked(mask), width=64, height=96, steps=5)
    theirs = pipelines["fill"](
        plan.images[0].prompt, guidance_scale=3.5, width=64, height=96, num_inference_steps=5,
        image=photo(64, 96), mask_image=mask, latents=flux.pack(noise_of(plan)), output_type="latent",
    ).images  # fmt: skip
    ours = latents_of(plan, models, [Canvas(photo(64, 96), mask)])
    assert difference(ours, flux.unpack(theirs, 6, 4)) < 1e-3


def test_kontext_draws_the_same_latents_as_diffusers(
    pipelines: dict[str, Any], models: Models, plan_flux: PlanMaker
) -> None:
    plan = plan_flux("kontext", start=FromImage(images=("a" * 64,), strength=1.0), width=64, height=96, steps=5)
    theirs = pipelines["kontext"](
        image=photo(64, 96), prompt=plan.images[0].prompt, guidance_scale=3.5, width=64, height=96,
        num_inference_steps=5, latents=flux.pack(noise_of(plan)), output_type="latent", max_area=64 * 96,
        _auto_resize=False,
    ).images  # fmt: skip
    assert difference(latents_of(plan, models, [Canvas(photo(64, 96))]), flux.unpack(theirs, 6, 4)) < 1e-3


def test_kontext_draws_from_words_alone_too(pipelines: dict[str, Any], models: Models, plan_flux: PlanMaker) -> None:
    plan = plan_flux("kontext", steps=5)
    theirs = pipelines["kontext"](
        prompt=plan.images[0].prompt, guidance_scale=3.5, width=64, height=64, num_inference_steps=5,
        latents=flux.pack(noise_of(plan)), output_type="latent", max_area=64 * 64,
    ).images  # fmt: skip
    assert difference(latents_of(plan, models), flux.unpack(theirs, 4, 4)) < 1e-3


def test_what_follows_a_picture_draws_the_same_latents_as_diffusers(
    pipelines: dict[str, Any], models: Models, plan_flux: PlanMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which draws the picture's latents from the VAE's distribution, of which we take the mean."""
    plan = plan_flux("control", start=FromImage(images=("a" * 64,), strength=1.0), width=64, height=96, steps=5)
    distribution = diffusers.models.autoencoders.vae.DiagonalGaussianDistribution
    monkeypatch.setattr(distribution, "sample", lambda drawn, generator=None: drawn.mean)
    theirs = pipelines["control"](
        control_image=photo(64, 96), prompt=plan.images[0].prompt, guidance_scale=3.5, width=64, height=96,
        num_inference_steps=5, latents=flux.pack(noise_of(plan)), output_type="latent",
    ).images  # fmt: skip
    assert difference(latents_of(plan, models, [Canvas(photo(64, 96))]), flux.unpack(theirs, 6, 4)) < 1e-3


def test_what_they_are(folders: dict[str, Path], tmp_path: Path) -> None:
    """Kontext in one file is told from dev by its name alone."""
    assert identify(folders["fill"]).variant == "inpainting"
    assert identify(folders["fill"]).defaults.distilled_guidance == 30
    assert identify(folders["kontext"]).variant == KONTEXT
    assert identify(folders["control"]).variant == CONTROLLED
    assert identify(make_single_file(tmp_path / "flux1-Kontext-dev.safetensors", "kontext")).variant == KONTEXT
    assert identify(make_single_file(tmp_path / "flux1-dev.safetensors", "kontext")).variant == ""
    assert identify(make_single_file(tmp_path / "fill.safetensors", "fill", parts=False)).variant == "inpainting"
