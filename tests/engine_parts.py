"""What tests of the engine share: plans of a family, drawing them, and comparing what was drawn."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from webui.domain.models import Family
from webui.domain.plan import HiresPlan, Plan
from webui.domain.start import FromMaskedImage
from webui.domain.upscaling import UpscalerRef
from webui.engine import families
from webui.engine.control import Control
from webui.engine.engine import Engine, EngineOptions, ImageReady, PreviewImage
from webui.engine.generate import Batch, draw
from webui.engine.models import Models
from webui.images.canvas import Canvas
from webui.weights.memory import cache

PlanMaker = Callable[..., Plan]
PICTURE, MASK = "a" * 64, "c" * 64  # the names of inputs
MASKED = FromMaskedImage(images=(PICTURE,), mask=MASK, strength=1.0, mask_blur=0)


def plans_of(make_plan: PlanMaker, family: Family, **usual: Any) -> PlanMaker:
    """Return a function like `make_plan` for a family, with what is `usual` there."""

    def make(**changes: Any) -> Plan:
        plan = make_plan(**{**usual, **changes})
        return plan.replace(model=plan.model.replace(family=family))

    return make


def load_pipeline(pipeline: Any, folder: Path, **parts: Any) -> Any:
    """Return diffusers' own pipeline of a folder, exact and quiet."""
    loaded = pipeline.from_pretrained(folder, dtype=torch.float32, local_files_only=True, **parts)
    loaded.set_progress_bar_config(disable=True)
    return loaded


def with_second_pass(plan: Plan, upscaler: UpscalerRef) -> Plan:
    """Return `plan` with a second pass of two steps at 96×96."""
    hires = HiresPlan(
        width=96, height=96, enlarged=(96, 96), upscaler=upscaler, steps=2, strength=0.5, sampler="Euler",
        schedule="Automatic", guidance=1.0, sampling=plan.sampling,
    )  # fmt: skip
    return plan.replace(hires=hires)


def photo(width: int = 64, height: int = 64) -> Image.Image:
    """Return a picture to begin with."""
    image = Image.new("RGB", (width, height), "navy")
    ImageDraw.Draw(image).ellipse((8, 8, width - 8, height - 8), "orange")
    return image


def latents_of(plan: Plan, models: Models, canvases: Sequence[Canvas] = ()) -> Tensor:
    """Return the latents that all passes of a plan of one batch draw, before they are decoded."""
    work = draw(Batch(plan, plan.images, canvases), models, Control())
    while True:
        try:
            next(work)
        except StopIteration as end:
            return end.value.latents


def noise_of(plan: Plan) -> Tensor:
    """Return the noise [1,C,h,w] that the first image of `plan` begins with."""
    shape = families.find(plan.model.family).latent_shape(plan.width, plan.height)
    return torch.randn((1, *shape), generator=torch.Generator().manual_seed(plan.images[0].seed))


def pictures_of(engine: Engine, plan: Plan, **inputs: Image.Image) -> list[np.ndarray]:
    """Return the pictures of `plan` as [H,W,3]; an input's name is its keyword, 64 times."""
    happened = engine.run(plan, Control(), {name * 64: image for name, image in inputs.items()})
    return [np.asarray(item.image, np.int16) for item in happened if isinstance(item, ImageReady)]


def picture_of(engine: Engine, plan: Plan, **inputs: Image.Image) -> np.ndarray:
    """Return the only picture of `plan` as [H,W,3]."""
    (picture,) = pictures_of(engine, plan, **inputs)
    return picture


def preview_sizes(engine: Engine, plan: Plan) -> list[tuple[int, int]]:
    """Return the sizes of the previews that are shown while `plan` is drawn."""
    return [item.image.size for item in engine.run(plan, Control()) if isinstance(item, PreviewImage)]


def difference(ours: Tensor, theirs: Tensor) -> float:
    """Return the largest difference in units of the latents' own spread."""
    return float((ours - theirs).abs().max() / theirs.std())


def check_batch(plan: Plan, prompts: Sequence[str], models: Models, most: float = 1e-4) -> Tensor:
    """Draw the images of `plan` with these prompts together: each is as if alone; return their latents."""
    images = [image.replace(prompt=prompt) for image, prompt in zip(plan.images, prompts, strict=True)]
    together = latents_of(plan.replace(images=tuple(images)), models)
    for image, latents in zip(images, together, strict=True):
        alone = latents_of(plan.replace(images=(image,), batch_size=1), models)
        assert difference(latents, alone[0]) < most
    return together


def check_memory_mode(plan: Plan, models: Models, mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw `plan` in a memory mode: its latents are those that `models`, of none, draw."""
    expected = latents_of(plan, models)
    choose = cache.choose_placement
    monkeypatch.setattr(cache, "choose_placement", lambda *given: dataclasses.replace(choose(*given), mode=mode))
    saving = Models(EngineOptions(use_cpu=frozenset({"all"}), half=False))
    assert difference(latents_of(plan, saving), expected) < 1e-5


def check_inpainting(engine: Engine, plan: Plan) -> None:
    """Paint the right half of a picture; `plan` is one of 64×64 that starts with `MASKED`."""
    mask = Image.new("L", (64, 64), 0)
    ImageDraw.Draw(mask).rectangle((32, 0, 63, 63), 255)
    painted, before = picture_of(engine, plan, a=photo(), c=mask), np.asarray(photo(), np.int16)
    assert (painted[:, :32] == before[:, :32]).all()
    assert np.abs(painted[:, 32:] - before[:, 32:]).mean() > 10
