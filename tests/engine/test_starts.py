"""Pictures as the start: where sampling begins, what inpainting keeps, and that the rest stays byte by byte."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from webui.domain.events import Stepped
from webui.domain.plan import PicturePlan, Plan
from webui.domain.sampling import SAMPLERS
from webui.domain.start import FromExtendedImage, FromImage, FromMaskedImage
from webui.engine import starts
from webui.engine.engine import Control, Engine, ImageReady
from webui.engine.families import sd1
from webui.engine.samplers import Sampler, euler
from webui.engine.vae import decode, encode
from webui.errors import BadRequest
from webui.images.canvas import Canvas, prepare
from webui.weights.memory import Resident

PlanMaker = Callable[..., Plan]
PICTURE, OTHER, MASK = "a" * 64, "b" * 64, "c" * 64


def photo(width: int, height: int, seed: int = 3) -> Image.Image:
    """Return a picture with detail in every pixel."""
    coarse = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), np.uint8)
    fine = np.random.default_rng(seed + 1).integers(-20, 20, (height, width, 3))
    smooth = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC), np.int16)
    return Image.fromarray((smooth + fine).clip(0, 255).astype(np.uint8))


def square_mask(width: int, height: int) -> Image.Image:
    mask = Image.new("L", (width, height))
    ImageDraw.Draw(mask).rectangle((width // 4, height // 4, width // 2, height // 2), fill=255)
    return mask


def run(engine: Engine, plan: Plan, **inputs: Image.Image) -> list[Any]:
    return list(engine.run(plan, Control(), {name * 64: image for name, image in inputs.items()}))


def pixels(happened: list[Any]) -> list[np.ndarray]:
    return [np.asarray(item.image, np.int16) for item in happened if isinstance(item, ImageReady)]


# The wrappers


def test_what_is_not_masked_is_known() -> None:
    original, predicted = torch.full((1, 1, 1, 3), 5.0), torch.full((1, 1, 1, 3), 9.0)
    mask = torch.tensor([[[[0.0, 1.0, 0.5]]]])
    kept = starts.keep_unmasked(lambda latents, sigma: predicted, original, mask)
    assert kept(torch.zeros(1, 1, 1, 3), 1.0).flatten().tolist() == [5.0, 9.0, 7.0]


def test_soft_masks_open_step_by_step() -> None:
    sigmas = [8.0, 4.0, 2.0, 1.0, 0.0]
    original, mask = torch.zeros(1, 1, 1, 4), torch.tensor([[[[0.0, 0.2, 0.5, 1.0]]]])
    soft = starts.keep_less_and_less(lambda latents, sigma: torch.ones_like(latents), original, mask, sigmas)
    painted = [soft(original, sigma).flatten().tolist() for sigma in sigmas[:-1]]
    assert painted == [[0, 0, 0, 1], [0, 0, 0, 1], [0, 0, 1, 1], [0, 1, 1, 1]]


# The beginning


def begin(tiny: Resident, plan: Plan, noise: Tensor, sigma: float = 3.0) -> starts.Begin:
    picture, mask = photo(64, 64), square_mask(64, 64)
    return starts.begin(tiny, plan, [Canvas(picture, mask)], noise, Sampler(euler), sigma, sd1.noise_levels(tiny))


def test_noise_is_added_to_the_picture(tiny: Resident, make_plan: PlanMaker) -> None:
    noise = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    found = begin(tiny, make_plan(start=FromImage(images=(PICTURE,))), noise)
    assert torch.allclose(found.latents, encode(tiny, photo(64, 64)) + 3 * noise)
    assert found.mask is None


@pytest.mark.parametrize("content", ["original", "latent_noise", "latent_nothing"])
def test_what_stands_under_the_mask(tiny: Resident, make_plan: PlanMaker, content: str) -> None:
    noise = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    found = begin(tiny, make_plan(start=FromMaskedImage(images=(PICTURE,), mask=MASK, content=content)), noise)
    assert found.mask is not None and found.original is not None
    assert set(found.mask.unique().tolist()) == {0.0, 1.0}
    inside = found.mask.expand_as(noise) == 1
    latents = encode(tiny, photo(64, 64)).unsqueeze(0)
    under = {"original": latents, "latent_noise": noise, "latent_nothing": torch.zeros_like(noise)}[content]
    assert torch.allclose(found.original[inside], under[inside])
    assert torch.allclose(found.original[~inside], latents[~inside])
    assert torch.allclose(found.latents, found.original + 3 * noise)


# Whole plans


@pytest.mark.parametrize(
    ("strength", "exact", "steps"),
    [(0.5, False, 5), (1.0, False, 8), (0.0, False, 1), (0.75, False, 7), (0.5, True, 8), (0.0, True, 8)],
)
def test_as_many_steps_as_the_strength_is_of_them(
    engine: Engine, make_plan: PlanMaker, strength: float, exact: bool, steps: int
) -> None:
    start = FromImage(images=(PICTURE,), strength=strength)
    plan = make_plan(steps=8, start=start, picture=PicturePlan(exact_steps=exact))
    stepped = [item for item in run(engine, plan, a=photo(64, 64)) if isinstance(item, Stepped)]
    assert [(item.step, item.steps) for item in stepped] == [(step, steps) for step in range(1, steps + 1)]


# LCM's first step jumps to what the network predicts, and this network predicts anything.
@pytest.mark.parametrize("sampler", [info.name for info in SAMPLERS if info.name != "LCM"])
def test_without_strength_the_picture_stays(engine: Engine, tiny: Resident, make_plan: PlanMaker, sampler: str) -> None:
    source = photo(64, 64)
    start = FromImage(images=(PICTURE,), strength=0)
    plan = make_plan(sampler=sampler, start=start, steps=8, picture=PicturePlan(exact_steps=True), guidance=1.0)
    through_vae = np.asarray(decode(tiny, encode(tiny, source)), np.int16)
    changed = np.abs(pixels(run(engine, plan, a=source))[0] - through_vae).mean()
    other = np.abs(pixels(run(engine, plan.replace(start=start.replace(strength=1)), a=source))[0] - through_vae).mean()
    assert changed < other * 0.7


@pytest.mark.parametrize("area", ["whole", "masked"])
@pytest.mark.parametrize("content", ["fill", "original", "latent_noise", "latent_nothing"])
@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("invert", [False, True])
def test_unmasked_pixels_stay_byte_by_byte(
    engine: Engine, make_plan: PlanMaker, area: str, content: str, soft: bool, invert: bool
) -> None:
    source, mask = photo(96, 80), square_mask(96, 80)
    start = FromMaskedImage(
        images=(PICTURE,), mask=MASK, mask_blur=2, content=content, soft=soft, area=area, invert=invert, padding=8,
        strength=1.0,
    )  # fmt: skip
    size = {"width": 96, "height": 80} if area == "whole" else {"width": 64, "height": 64}
    painted = pixels(run(engine, make_plan(start=start, **size), a=source, c=mask))[0]
    before = np.asarray(source, np.int16)
    assert painted.shape == before.shape
    inside = np.asarray(mask) > 0
    rows, columns = np.nonzero(inside)
    y, x = np.mgrid[:80, :96]
    distance = np.maximum.reduce([rows.min() - y, y - rows.max(), columns.min() - x, x - columns.max()])
    kept, changed = (distance <= -7, distance > 0) if invert else (distance > 8, distance <= 0)
    assert kept.sum() > 50
    assert (painted[kept] == before[kept]).all()
    assert np.abs(painted[changed] - before[changed]).mean() > 10


def test_image_k_begins_with_picture_k(engine: Engine, make_plan: PlanMaker) -> None:
    start = FromImage(images=(PICTURE, OTHER), strength=0.5)
    inputs = {"a": photo(64, 64), "b": photo(64, 64, seed=9)}
    together = pixels(run(engine, make_plan(count=4, batch_size=2, start=start, seed=5), **inputs))
    for index in range(4):
        alone = start.replace(images=(start.images[index % 2],))
        single = pixels(run(engine, make_plan(start=alone, seed=5 + index), **inputs))[0]
        assert np.abs(together[index] - single).max() <= 1
    assert np.abs(together[0] - together[1]).mean() > 10


@pytest.mark.parametrize("mode", ["just_resize", "crop", "fill", "latent"])
def test_pictures_of_any_size_come_to_the_size_that_was_asked(engine: Engine, make_plan: PlanMaker, mode: str) -> None:
    start = FromImage(images=(PICTURE,), resize=mode, strength=0.3)
    masked = FromMaskedImage(images=(PICTURE,), mask=MASK, resize=mode, strength=0.3)
    for size in ((101, 50), (5, 5)):
        inputs = {"a": photo(*size), "c": Image.new("L", size, 255)}
        for each in (start, masked):
            assert pixels(run(engine, make_plan(start=each, steps=2), **inputs))[0].shape == (64, 64, 3)


def test_latent_resize_differs_from_pixel_resize(engine: Engine, make_plan: PlanMaker) -> None:
    source = photo(128, 128)
    one, other = (
        pixels(run(engine, make_plan(start=FromImage(images=(PICTURE,), resize=mode, strength=0.3)), a=source))[0]
        for mode in ("just_resize", "latent")
    )
    assert np.abs(one - other).mean() > 2


def test_transparent_pictures_stand_on_white(engine: Engine, make_plan: PlanMaker) -> None:
    clear, white = Image.new("RGBA", (64, 64), (200, 0, 0, 0)), Image.new("RGB", (64, 64), "white")
    plan = make_plan(start=FromImage(images=(PICTURE,), strength=0.3))
    one, other = (pixels(run(engine, plan, a=source))[0] for source in (clear, white))
    assert (one == other).all()


def test_transparent_pictures_stand_on_the_background_of_the_plan(engine: Engine, make_plan: PlanMaker) -> None:
    clear, green = Image.new("RGBA", (64, 64), (200, 0, 0, 0)), Image.new("RGB", (64, 64), (0, 128, 32))
    start = FromImage(images=(PICTURE,), strength=0.3)
    one = pixels(run(engine, make_plan(start=start.replace(background="#008020")), a=clear))[0]
    assert (one == pixels(run(engine, make_plan(start=start), a=green))[0]).all()
    assert (one != pixels(run(engine, make_plan(start=start), a=clear))[0]).any()


@pytest.mark.parametrize("content", ["fill", "original", "latent_noise", "latent_nothing"])
def test_an_extended_picture_keeps_its_pixels(engine: Engine, make_plan: PlanMaker, content: str) -> None:
    source = photo(61, 51)
    start = FromExtendedImage(images=(PICTURE,), left=16, down=8, overlap=10, content=content, strength=1.0)
    painted = pixels(run(engine, make_plan(start=start, width=80, height=64), a=source))[0]
    before = np.asarray(source, np.int16)
    assert painted.shape == (64, 80, 3)
    assert (painted[:41, 29:] == before[:41, 10:]).all(), "beyond the overlap every byte stays"
    assert (painted[:41, 19:29] != before[:41, :10]).any(), "the seam is soft"
    edges = np.pad(before, ((0, 13), (19, 0), (0, 0)), "edge")
    assert np.abs(painted - edges)[:, :19].mean() > 10
    assert np.abs(painted - edges)[51:].mean() > 10


def test_what_an_extension_begins_with(tiny: Resident, make_plan: PlanMaker) -> None:
    """Zeros where the canvas is new, the picture's latents elsewhere."""
    start = FromExtendedImage(images=(PICTURE,), right=32, overlap=8, content="latent_nothing")
    plan = make_plan(start=start, width=96)
    canvas = prepare(plan, plan.images[0], {PICTURE: photo(64, 64)})
    assert canvas is not None
    found = starts.begin(tiny, plan, [canvas], torch.zeros(1, 4, 8, 12), Sampler(euler), 3.0, sd1.noise_levels(tiny))
    assert found.mask is not None and found.original is not None
    assert found.mask[0, 0, 0].tolist() == [0.0] * 7 + [1.0] * 5
    assert (found.original[..., 7:] == 0).all()
    assert torch.allclose(found.original[..., :7], encode(tiny, canvas.picture)[..., :7])


def test_an_empty_mask_is_the_users_error(engine: Engine, make_plan: PlanMaker) -> None:
    start = FromMaskedImage(images=(PICTURE,), mask=MASK, area="masked")
    with pytest.raises(BadRequest, match="mask is empty"):
        run(engine, make_plan(start=start), a=photo(64, 64), c=Image.new("L", (64, 64)))


def test_an_empty_mask_of_the_whole_picture_changes_nothing(engine: Engine, make_plan: PlanMaker) -> None:
    start = FromMaskedImage(images=(PICTURE,), mask=MASK, strength=1.0)
    source = photo(64, 64)
    painted = pixels(run(engine, make_plan(start=start), a=source, c=Image.new("L", (64, 64))))[0]
    assert (painted == np.asarray(source)).all()


def test_colour_correction_brings_the_colours_back(engine: Engine, make_plan: PlanMaker) -> None:
    source = Image.fromarray((np.asarray(photo(64, 64)) * [1.0, 0.3, 0.3]).astype(np.uint8))
    start = FromImage(images=(PICTURE,), strength=1.0)

    def redness(picture: PicturePlan) -> float:
        painted = pixels(run(engine, make_plan(start=start, picture=picture), a=source))[0]
        return float((painted[..., 0] - painted[..., 1]).mean())

    wanted = float((np.asarray(source, np.int16)[..., 0] - np.asarray(source, np.int16)[..., 1]).mean())
    without, corrected = redness(PicturePlan()), redness(PicturePlan(colour_correction=True))
    assert abs(corrected - wanted) < abs(without - wanted) / 2


def test_the_region_around_a_mask_is_painted_at_full_size(engine: Engine, make_plan: PlanMaker) -> None:
    """A small mask in a large picture: the network sees only its surroundings, enlarged."""
    source = photo(512, 256)
    mask = Image.new("L", source.size)
    ImageDraw.Draw(mask).rectangle((300, 100, 330, 130), fill=255)
    start = FromMaskedImage(images=(PICTURE,), mask=MASK, area="masked", padding=8, mask_blur=0, strength=1.0)
    painted = pixels(run(engine, make_plan(start=start), a=source, c=mask))[0]
    changed = np.nonzero(np.abs(painted - np.asarray(source, np.int16)).sum(-1))
    assert painted.shape == (256, 512, 3)
    assert (changed[0].min(), changed[0].max(), changed[1].min(), changed[1].max()) == (100, 130, 300, 330)
